"""Candidates along the stages of disease, donors as units."""
