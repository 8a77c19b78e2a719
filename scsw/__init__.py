"""scsw: super-weight-like control points of scGPT models fine-tuned on Alzheimer's cohorts."""

__version__ = "0.1.0"
