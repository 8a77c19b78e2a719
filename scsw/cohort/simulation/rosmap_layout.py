"""Write a simulated cohort as the folder of Mathys 2019 (ROSMAP, Synapse syn18485175)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import io, sparse
from scipy.sparse.linalg import svds

from scsw.cohort.simulation.expression import STATES
from scsw.cohort.simulation.genes import genes as gene_table
from scsw.cohort.simulation.simulated_cohort import SimulatedCohort
from scsw.files import whole

README = """This cohort is simulated (scsw simulate). No row describes a real person.

The files have the layout of Mathys et al. 2019 (ROSMAP, Synapse syn18485175) and of
ROSMAP_clinical.csv. tsne1 and tsne2 hold two components of a
singular value decomposition of the log counts.
"""

BRAAK_STAGES = (0, 1, 2, 3, 4, 5, 6)
UNFILTERED_EXTRA = 1.1  # genes of the unfiltered list / genes of the matrix
EXTRA_PARTICIPANTS = 5  # rows of the clinical table without nuclei
CENSORED_FROM = 90  # years

CLINICAL_COLUMNS = (
    "projid Study msex educ race spanish apoe_genotype age_at_visit_max age_first_ad_dx age_death "
    "cts_mmse30_first_ad_dx cts_mmse30_lv pmi braaksc ceradsc cogdx dcfdx_lv individualID"
).split()


def write(cohort: SimulatedCohort, path: Path) -> None:
    """Write the matrix, gene names, nuclei, clinical table and a README.txt as one folder."""
    unfiltered = gene_table(int(UNFILTERED_EXTRA * len(cohort.genes)))
    with whole(path) as folder:
        folder.mkdir()
        (folder / "README.txt").write_text(README, encoding="utf-8")
        io.mmwrite(
            folder / "filtered_count_matrix.mtx",
            cohort.nuclei.counts.T.tocsc().tocoo(),
            comment="simulated counts, genes x nuclei",
            field="integer",
            symmetry="general",
        )
        symbols = cohort.genes["symbol"]
        symbols.to_csv(folder / "filtered_gene_row_names.txt", header=False, index=False)
        unfiltered[["ensembl_id", "symbol"]].sort_values("ensembl_id").to_csv(
            folder / "notfiltered_gene_row_names.txt", sep="\t", header=False, index=False
        )
        projid = _projid(len(cohort.donors))
        nuclei = _nuclei(cohort, projid)
        nuclei.to_csv(folder / "filtered_column_metadata.txt", sep="\t", index=False)
        clinical(cohort.donors, projid, cohort.rng).to_csv(
            folder / "ROSMAP_clinical.csv", index=False
        )


def is_simulated(path: Path) -> bool:
    """Tell whether `path` is a folder that `write` made, or an empty one."""
    if not path.is_dir():
        return False
    note = path / "README.txt"
    told = note.is_file() and note.read_text(encoding="utf-8", errors="replace") == README
    return told or not any(path.iterdir())


def clinical(donors: pd.DataFrame, projid: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return the clinical table, all text, in the codings of ROSMAP_clinical.csv.

    Ages of 90 and above read "90+"; projid has 8 digits here and none padded in the metadata.
    A few values are blank or NA, and the last rows are participants without nuclei.
    """
    extra = donors.sample(EXTRA_PARTICIPANTS, random_state=rng)
    people = pd.concat([donors, extra], ignore_index=True)
    n = len(people)
    last_visit = people["age_death"] - rng.uniform(0.05, 1.0, n)
    has_ad = people["cogdx"].isin([4, 5])
    first_ad = (last_visit - rng.uniform(1, 8, n)).mask(~has_ad)
    first_mmse = np.minimum(people["mmse"] + rng.integers(1, 6, n), 30)
    numbers = np.concatenate([projid, projid.max() + 7 * np.arange(1, EXTRA_PARTICIPANTS + 1)])
    table = pd.DataFrame(
        {
            "projid": [f"{number:08d}" for number in numbers],
            "Study": rng.choice(["ROS", "MAP"], n),
            "msex": (~people["female"]).astype(int),
            "educ": people["education"],
            "race": 1,
            "spanish": 2,
            "apoe_genotype": people["apoe"],
            "age_at_visit_max": _ages(last_visit),
            "age_first_ad_dx": _ages(first_ad),
            "age_death": _ages(people["age_death"] + rng.uniform(0, 1, n)),
            "cts_mmse30_first_ad_dx": first_mmse.astype("Int64").mask(~has_ad),
            "cts_mmse30_lv": people["mmse"],
            "pmi": people["pmi"],
            "braaksc": people["braak"],
            "ceradsc": 4 - people["cerad"],  # 4 = no AD, 1 = definite
            "cogdx": people["cogdx"],
            "dcfdx_lv": people["cogdx"],
            "individualID": [f"R{9_000_001 + i}" for i in range(n)],
        }
    )
    table = table[CLINICAL_COLUMNS].astype(object).where(table.notna(), "").astype(str)
    table.loc[rng.integers(len(donors)), "pmi"] = ""
    table.loc[rng.integers(len(donors)), "apoe_genotype"] = "NA"
    table.loc[n - 1, ["braaksc", "ceradsc", "cogdx"]] = "NA"
    return table


def _projid(n: int) -> np.ndarray:
    """Return made-up participant numbers, some of fewer than 8 digits."""
    i = np.arange(n)
    return np.where(i % 2 == 0, 900_001, 90_000_001) + 7 * i


def _ages(years: pd.Series) -> pd.Series:
    texts = years.map(lambda age: "" if np.isnan(age) else f"{age:.2f}")
    return texts.mask(years >= CENSORED_FROM, "90+")


def _nuclei(cohort: SimulatedCohort, projid: np.ndarray) -> pd.DataFrame:
    """Return the metadata of the nuclei, one row per column of the matrix."""
    donor = cohort.nuclei.donor
    tags = zip(cohort.barcodes(), donor, strict=True)
    place = _two_components(cohort.nuclei.counts)
    return pd.DataFrame(
        {
            "TAG": [f"{barcode}.{sample + 1}" for barcode, sample in tags],
            "projid": projid[donor],
            "tsne1": place[:, 0],
            "tsne2": place[:, 1],
            "pre.cluster": cohort.nuclei.state,
            "broad.cell.type": cohort.of_type([t.broad for t in cohort.types]),
            "Subcluster": cohort.of_state(_subclusters(cohort)),
        }
    )


def _subclusters(cohort: SimulatedCohort) -> list[str]:
    """Name the states of each broad type by number from 0, such as Ex0 and Ex1."""
    broad = pd.Series([t.broad for t in cohort.types]).repeat(STATES)
    return (broad + broad.groupby(broad.to_numpy()).cumcount().astype(str)).tolist()


def _two_components(counts: sparse.csr_matrix) -> np.ndarray:
    totals = np.maximum(counts.sum(axis=1).A1, 1)
    log = counts.multiply(1e4 / totals[:, None]).tocsr().log1p()
    left, values, _ = svds(log, k=2, v0=np.ones(min(log.shape)))
    return (left * values)[:, ::-1].round(3)
