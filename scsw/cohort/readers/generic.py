"""Any h5ad file: columns and the meaning of their values come from the user.

Columns with usual names (``donor``, ``Cell Type``, ``age_at_death`` …) are found without being
named, whatever their case and separators. Values are read where they can mean one thing only:
"Braak V", "E3/E4", "Moderate". Codes that differ between studies (sex 0/1, CERAD 1 to 4) are
refused until the user says what they mean. Raw counts stand where they hold whole numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.cell_labels import label_columns, with_labels
from scsw.cohort.cell_types import classes
from scsw.cohort.columns import Columns
from scsw.cohort.counts import check_shape
from scsw.cohort.fields import cell_fields, donor_fields
from scsw.cohort.find_counts import choose_counts
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.h5_matrix import h5ad_matrix
from scsw.cohort.h5ad import column_names, open_h5ad, read_columns
from scsw.cohort.h5ad_genes import genes_alone, genes_of_h5ad
from scsw.cohort.harmonise import CELL_CLASSES
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.errors import ScswError

# Usual names of each field, the likeliest first; in small letters with `_` between words.
USUAL = {
    "donor_id": "donor_id donor donorid individual_id individual individualid subject_id subject "
    "subid patient_id patient participant_id participant projid",
    "cell_type": "cell_type celltype cell_types celltypes author_cell_type cell_type_name "
    "cell_annotation annotation annotations subclass broad_cell_type major_cell_type "
    "major_celltype",
    "cell_class": "cell_class broad_class major_class class",
    "supertype": "supertype cell_subtype subtype cell_state subcluster",
    "region": "region brain_region tissue organ",
    "sex": "sex gender msex",
    "age_death": "age_death age_at_death agedeath age",
    "pmi": "pmi pmi_hours post_mortem_interval postmortem_interval",
    "apoe_genotype": "apoe_genotype apoegenotype apoe",
    "braak": "braak braak_stage braaksc braak_nft braak_ad",
    "thal": "thal thal_phase amythal",
    "cerad": "cerad cerad_score ceradsc amycerad",
    "adnc": "adnc overall_ad_neuropathological_change",
    "cognition": "cognition cognitive_status cogdx",
    "cps": "cps continuous_pseudo_progression_score",
    "is_reference": "is_reference neurotypical_reference",
    "doublet_score": "doublet_score doublet_scores",
    "pct_mito": "pct_counts_mt percent_mt",  # per cent by their makers' word, unlike others
    # Of raw counts by their makers' word; scanpy's total_counts may be of any matrix.
    "stated_counts": "ncount_rna numi numis n_umi n_umis number_of_umis",
    "assay": "assay",
    "batch": "batch sample_id sample library_id library_prep orig_ident",
    "study": "study",
}
NEEDED = ("donor_id", "cell_type")
CARRIED = ("diagnosis", "Diagnosis", "disease", "condition", "group")

# Words that mean the same in every study; no numbers, whose order differs.
SEX = {"female": "female", "male": "male", "f": "female", "m": "male"}
CERAD = {
    "absent": 0, "none": 0, "no AD": 0,
    "sparse": 1, "possible": 1,
    "moderate": 2, "probable": 2,
    "frequent": 3, "definite": 3,
    # The C score of the NIA-AA, and the AD Knowledge Portal's word for each.
    "C0": 0, "C1": 1, "C2": 2, "C3": 3,
    "None/No AD/C0": 0, "Sparse/Possible/C1": 1, "Moderate/Probable/C2": 2,
    "Frequent/Definite/C3": 3,
}  # fmt: skip
ADNC = {"not AD": 0, "low": 1, "intermediate": 2, "high": 3}
COGNITION = {
    "no dementia": 0, "no cognitive impairment": 0, "cognitively normal": 0, "NCI": 0,
    "mild cognitive impairment": 1, "MCI": 1,
    "dementia": 2,
}  # fmt: skip
# What to write on the right-hand side of a map of values.
MEANINGS = {
    "sex": "female, male or unknown",
    "age_death": "years, or null if missing",
    "pmi": "hours, or null if missing",
    "apoe_genotype": "two digits such as 34, or '' if missing",
    "braak": "0 to 6, or -1 if missing",
    "thal": "0 to 5, or -1 if missing",
    "cerad": "0 none, 1 sparse or possible, 2 moderate or probable, 3 frequent or definite, "
    "-1 missing",
    "adnc": "0 not AD, 1 low, 2 intermediate, 3 high, -1 missing",
    "cognition": "0 no impairment, 1 mild impairment, 2 dementia, -1 missing",
    "is_reference": "true or false",
}

ADVICE = "name the matrix of raw counts with --counts (in the config: `counts:`)"

TITLE = "h5ad file with columns named by the user"
LAYOUT = "any h5ad file whose columns the user names"


def recognise(seen: Glimpse) -> str | None:
    """Return None: this reader takes no file on its own, only if the user names its columns."""
    return None


def last_resort(seen: Glimpse, columns: Mapping[str, str]) -> str | None:
    """Say why an h5ad that no other reader knows can be read as it is, or return None.

    Parameters
    ----------
    seen
        The file.
    columns
        The columns that the user names, by field.
    """
    if not seen.is_h5ad:
        return None
    usual = usual_columns(sorted(seen.obs))
    named = {field: columns.get(field) or next(iter(usual[field]), None) for field in NEEDED}
    if None in named.values():
        return None
    donor, cell_type = named.values()
    return f"no known layout, with {donor!r} as the donor's and {cell_type!r} as the type's column"


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the files to open: the h5ad and, if there is one, the table of the cells' labels."""
    return [str(path), *([tables["cells"]] if "cells" in tables else [])]


def read(request: Request) -> SourceCohort:
    """Read an h5ad file.

    Raises
    ------
    ScswError
        If a column or the raw counts are not found, or a value may mean several things.
    """
    with open_h5ad(request.path) as file:
        present = column_names(file, "obs")
        labelled = label_columns(request.tables["cells"]) if "cells" in request.tables else []
        every = list(dict.fromkeys([*labelled, *present]))
        candidates = usual_columns(every)
        wanted = [name for names in candidates.values() for name in names]
        wanted += [*request.columns.values(), *CARRIED]
        cells = read_columns(file, "obs", wanted)
        if "cells" in request.tables:
            cells = with_labels(cells, request.tables["cells"], wanted)
        found = _Columns(
            cells,
            candidates,
            request.columns,
            f"obs of {request.path}",
            CARRIED,
            every,
            request.values,
        )
        found.need("donor_id")
        found.need("cell_type")
        key = choose_counts(request.path, request.counts)
        counts = h5ad_matrix(request.path, key, f"{key} of {request.path}", ADVICE)
        genes = genes_of_h5ad(file, key)
        check_shape(counts.shape, len(cells), len(genes), counts.where)
        counts, genes = genes_alone(file, key, counts, genes)
    read_files = files(request.path, request.tables)
    cohort = assemble(counts, genes, _coded(found), found, read_files)
    if found.name("stated_counts"):
        stated = found.decoded("stated_counts", coding.number(0, 1e9), np.nan, "a number")
        cohort.stated_counts = stated.to_numpy(float)
    return cohort


def usual_columns(present: list[str]) -> dict[str, tuple[str, ...]]:
    """Return for each field the columns that usually hold it, among those of a file.

    Parameters
    ----------
    present
        Names of the file's columns. "Age at Death" and "age.at.death" are the usual
        ``age_at_death``.
    """
    by_name: dict[str, list[str]] = {}
    for name in present:
        by_name.setdefault(re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_"), []).append(name)
    return {
        field: tuple(name for usual in names.split() for name in by_name.get(usual, ()))
        for field, names in USUAL.items()
    }


class _Columns(Columns):
    """Columns whose refusal of a value shows the map that the user may write."""

    def decoded(
        self,
        field: str,
        decode: coding.Decoder,
        missing: Any,
        expected: str,
        also_missing: tuple[str, ...] = (),
    ) -> pd.Series:
        """Decode `field`; see `Columns.decoded`."""
        try:
            return super().decoded(field, decode, missing, expected, also_missing)
        except ScswError as error:
            if field not in MEANINGS:
                raise
            raise ScswError(error.found, expected=error.expected, fix=self._map(field)) from error

    def _map(self, field: str) -> str:
        """Return the words to write into the config, with one place for each of the values."""
        texts = sorted(set(coding.text(self.table[self.name(field)])) - {""})[:20]
        places = ", ".join(f"{value!r}: …" for value in texts)
        return (
            f"say in the config what each value means: `values: {{{field}: {{{places}}}}}` (on the "
            "command line: --values, as JSON), with "
            f"{MEANINGS[field]} on the right; or name another column under `columns: {field}:` "
            "(an empty name leaves the field out)"
        )


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = found.text("cell_type")
    own = {name: name for name in CELL_CLASSES}
    cells = cell_fields(found)
    if found.name("donor_id") == "projid":
        # ROSMAP's number, padded as in its other sets: else a shared donor would pass for two.
        cells["donor_id"] = coding.mapped(
            cells["donor_id"], lambda name: name.zfill(8) if name.isdigit() else name
        )
    return {
        **cells,
        **donor_fields(found, SEX),
        "cell_type": cell_type,
        "cell_class": classes(found.text("cell_class"), own, (cell_type, {})),
        "braak": found.decoded("braak", coding.braak, -1, "Braak 0 to VI, or 0 to 6"),
        "thal": found.decoded("thal", coding.thal, -1, "Thal 0 to 5"),
        "cerad": found.decoded("cerad", coding.choice(CERAD), -1, ", ".join(CERAD)),
        "adnc": found.decoded("adnc", coding.choice(ADNC), -1, ", ".join(ADNC)),
        "cognition": found.decoded("cognition", coding.choice(COGNITION), -1, ", ".join(COGNITION)),
        "pct_mito": found.decoded("pct_mito", coding.number(0, 100), float("nan"), "0 to 100"),
    }
