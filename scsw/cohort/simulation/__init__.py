"""Small simulated cohorts in the layouts of public ones."""
