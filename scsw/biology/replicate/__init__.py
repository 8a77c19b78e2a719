"""What recurs in a second cohort."""
