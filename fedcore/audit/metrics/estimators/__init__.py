"""One file for each metric other than rates: its estimate for each group, with an interval."""
