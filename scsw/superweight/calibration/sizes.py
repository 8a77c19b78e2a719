"""How large the calibration is, and the settings of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from scsw.superweight.controls.implant import KINDS

CONSTANT, INFORMATIVE = KINDS
SECTIONS = ("preprocess", "model", "finetune", "search", "prune", "statistics", "compute")
# The demo's model and rules (config/config.yaml) on fewer tokens, steps and cells, so that one
# family takes seconds. `bootstrap` and everything that is not named keep their defaults.
_COMMON: dict[str, dict[str, Any]] = {
    "preprocess": {"min_genes": 50, "min_counts": 200, "vocabulary": "cohort"},
    "model": {
        "embsize": 64, "nheads": 4, "d_hid": 64, "nlayers": 4, "max_seq_len": 64, "init_seed": None
    },
    "finetune": {
        "epochs": 20, "max_steps": 300, "lr": 0.003, "weight_gep": 0.001, "weight_mvc": 0.001,
        "gep_cells_per_donor": 2, "baseline_cells": 100,
    },
    "search": {
        "max_candidates": 10, "first_order": 3, "first_order_top": 100, "gradient_cells": 16,
        "path_cells": 8, "other_input_cells": 8,
    },
    "prune": {
        "n_controls": 200, "scales": [2], "n_pairs_among": 4, "max_cells_per_donor": 8,
    },
    "statistics": {"bootstrap": 2000},
    "compute": {"device": "cpu"},
}  # fmt: skip
# The fewest that the rules allow: a false verdict is then least unlikely.
_NULL = {"prune": {"n_matched": 3, "n_noise": 3}}
# The rules' defaults, with which a true one is hardest to get.
_POWER = {"prune": {"n_matched": 20, "n_noise": 20, "control_scope": "all_blocks"}}
_SMALL = {
    "preprocess": {"min_genes": 20, "min_counts": 40},
    "model": {"embsize": 16, "nheads": 2, "d_hid": 24, "nlayers": 2, "max_seq_len": 32},
    "finetune": {"max_steps": 120},
    "search": {"max_candidates": 4, "first_order": 1, "first_order_top": 20},
    "prune": {"n_controls": 80, "max_cells_per_donor": 4},
    "statistics": {"bootstrap": 500},
}


@dataclass(frozen=True)
class Sizes:
    """Numbers of models, families and implants.

    Attributes
    ----------
    cohort
        Options of `scsw.cohort.simulation.simulate.simulate`.
    models, families, members
        Models without an implant; families of blind candidates per model; candidates per family.
    strengths, implants
        Sizes of the implanted scalar, by kind; implants per kind and strength.
    changes
        Settings that differ from the ones of the whole calibration, by section.
    """

    cohort: dict[str, int]
    models: int
    families: int
    members: int
    strengths: dict[str, tuple[float, ...]]
    implants: int
    changes: dict[str, dict[str, Any]]


WHOLE = Sizes(
    cohort={"donors": 40, "nuclei_per_donor": 48, "genes": 2000, "cell_types": 12},
    models=12,
    families=34,
    members=10,
    strengths={CONSTANT: (2.0, 5.0, 10.0, 20.0), INFORMATIVE: (2.0, 5.0, 10.0, 20.0)},
    implants=20,
    changes={},
)
# What a test runs again: seconds per model.
SMALL = Sizes(
    cohort={"donors": 36, "nuclei_per_donor": 30, "genes": 500, "cell_types": 4},
    models=2,
    families=4,
    members=4,
    strengths={CONSTANT: (20.0,)},
    implants=1,
    changes=_SMALL,
)


def settings(sizes: Sizes, part: str) -> dict[str, dict[str, Any]]:
    """Return the settings of every section, defaults filled in.

    Parameters
    ----------
    sizes
        `WHOLE` or `SMALL`.
    part
        ``null`` or ``power``.
    """
    from scsw.settings import section_settings  # where the tables are made there may be no schema

    own = {"null": _NULL, "power": _POWER}[part]
    filled = {}
    for name in SECTIONS:
        given = {**_COMMON[name], **own.get(name, {}), **sizes.changes.get(name, {})}
        filled[name] = vars(section_settings(name, given))
    return filled


def sections(filled: dict[str, dict[str, Any]]) -> SimpleNamespace:
    """Return settings as the steps take them."""
    return SimpleNamespace(**{name: SimpleNamespace(**own) for name, own in filled.items()})
