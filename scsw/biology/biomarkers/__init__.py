"""Genes ranked by the evidence that ties them to candidates."""
