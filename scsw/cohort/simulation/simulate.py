"""`scsw simulate`: a small simulated Alzheimer's cohort in a public cohort's exact layout.

What is planted stands in docs/simulated-cohorts.md. Genes, cell types and stage effects are the
same in every simulated cohort; donors and nuclei depend on `seed` and `source`.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from scsw.cohort.simulation import rosmap_layout, sea_ad_layout
from scsw.cohort.simulation.cell_tree import rosmap_types, sea_ad_types
from scsw.cohort.simulation.donors import donors as made_up_donors
from scsw.cohort.simulation.expression import biology, nuclei, state_weights
from scsw.cohort.simulation.genes import genes as gene_table
from scsw.cohort.simulation.simulated_cohort import SimulatedCohort
from scsw.errors import ScswError

LAYOUTS = {"sea_ad": sea_ad_layout, "rosmap": rosmap_layout}
REFERENCE_SHARE = 3 / 40  # of the donors of SEA-AD

# Smallest and largest value of each argument, as in the config schema.
_BOUNDS = {
    "donors": (8, 400),
    "nuclei_per_donor": (8, 20_000),
    "genes": (200, 15_000),
    "cell_types": (2, 24),
    "seed": (0, 2**32 - 1),
}


def simulate(
    path: str | Path,
    *,
    source: str,
    donors: int = 40,
    nuclei_per_donor: int = 48,
    genes: int = 2000,
    cell_types: int = 12,
    seed: int = 1,
) -> None:
    """Write a simulated cohort; the same arguments give the same counts and annotation.

    Parameters
    ----------
    path
        The h5ad file (``sea_ad``) or the folder (``rosmap``) to write. An earlier simulated
        cohort there is replaced, anything else is not.
    source
        ``"sea_ad"`` or ``"rosmap"`` (Mathys 2019).
    donors
        Number of donors. About one in 13 of SEA-AD is a neurotypical reference donor.
    nuclei_per_donor
        Nuclei of each donor, before quality control.
    genes
        Number of genes; the curated ones come first.
    cell_types
        Number of SEA-AD subclasses, or of ROSMAP's broad types, which are at most 8.
    seed
        Seed of donors and nuclei.

    Raises
    ------
    ScswError
        If an argument is out of range, or `path` holds something that is not simulated.
    """
    given = {
        "donors": donors,
        "nuclei_per_donor": nuclei_per_donor,
        "genes": genes,
        "cell_types": cell_types,
        "seed": seed,
    }
    _check(source, given)
    layout = LAYOUTS[source]
    if Path(path).exists() and not layout.is_simulated(Path(path)):
        raise ScswError(
            f"{path} exists and is no simulated {source} cohort",
            expected="a new path, or an earlier simulated cohort to replace",
            fix="choose another path",
        )
    layout.write(_simulated(source, **given), Path(path))


def _simulated(
    source: str, donors: int, nuclei_per_donor: int, genes: int, cell_types: int, seed: int
) -> SimulatedCohort:
    """Draw the cohort; two sources never share donors, whatever the seed."""
    donor_rng, nuclei_rng, name_rng = (
        np.random.default_rng(s)
        for s in np.random.SeedSequence([seed, zlib.crc32(source.encode())]).spawn(3)
    )
    is_sea_ad = source == "sea_ad"
    types = sea_ad_types(cell_types) if is_sea_ad else rosmap_types(cell_types)
    table = gene_table(genes)
    people = made_up_donors(
        donors,
        max(1, round(REFERENCE_SHARE * donors)) if is_sea_ad else 0,
        LAYOUTS[source].BRAAK_STAGES,
        donor_rng,
    )
    life = biology(table["symbol"].tolist(), types)
    drawn = nuclei(
        life, state_weights(types), people["severity"].to_numpy(), nuclei_per_donor, nuclei_rng
    )
    return SimulatedCohort(table, types, people, drawn, name_rng)


def _check(source: str, given: dict[str, int]) -> None:
    if source not in LAYOUTS:
        raise ScswError(
            f"a cohort of source {source!r} cannot be simulated",
            expected=" or ".join(LAYOUTS),
        )
    for name, value in given.items():
        low, high = _BOUNDS[name]
        if not low <= value <= high:
            raise ScswError(
                f"{name} is {value}", expected=f"{name} from {low} to {high}", fix="correct it"
            )
