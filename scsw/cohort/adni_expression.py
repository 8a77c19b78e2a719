"""ADNI's table of blood gene expression (Affymetrix U219, log2 RMA).

It begins with eight lines about the samples and one that names the columns of the genes. The genes'
columns come first, then the samples, then a description of the probe sets without a heading.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.genes import ensembl_id_by_symbol, genes_named
from scsw.cohort.qc import QcLog
from scsw.errors import ScswError

# Lines of the table before the probe sets; and the first columns of the last of them.
SAMPLE_LINES = (
    "Phase",
    "Visit",
    "SubjectID",
    "260/280",
    "260/230",
    "RIN",
    "Affy Plate",
    "YearofCollection",
)
GENE_COLUMNS = ("ProbeSet", "LocusLink", "Symbol")
_N_LINES, _FIRST_SAMPLE = len(SAMPLE_LINES) + 1, len(GENE_COLUMNS)
_SUBJECT = re.compile(r"\d{3}_S_\d{4,}")
_NO_SYMBOL = ("", "---")
_SEVERAL = "||"

# log2 of what a microarray's scanner tells, 16 bits, stays below this; linear values do not.
_MOST = 20
_LINES_AT_ONCE = 2000

_DAMAGE = (ValueError, OSError, EOFError, zlib.error, csv.Error)


def begins_as_adni(path: Path) -> bool:
    """Tell whether a text file's first lines are those of this table."""
    n_told = 3
    try:
        lines = _first_lines(path, n_told)
    except _DAMAGE:
        return False  # whatever it is, its beginning does not show it to be ADNI's
    return [line[0] for line in lines if line] == list(SAMPLE_LINES[:n_told])


def read_samples(path: Path) -> pd.DataFrame:
    """Read the lines about the samples.

    Returns
    -------
    pandas.DataFrame
        ``sample_id, donor_id, visit, phase, plate`` (text), ``rin`` (float64, NaN missing) and
        ``year`` (int64, −1 missing); one row per sample, index = ``sample_id``.

    Raises
    ------
    ScswError
        If the lines are not those of this table.
    """
    with _readable(path):
        lines = _first_lines(path, _N_LINES)
    _check_headings(lines, path)
    of = {line[0]: line[_FIRST_SAMPLE:] for line in lines[:-1]}
    subjects = of["SubjectID"]
    while subjects and not subjects[-1]:  # the description of the probe sets has no subject
        subjects = subjects[:-1]
    if odd := [name for name in subjects if not _SUBJECT.fullmatch(name)]:
        raise ScswError(
            f"{path} names the subject {odd[0]!r}", expected="a subject such as 000_S_0000"
        )
    if not subjects:
        raise ScswError(f"{path} holds no samples", expected=f"samples from column {_FIRST_SAMPLE}")

    def values(name: str) -> list[str]:
        return [*of[name], *[""] * len(subjects)][: len(subjects)]

    visit, phase = values("Visit"), values("Phase")
    sample_id = [f"{s}_{p}_{v}" for s, p, v in zip(subjects, phase, visit, strict=True)]
    table = pd.DataFrame(
        {
            "sample_id": sample_id,
            "donor_id": subjects,
            "visit": visit,
            "phase": phase,
            "rin": _numbers(values("RIN"), "RIN", path, 0, 10),
            "plate": values("Affy Plate"),
            "year": _numbers(values("YearofCollection"), "YearofCollection", path, 1990, 2100),
        },
        index=pd.Index(sample_id, dtype=object),
    )
    table["year"] = table["year"].fillna(-1).astype(np.int64)
    return table


def _check_headings(lines: list[list[str]], path: Path) -> None:
    names = [*((name,) for name in SAMPLE_LINES), GENE_COLUMNS]
    for number, expected in enumerate(names, start=1):
        line = lines[number - 1] if number <= len(lines) else []
        if tuple(line[: len(expected)]) != expected:
            raise ScswError(
                f"line {number} of {path} begins with "
                + (", ".join(map(repr, line[: len(expected)])) or "nothing"),
                expected=", ".join(map(repr, expected)),
                fix="use the table as downloaded",
            )


def read_symbols(path: Path, log: QcLog) -> pd.Series:
    """Read the symbol of each probe set.

    Parameters
    ----------
    path
        The table.
    log
        Gets a row for the probe sets of no symbol, of several, and of one that others have too.

    Returns
    -------
    pandas.Series
        One text per probe set, "" where it is left out.

    Raises
    ------
    ScswError
        If no probe set has a symbol of its own.
    """
    with _readable(path):
        names = pd.read_csv(
            path,
            header=None,
            skiprows=_N_LINES,
            usecols=[_FIRST_SAMPLE - 1],
            dtype=str,
            keep_default_na=False,
        )
        symbols = names.iloc[:, 0].str.strip()
    blank = symbols.isin(_NO_SYMBOL)
    several = symbols.str.contains(_SEVERAL, regex=False)
    log.add("genes", "blank_symbol", len(symbols), blank.sum(), "probe sets with a symbol")
    log.add("genes", "ambiguous_symbol", (~blank).sum(), several.sum(),
            f"probe sets of one symbol, not of several joined by {_SEVERAL}")  # fmt: skip
    symbols = symbols.mask(blank | several, "")
    kept, n_symbols = (symbols != "").sum(), symbols[symbols != ""].nunique()
    log.add("genes", "probe_sets_averaged", kept, kept - n_symbols,
            "probe sets of one symbol become their mean")  # fmt: skip
    if not n_symbols:
        raise ScswError(
            f"no probe set of {path} has a symbol of its own", expected="symbols in column Symbol"
        )
    return symbols


def averaged_expression(
    path: Path, symbols: pd.Series, n_samples: int
) -> tuple[np.ndarray, pd.DataFrame]:
    """Average the probe sets of each symbol.

    Parameters
    ----------
    path
        The table.
    symbols
        Symbol of each probe set, "" to leave it out.
    n_samples
        Number of samples.

    Returns
    -------
    tuple
        Expression, samples × genes, float32; ``symbol, ensembl_id, n_probe_sets`` of the genes,
        sorted by symbol.

    Raises
    ------
    ScswError
        If a value is no log2 intensity.
    """
    genes = np.unique(symbols[symbols != ""].to_numpy(str)).astype(object)
    gene_of_line = pd.Index(genes).get_indexer(symbols)
    sums, n_sets = np.zeros((len(genes), n_samples)), np.zeros(len(genes), np.int64)
    first = 0
    for values in _values(path, n_samples):
        gene = gene_of_line[first : first + len(values)]
        first += len(values)
        np.add.at(sums, gene[gene >= 0], values[gene >= 0])
        np.add.at(n_sets, gene[gene >= 0], 1)
    names = pd.Series(genes)
    found = genes_named(names)
    # An alias is too weak a link; a former symbol is the gene's own.
    today = found["symbol"].where(found["kind"].isin(["symbol", "previous"]), "")
    ids = ensembl_id_by_symbol()
    var = pd.DataFrame(
        {
            "symbol": genes,
            "ensembl_id": [ids.get(name, "") for name in today],
            "n_probe_sets": n_sets,
        },
        index=pd.Index(genes, dtype=object),
    )
    return np.ascontiguousarray((sums / n_sets[:, None]).T, dtype=np.float32), var


def _values(path: Path, n_samples: int) -> Iterator[np.ndarray]:
    """Read the values of some probe sets at a time, probe sets × samples, and check them."""
    columns = range(_FIRST_SAMPLE, _FIRST_SAMPLE + n_samples)
    with _readable(path):
        parts = pd.read_csv(
            path,
            header=None,
            skiprows=_N_LINES,
            usecols=[0, *columns],
            dtype={0: str, **dict.fromkeys(columns, np.float64)},
            chunksize=_LINES_AT_ONCE,
        )
        for part in parts:
            values = part.loc[:, columns].to_numpy()
            wrong = ~((values >= 0) & (values < _MOST))  # true for NaN too
            if wrong.any():
                line, sample = np.argwhere(wrong)[0]
                raise ScswError(
                    f"{path} holds {values[line, sample]:g} for the probe set {part.iloc[line, 0]}",
                    expected=f"log2 RMA intensities, from 0 to below {_MOST}",
                    fix="use the table as downloaded; linear intensities are to be taken to log2",
                )
            yield values


def _numbers(texts: list[str], name: str, path: Path, low: float, high: float) -> np.ndarray:
    """Decode numbers; NaN where a text is missing."""
    decode = coding.number(low, high)
    try:
        known = [text.casefold() not in coding.MISSING_TEXTS for text in texts]
        return np.array([decode(t) if k else np.nan for t, k in zip(texts, known, strict=True)])
    except ValueError as error:
        raise ScswError(
            f"the line {name} of {path} holds what is none of its values: {error}",
            expected=f"numbers from {low} to {high}",
        ) from error


def _first_lines(path: Path, n_lines: int) -> list[list[str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(itertools.islice(lines, n_lines))
        return [[value.strip() for value in row] for row in rows]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a damaged or foreign file raises into a `ScswError`."""
    try:
        yield
    except _DAMAGE as error:
        raise ScswError(
            f"{path} cannot be read as ADNI's table of expression: {error}",
            expected="UTF-8 text with columns separated by commas",
            fix="use the table as downloaded",
        ) from error
