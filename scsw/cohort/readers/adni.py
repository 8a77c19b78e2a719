"""ADNI: gene expression of blood on a microarray, and the diagnosis at the visit it was drawn.

It has no counts and no cells: it serves to look up mapped genes against diagnosis, never to train
on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.adni_expression import (
    SAMPLE_LINES,
    averaged_expression,
    begins_as_adni,
    read_samples,
    read_symbols,
)
from scsw.cohort.adni_people import with_age_and_sex
from scsw.cohort.external import OBS, ExternalCohort
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.qc import QcLog
from scsw.cohort.request import Request
from scsw.cohort.text_table import need_columns, read_text_table
from scsw.errors import ScswError
from scsw.files import require

# Places in `scsw.cohort.external.DIAGNOSES`. Each phase fills a column of its own: ADNI 1
# DXCURREN, ADNI GO and 2 DXCHANGE (stable, converted to or reverted to), later ones DIAGNOSIS.
_NOW = {"1": 0, "2": 1, "3": 2}
DIAGNOSIS = {
    "DXCHANGE": {"1": 0, "7": 0, "9": 0, "2": 1, "4": 1, "8": 1, "3": 2, "5": 2, "6": 2},
    "DXCURREN": _NOW,
    "DIAGNOSIS": _NOW,
}
_NOT_GIVEN = ("-4", "-1")  # ADNI's marks for a missing value
_KEY = ["PTID", "PHASE", "VISCODE"]

EXPRESSION = "ADNI_Gene_Expression_Profile.csv"
DIAGNOSES = "DXSUM_PDXCONV_ADNIALL.csv"
_ENDS = (".csv", ".csv.gz")

TITLE = "ADNI blood microarray"
LAYOUT = f"{EXPRESSION} with {DIAGNOSES} beside it, or their folder (ADNI, for validation only)"
NOT_FOR_TRAINING = (
    "ADNI is bulk expression of blood from a microarray: log2 intensities of whole samples, no "
    "counts and no cells, so no model can be fine-tuned on it. It serves as an external table that "
    "holds mapped genes against diagnosis."
)
VALUES = "log2 RMA intensity of blood, mean over the probe sets of a symbol"


def recognise(seen: Glimpse) -> str | None:
    """Say how a file or folder shows that it is this one, or return None."""
    if seen.is_folder:
        named = sorted(name for name in seen.files if _is_expression(name))
        return f"the folder holds {named[0]}" if named else None
    if seen.keys or not seen.path.name.endswith(_ENDS):
        return None
    if not begins_as_adni(seen.path):
        return None
    return f"its first lines are {', '.join(SAMPLE_LINES[:3])}"


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the files to open: expression, diagnoses and, where it is named, ADNIMERGE.csv.

    Raises
    ------
    ScswError
        If there are several to choose from.
    """
    is_file = path.is_file() or path.name.endswith(_ENDS)
    expression = path if is_file else path / _only(path, _is_expression, EXPRESSION)
    folder = expression.parent
    return [
        str(expression),
        str(tables.get("clinical") or folder / _only(folder, _is_diagnoses, DIAGNOSES)),
        *([str(tables["donors"])] if tables.get("donors") else []),
    ]


def read(request: Request) -> ExternalCohort:
    """Read expression and diagnoses.

    Samples without a diagnosis are kept and counted. Probe sets of no symbol or of several are
    left out, those of one symbol averaged.

    Raises
    ------
    ScswError
        If a file is missing or does not have this layout, the values are no log2 intensities, or
        no sample has a row in the table of diagnoses.
    """
    if asked := [*request.columns, *request.values, *([request.counts] if request.counts else [])]:
        raise ScswError(
            f"columns, values or counts were named ({', '.join(asked)}), of which ADNI has none",
            fix="leave them out",
        )
    names = files(request.path, request.tables)
    expression_file, diagnoses_file = (require(name) for name in names[:2])
    log = QcLog()
    samples = read_samples(expression_file)
    samples, warnings = with_age_and_sex(samples, request.tables.get("donors"))
    obs, of_diagnoses = _with_diagnosis(samples, diagnoses_file, log)
    symbols = read_symbols(expression_file, log)
    expression, var = averaged_expression(expression_file, symbols, len(obs))
    return ExternalCohort(
        expression,
        obs,
        var,
        log,
        "adni",
        VALUES,
        NOT_FOR_TRAINING,
        [Path(name) for name in names],
        [*of_diagnoses, *warnings],
    )


def _with_diagnosis(
    samples: pd.DataFrame, path: Path, log: QcLog
) -> tuple[pd.DataFrame, list[str]]:
    """Add each sample's diagnosis at its visit, and a sentence if some have none."""
    table = read_text_table(path, ",")
    table.columns = table.columns.str.upper()
    need_columns(table, _KEY, path, f"a comma-separated table such as {DIAGNOSES}")
    given = [name for name in DIAGNOSIS if name in table]
    if not given:
        raise ScswError(
            f"{path} has no column of diagnoses; its columns are " + ", ".join(table.columns[:20]),
            expected=" or ".join(DIAGNOSIS),
        )
    visits = pd.MultiIndex.from_frame(table[_KEY].apply(lambda column: column.str.strip()))
    wanted = pd.MultiIndex.from_frame(samples[["donor_id", "phase", "visit"]])
    named = wanted.isin(visits)
    if not named.any():
        raise ScswError(
            f"none of the {len(wanted)} samples has a row in {path}; the first sample is "
            + ", ".join(wanted[0]),
            expected=f"rows with a sample's {', '.join(_KEY)}",
            fix="use the complete table, or name it with --clinical (in the config: `clinical:`)",
        )
    codes = [_diagnosis(table[name], path).set_axis(visits) for name in given]
    known = pd.concat(codes)
    known = known[known >= 0].groupby(level=[0, 1, 2]).agg(["min", "max"])
    at_visit = known.reindex(wanted)
    two = (at_visit["min"] != at_visit["max"]).to_numpy() & at_visit["min"].notna().to_numpy()
    diagnosis = at_visit["min"].fillna(-1).to_numpy(np.int64)
    diagnosis[two] = -1
    without = diagnosis < 0
    reasons = (
        f"{(~named).sum()} without a row in the table of diagnoses, "
        f"{(named & without & ~two).sum()} with a row that gives none, "
        f"{two.sum()} with two different ones"
    )
    log.add("samples", "no_diagnosis", len(samples), 0,
            f"kept with diagnosis −1: {without.sum()} ({reasons})")  # fmt: skip
    sentence = f"Samples without a diagnosis: {without.sum()} of {len(samples)} ({reasons})."
    obs = samples.assign(diagnosis=diagnosis)[list(OBS)]
    return obs, [sentence] if without.any() else []


def _diagnosis(column: pd.Series, path: Path) -> pd.Series:
    """Decode one of the columns of diagnoses; −1 where it gives none."""
    codes = DIAGNOSIS[column.name]
    texts = column.str.strip().str.removesuffix(".0")
    missing = texts.str.casefold().isin([*coding.MISSING_TEXTS, *_NOT_GIVEN])
    if odd := sorted(set(texts[~missing]) - set(codes)):
        raise ScswError(
            f"column {column.name} of {path} holds {odd[0]!r}, which is no diagnosis",
            expected=", ".join(sorted(codes)),
            fix="use the table as downloaded",
        )
    return texts.map(codes).fillna(-1).astype(np.int64)


def _only(folder: Path, wanted: Callable[[str], bool], public: str) -> str:
    """Return the only such name in a folder; the public one if there is none."""
    found = sorted(file.name for file in folder.glob("*") if wanted(file.name))
    if len(found) > 1:
        raise ScswError(
            f"{folder} holds several such tables: {', '.join(found[:5])}",
            expected=f"one file such as {public}",
            fix="name the table of expression itself as the input, and that of diagnoses with "
            "--clinical (in the config: `clinical:`)",
        )
    return found[0] if found else public


def _is_expression(name: str) -> bool:
    """Tell the table of expression, whatever its date, from the dictionary that comes with it."""
    is_table = name.startswith("ADNI_Gene_Expression_Profile") and name.endswith(_ENDS)
    return is_table and "DICT" not in name


def _is_diagnoses(name: str) -> bool:
    return name.startswith("DXSUM") and name.endswith(_ENDS)
