"""Weights of scGPT folders: what is loaded, and whether a folder fits a cohort."""
