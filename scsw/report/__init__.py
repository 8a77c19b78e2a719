"""Figures, methods text and the HTML report of one cohort, drawn from its tables alone."""
