"""Bulk expression of other cohorts, for the validation of genes; never fine-tuned on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from scsw.cohort.qc import QcLog
from scsw.errors import ScswError
from scsw.files import whole

DIAGNOSES = ("CN", "MCI", "AD")  # cognitively normal, mild impairment, Alzheimer's dementia
OBS = tuple("sample_id donor_id visit phase diagnosis rin plate year age sex".split())
VAR = ("symbol", "ensembl_id", "n_probe_sets")
FILE, QC = "external.h5ad", "qc.tsv"


@dataclass
class ExternalCohort:
    """Expression of samples of people, and each sample's diagnosis.

    Attributes
    ----------
    expression
        Samples × genes, float32, finite.
    obs
        The columns of `OBS`, one row per sample, index = ``sample_id``. ``diagnosis`` is the place
        in `DIAGNOSES` (int64, −1 missing), ``rin`` and ``age`` (years at baseline) float64 (NaN
        missing), ``year`` int64 (−1 missing), the others are texts.
    var
        The columns of `VAR`, one row per gene, index = ``symbol``; ``ensembl_id`` is "" if the
        gene table has none, ``n_probe_sets`` (int64) is how many were averaged.
    qc
        What was removed or averaged.
    source
        Name of the source.
    values
        What the numbers are, in words.
    files
        The files that were read.
    warnings
        Sentences for the report.
    not_for_training
        Why no model can be fine-tuned on this source.

    Raises
    ------
    ScswError
        If the parts do not fit together, two samples or genes share a name, or a diagnosis is none.
    """

    expression: np.ndarray
    obs: pd.DataFrame
    var: pd.DataFrame
    qc: QcLog
    source: str
    values: str
    not_for_training: str
    files: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        if self.expression.shape != (len(self.obs), len(self.var)):
            raise ScswError(
                f"the expression of {self.source} has the shape {self.expression.shape}",
                expected=f"{len(self.obs)} samples and {len(self.var)} genes",
            )
        for table, columns in ((self.obs, OBS), (self.var, VAR)):
            if tuple(table.columns) != columns:
                raise ScswError(
                    f"a table of {self.source} has the columns {', '.join(table.columns)}",
                    expected=", ".join(columns),
                )
            if table.index.has_duplicates:
                twice = table.index[table.index.duplicated()][0]
                raise ScswError(f"{columns[0]} {twice!r} of {self.source} occurs more than once")
        if not self.obs["diagnosis"].between(-1, len(DIAGNOSES) - 1).all():
            raise ScswError(
                f"{self.source} holds a diagnosis {self.obs['diagnosis'].max()}",
                expected="−1, or the place of one of " + ", ".join(DIAGNOSES),
            )

    def write(self, folder: str | Path) -> None:
        """Write ``external.h5ad`` and ``qc.tsv`` into `folder`; both appear, or none."""
        facts = {
            "source": self.source,
            "values": self.values,
            "diagnoses": np.array(DIAGNOSES, dtype=str),
            "not_for_training": self.not_for_training,
            "warnings": np.array(self.warnings, dtype=str),
            "n_donors": int(self.obs["donor_id"].nunique()),
        }
        stored = AnnData(self.expression, self.obs.copy(), self.var.copy(), {"scsw": facts})
        with contextlib.ExitStack() as together:
            part = {name: together.enter_context(whole(Path(folder) / name)) for name in (FILE, QC)}
            stored.write_h5ad(part[FILE])
            self.qc.table().to_csv(part[QC], sep="\t", index=False)
