"""Invented tests of leading genes against diagnosis, as docs/outputs.md describes them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.biology.external.external import EXTERNAL
from scsw.biology.external.gene_sets import LABEL_NULL, MATCHED_NULL
from scsw.biology.external.slopes import GENE_NULL
from scsw.biology.tables import typed

NO_DIAGNOSIS = "4 people have a diagnosis of AD or control; 10 are needed"


def external_table(
    verdicts: pd.DataFrame, groups: dict[str, tuple[str, ...]], *, tested: bool = True
) -> pd.DataFrame:
    """Return the table of some candidates in some cohorts (name → cell classes)."""
    rng = np.random.default_rng(8)
    rows = []
    for model in verdicts[["cohort", "arm", "seed", "candidate_id"]].to_dict("records"):
        for name, classes in groups.items():
            for cell_class in classes:
                for view in ("read_in", "write_out"):
                    rows += _rows(model, name, cell_class, view, rng, tested)
    return typed(rows, EXTERNAL)


def _rows(model, name, cell_class, view, rng, tested):
    about = model | {"external": name, "cell_class": cell_class, "view": view, "n_genes": 60}
    about |= {"tissue": "bulk blood" if cell_class == "bulk" else "single nuclei"}
    about |= {
        "n_ad": 21 if tested else 3,
        "n_control": 19 if tested else 1,
        "covariates": "age_death+sex",
    }
    about |= {"diagnosis": "AD: ADNC intermediate or high; control: ADNC low or not AD"}
    if cell_class == "bulk":
        about["covariates"] = "rin" if tested else ""
    about |= {"n_tested": 55 if tested else 0, "gene": "", "reason": "" if tested else NO_DIAGNOSIS}
    nothing = dict.fromkeys(["effect", "effect_low", "effect_high", "p", "q"], np.nan)
    status = {"status": "tested" if tested else "not tested"}
    effect, p = rng.normal(0, 0.3), rng.random()
    for null in (LABEL_NULL, MATCHED_NULL):
        numbers = {"effect": effect, "p": p, "q": min(1.0, 2 * p)} if tested else {}
        yield about | nothing | {"test": "set", "null": null} | status | numbers
    for i in range(6 if tested else 0):
        effect, p = rng.normal(0, 0.5), rng.random() ** 3
        numbers = {"effect": effect, "effect_low": effect - 0.4, "effect_high": effect + 0.4}
        numbers |= {"p": p, "q": min(1.0, 3 * p), "gene": f"LOC100{i}{cell_class[:3]}"}
        yield about | {"test": "gene", "null": GENE_NULL} | status | numbers
