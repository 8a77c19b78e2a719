"""ADNI's tables of expression and diagnosis as LONI has them; every row is made up."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

EXPRESSION = "ADNI_Gene_Expression_Profile.csv"
DIAGNOSES = "DXSUM_PDXCONV_ADNIALL.csv"
N_SAMPLES = 12

# Probe sets: APP twice, MAPT thrice, one by a former symbol, blank, several genes, unknown to all.
SYMBOLS = (
    ("1_at", "APP"),
    ("2_at", "MAPT"),
    ("3_at", ""),
    ("4_s_at", "APOE || APOC1"),
    ("5_at", "MAPT"),
    ("6_at", "SEPT7"),
    ("7_at", "APP"),
    ("8_at", "NOSUCHGENE"),
    ("9_at", "MAPT"),
)
# What each sample's row of the table of diagnoses holds, in the column of its phase, and its code.
GIVEN = (
    ("DXCHANGE", "1", 0),
    ("DXCHANGE", "7", 0),
    ("DXCHANGE", "9", 0),
    ("DXCHANGE", "2", 1),
    ("DXCHANGE", "4", 1),
    ("DXCHANGE", "8.0", 1),
    ("DXCHANGE", "3", 2),
    ("DXCHANGE", "5", 2),
    ("DXCHANGE", "6", 2),
    ("DXCURREN", "2", 1),
    ("DIAGNOSIS", "3", 2),
    ("DXCHANGE", "-4", -1),
)


def subject(number: int) -> str:
    return f"999_S_{9000 + number}"


def values() -> np.ndarray:
    """Return probe sets × samples, log2 RMA."""
    random = np.random.default_rng(0)
    return random.uniform(2, 14, (len(SYMBOLS), N_SAMPLES)).round(3)


def phases() -> list[str]:
    return ["ADNIGO" if number % 2 else "ADNI2" for number in range(N_SAMPLES)]


def visits() -> list[str]:
    return ["bl" if number % 2 else "v03" for number in range(N_SAMPLES)]


def lines() -> list[list[str]]:
    """Return the table of expression, cell by cell."""
    samples = range(N_SAMPLES)
    of = {
        "Phase": phases(),
        "Visit": visits(),
        "SubjectID": [subject(number) for number in samples],
        "260/280": ["2.05"] * N_SAMPLES,
        "260/230": ["0.55"] * N_SAMPLES,
        "RIN": ["" if number == 3 else "7.7" for number in samples],
        "Affy Plate": [str(number % 3 + 1) for number in samples],
        "YearofCollection": ["" if number == 4 else "2011" for number in samples],
    }
    head = [[name, "", "", *told, ""] for name, told in of.items()]
    head.append(["ProbeSet", "LocusLink", "Symbol", *[""] * N_SAMPLES, ""])
    body = [
        [
            probe_set,
            "LOC1",
            symbol,
            *(f"{value:.3f}" for value in row),
            f"[{symbol}] a gene, made up",
        ]
        for (probe_set, symbol), row in zip(SYMBOLS, values(), strict=True)
    ]
    return head + body


def diagnoses() -> pd.DataFrame:
    """Return the table of diagnoses: each sample's visit, another visit of each, a stranger."""
    rows = []
    for number, (column, code, _) in enumerate(GIVEN):
        key = {"PTID": subject(number), "RID": str(9000 + number), "VISCODE2": "bl"}
        here = {"Phase": phases()[number], "VISCODE": visits()[number], column: code}
        rows.append(key | here)
        rows.append(key | {"Phase": "ADNI3", "VISCODE": "y4", "DIAGNOSIS": "3"})
    rows.append({"PTID": "999_S_9999", "RID": "9999", "Phase": "ADNI1", "VISCODE": "bl"})
    columns = "Phase ID RID PTID VISCODE VISCODE2 EXAMDATE DXCURREN DXCHANGE DIAGNOSIS".split()
    return pd.DataFrame(rows).reindex(columns=columns).fillna("")


def people() -> pd.DataFrame:
    """Return the merged table of subjects: two visits of each; the sex of one is missing."""
    rows = [
        {"RID": 9000 + number, "PTID": subject(number), "VISCODE": visit, "AGE": 60.5 + number}
        | {"PTGENDER": "" if number == 5 else ("Female", "Male")[number % 2]}
        for number in range(N_SAMPLES)
        for visit in ("bl", "m06")
    ]
    return pd.DataFrame(rows)


def write(folder: Path, edit=None, edit_diagnoses=None) -> Path:
    """Write both tables, and the dictionary that comes with them."""
    folder.mkdir(parents=True, exist_ok=True)
    table = lines()
    with (folder / EXPRESSION).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(edit(table) if edit else table)
    told = diagnoses()
    told = edit_diagnoses(told) if edit_diagnoses else told
    told.to_csv(folder / DIAGNOSES, index=False, quoting=csv.QUOTE_ALL)
    (folder / EXPRESSION.replace(".csv", "_DICT.csv")).write_text('"FLDNAME","TEXT"\n')
    return folder
