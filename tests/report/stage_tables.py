"""Invented tables of the disease stages of one model."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from scsw.report.columns import CHANGE_POINTS, DONOR_SCORES, STAGE_ORDER, STAGE_TESTS
from tests.report.shape import CLASSES, Shape


def donor_score_table(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    """Return a contribution per candidate, class and donor that was not fitted on."""
    classes = sorted({CLASSES[i % 6] for i in range(len(shape.types))})
    held_out = [(i, x) for i, x in enumerate(shape.donors) if shape.split_of[x] != "train"]
    rows = [
        {
            **{"candidate_id": name, "donor_id": donor, "cell_class": cell_class},
            **{"depth": depth, "cell_type": "all", "region": "all", "is_reference": False},
            **{"split": shape.split_of[donor], "n_cells": 40 if depth == "as measured" else 20},
            **{"contribution": float(rng.normal()), "adnc": i % 4, "braak": i % 7},
        }
        for name in candidates["candidate_id"]
        for depth in ("as measured", "thinned")
        for cell_class in classes
        for i, donor in held_out
    ]
    return pd.DataFrame(rows, columns=[*DONOR_SCORES[3:], "depth", "cell_type"])


def stage_table(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = []
    classes = sorted({CLASSES[i % 6] for i in range(len(shape.types))})
    stages = ("adnc", "braak", "thal", "cerad", "cognition", "cps", "apoe_e4", "apoe_e2")
    places = [(kind, "all") for kind in classes] + [(classes[0], shape.types[0])]
    groups = product(candidates["candidate_id"], places, ("as measured", "thinned"))
    for (name, (cell_class, cell_type), depth), measure in product(
        groups, ("contribution", "spike", "effect_nll")
    ):
        for stage in stages if cell_type == "all" else stages[:1]:
            tested = shape.stages_tested and stage != "thal"
            beta = float(rng.normal(0, 0.5)) if tested else np.nan
            primary = (measure, stage, cell_type) == ("contribution", "adnc", "all")
            passes = abs(beta) > 0.8
            survives = ("yes" if beta > 0 else "no") if passes and depth != "thinned" else ""
            rows.append(
                {
                    "candidate_id": name,
                    "depth": depth,
                    "measure": measure,
                    "cell_class": cell_class,
                    "cell_type": cell_type,
                    "stage": stage,
                    "primary": primary and depth == "as measured",
                    "n_donors": shape.n_donors if tested else 0,
                    "n_age_censored": 5 if tested else 0,
                    "covariates": "median_genes+age_death" if tested else "",
                    "beta": beta,
                    "beta_low": beta - 0.3,
                    "beta_high": beta + 0.3,
                    "se": 0.15 if tested else np.nan,
                    "df": 16.0 if tested else np.nan,
                    "detectable": 0.6 if tested else np.nan,
                    "p": 0.2 if tested else np.nan,
                    "q": (0.01 if passes else 0.5) if tested else np.nan,
                    "null": "OLS t-test of the stage slope, larger of classical and HC3 error, "
                    "donors as units",
                    "status": "tested" if tested else "not tested",
                    "reason": "" if tested else f"no held-out donor has {stage}",
                    "survives_thinning": survives,
                }
            )
    return pd.DataFrame(rows, columns=STAGE_TESTS[3:])


def change_point_table(candidates: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    """Return change points of expression and candidates; one axis of each has none."""
    rng = np.random.default_rng(6)
    rows = []
    axes = ("synapse", "tau", "microglia", "astrocytes")
    for depth, source in product(
        ("as measured", "thinned"), ("expression", *candidates["candidate_id"])
    ):
        flat = axes[int(rng.integers(4))]
        for axis in axes:
            found = shape.stages_tested and axis != flat
            point = float(rng.uniform(0.2, 0.8)) if found else np.nan
            status = "change point" if found else "no change point"
            rows.append(
                {"depth": depth, "source": source, "axis": axis, "n_donors": shape.n_donors}
                | {"change_point": point, "change_low": point - 0.1, "change_high": point + 0.1}
                | {"at_start": False, "slope": -2.0 if axis == "synapse" else 2.0}
                | {"slope_low": 1.0, "slope_high": 3.0, "p": 0.01, "q": 0.02 if found else 0.5}
                | {"null": "permuted donors", "reason": ""}
                | {"status": status if shape.stages_tested else "not testable"}
            )
    return pd.DataFrame(rows, columns=CHANGE_POINTS[3:])


def stage_order_table(points: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    rows = []
    orders = ("synapse → tau", "tau → microglia", "synapse → tau → microglia")
    found = points["status"].eq("change point")
    for (depth, source), own in points.groupby(["depth", "source"], sort=False):
        has = set(own.loc[found[own.index], "axis"])
        for place, order in enumerate(orders):
            asked = set(order.split(" → ")) <= has
            status = ("supported", "not resolved", "contradicted")[place]
            rows.append(
                {"depth": depth, "source": source, "order": order, "n_donors": shape.n_donors}
                | {"probability": (0.97, 0.6, 0.02)[place] if asked else np.nan}
                | {"chance": 1 / 6 if place == 2 else 1 / 2}
                | {"status": status if asked else "not testable", "reason": ""}
            )
    return pd.DataFrame(rows, columns=STAGE_ORDER[3:])
