"""External validation: the candidates' genes against diagnosis in cohorts the model never saw."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.report import words
from scsw.report.tables import Tables

NAMED = 3
VIEWS = {"read_in": "read-in genes", "write_out": "write-out genes"}
SET = ["seed", "candidate_id", "view", "external", "cell_class"]


def numbers(t: Tables) -> dict[str, Any]:
    """Count tests of genes and of sets, and list the sets that pass both nulls."""
    alpha = t.config["statistics"]["alpha"]
    genes = t.external[t.external["test"] == "gene"]
    sets = both_nulls(t.external)
    tested, passed = sets[sets["status"] == "tested"], sets[sets["q"] < alpha]
    return {
        "alpha": alpha,
        "cohorts": [_cohort(name, rows) for name, rows in t.external.groupby("external")],
        "n_gene_tests": len(genes),
        "n_gene_passed": int((genes["q"] < alpha).sum()),
        "n_genes": int(genes["gene"].nunique()),
        "reach": float(((genes["effect_high"] - genes["effect_low"]) / 2).median()),
        "n_sets": len(tested),
        "n_sets_passed": len(passed),
        "n_untested": len(sets) - len(tested),
        "reasons": [
            str(text)
            for text in sets.loc[sets["status"] != "tested", "reason"].value_counts().index[:NAMED]
        ],
        "passed": [
            {
                **{key: str(getattr(row, key)) for key in SET[1:]},
                **{"seed": int(row.seed), "effect": float(row.effect), "q": float(row.q)},
                **{"n_tested": int(row.n_tested)},
            }
            for row in passed.sort_values(["q", *SET]).head(NAMED).itertuples()
        ],
    }


def both_nulls(external: pd.DataFrame) -> pd.DataFrame:
    """Return one row per set of genes, with the larger of its two q-values."""
    sets = external[external["test"] == "set"]
    rows = sets.drop_duplicates(SET).drop(columns=["q", "p", "null"])
    largest = sets.groupby(SET)["q"].max().reset_index()
    return rows.merge(largest, on=SET)


def _cohort(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    return {
        **{"name": str(name), "tissue": str(rows["tissue"].iloc[0])},
        **{"diagnosis": str(rows["diagnosis"].iloc[0])},
        "covariates": max(rows["covariates"].astype(str), key=len).replace("_", " ").split("+"),
        **{"n_ad": int(rows["n_ad"].max()), "n_control": int(rows["n_control"].max())},
    }


def _adjusted(cohort: dict[str, Any]) -> str:
    """Say what was adjusted for at most: small cell classes have fewer covariates."""
    names = [name for name in cohort["covariates"] if name]
    missing = [name for name in ("age", "sex") if not any(name in other for other in names)]
    said = f"differences are adjusted for {words.listed(names or ['nothing'])} at most"
    return f"{said}, not for {words.listed(missing)}" if names and missing else said


def reading(n: dict[str, Any]) -> list[str]:
    """Say what was tested where, what stands out, and what blood can show."""
    if not n["cohorts"]:
        return ["The run has no external cohort, so no gene was held against diagnosis elsewhere."]
    said = [
        f"In {c['name']} ({c['tissue']}; {c['diagnosis']}), at most {words.count(c['n_ad'])} cases "
        f"and {words.count(c['n_control'])} controls could be compared."
        for c in n["cohorts"]
    ]
    if n["n_gene_tests"]:
        said.append(
            f"{words.several(n['n_genes'], 'leading gene')} of the best candidates gave "
            f"{words.several(n['n_gene_tests'], 'test')} against diagnosis; "
            f"{words.count(n['n_gene_passed'])} pass q < {words.amount(n['alpha'])}. Their 95 % "
            f"intervals reach {words.amount(n['reach'])} standard deviations to either side "
            "(median), so that smaller differences may be there and were not seen."
        )
    if n["n_sets"]:
        said.append(
            f"Of {words.several(n['n_sets'], 'set')} of leading genes, "
            f"{words.count(n['n_sets_passed'])} differ by diagnosis more than genes of like "
            "detection and expression, against both nulls (permuted diagnosis, random matched "
            "genes)."
        )
    said += [
        f"{VIEWS[row['view']].capitalize()} of {row['candidate_id']} (seed {row['seed']}) in "
        f"{row['external']}, {row['cell_class']}: mean |t| above that of matched genes by "
        f"{words.amount(row['effect'])} (q {words.amount(row['q'])}; "
        f"{words.several(row['n_tested'], 'gene')})."
        for row in n["passed"]
    ]
    if n["n_untested"]:
        said.append(
            f"{words.several(n['n_untested'], 'set')} could not be tested; the commonest reasons: "
            f"{'; '.join(n['reasons'])}."
        )
    if n["n_gene_tests"]:
        said += [f"In {c['name']}, {_adjusted(c)}." for c in n["cohorts"]]
    said.append(
        "A gene that goes with diagnosis says nothing about whether the parameter that it was "
        "mapped from matters."
    )
    if any(c["tissue"] == "bulk blood" for c in n["cohorts"]):
        said.append(
            "Blood is not brain: a difference there, or none, neither confirms nor refutes one in "
            "brain cells."
        )
    return [" ".join(said)]
