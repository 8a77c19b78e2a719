"""Step `gather`: what the models of a cohort have in common."""
