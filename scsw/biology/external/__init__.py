"""Mapped genes against diagnosis in cohorts that the model never saw."""
