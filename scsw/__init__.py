"""scsw: super-weight-like control points of scGPT models fine-tuned on Alzheimer's cohorts."""

import os

__version__ = "0.1.0"

# HDF5 locks each file that it opens, which the shared disks of clusters often refuse. No lock is
# needed: a file is written under another name and renamed. HDF5 asks when it is first imported.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
