"""The command line: one sub-command per step of the workflow.

Imports that take seconds stand inside the commands, so that ``scsw --help`` answers at once.
"""

# In the order in which `scsw --help` lists the commands.
from scsw.cli import data, model, search, prune, biology, report  # noqa: F401, I001
from scsw.cli.app import main

__all__ = ["main"]
