"""Cohorts: readers of public files, harmonised annotation, quality control, donor splits."""
