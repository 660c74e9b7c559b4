"""What is promised to the people in the data, and what it costs: plan, mechanisms, noise, accounting, statement."""
