"""Privacy for the people in the data: plan, mechanisms, noise, accounting, statement."""
