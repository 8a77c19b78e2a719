"""What a user asks of a reader: where the cohort is, and how it departs from its public layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Tables that stand beside the counts of some sources: role to key of the config.
TABLES = {
    "clinical": "clinical",
    "cells": "cell_table",
    "donors": "donor_table",
    "cps": "cps_table",
}


@dataclass(frozen=True)
class Request:
    """One cohort to read.

    Attributes
    ----------
    path
        File or folder of the counts.
    tables
        Role, one of `TABLES`, to the table's path, where it is not beside the counts under its
        public name.
    columns
        Harmonised field to the source column that holds it, in place of the reader's own.
    values
        Harmonised field to a map from the source's words to the harmonised values.
    counts
        Matrix of an h5ad that holds the raw counts, such as ``layers/counts``, in place of the
        reader's own.
    """

    path: Path
    tables: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str | int | float | bool | None]] = field(
        default_factory=dict
    )
    counts: str | None = None
