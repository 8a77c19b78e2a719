"""Pathways: gene sets of the best candidates' genes, against random genes and controls."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.biology.enrich.calibration import is_enriched
from scsw.report import words
from scsw.report.tables import Tables

METHODS = {"ora": "over-representation", "prerank": "preranked GSEA"}
NAMED = 3
ENOUGH = 1000  # controls


def numbers(t: Tables) -> dict[str, Any]:
    """Return what passes against either null, in the primary family and over all libraries."""
    alpha = t.config["statistics"]["alpha"]
    methods = {}
    for method in METHODS:
        rows = t.pathways[t.pathways["method"] == method]
        if len(rows):
            methods[method] = _method(rows, alpha)
    return {
        "alpha": alpha,
        "enough_controls": ENOUGH,
        "methods": methods,
        "overlaps": _overlaps(t.set_overlaps, t.pathways[is_enriched(t.pathways, alpha)]),
        "primary_tested": _tested(t),
    }


def _method(rows: pd.DataFrame, alpha: float) -> dict[str, Any]:
    naive, compared = rows["q"] <= alpha, rows["n_controls"] > 0
    enriched = is_enriched(rows, alpha)
    order = rows.assign(enriched=enriched).sort_values(
        ["enriched", "q", "p", "library", "gene_set"],
        ascending=[False, True, True, True, True],
        kind="stable",
    )
    best = order.drop_duplicates(["library", "gene_set"]).head(NAMED)
    return {
        "n_tests": len(rows),
        "n_sets": len(rows[["library", "gene_set"]].drop_duplicates()),
        "n_candidates": len(rows[["seed", "candidate_id"]].drop_duplicates()),
        "n_passed": int(naive.sum()),
        "n_passed_compared": int((naive & compared).sum()),
        "n_enriched": int((enriched & compared).sum()),
        "any_controls": bool(compared.any()),
        "all_controls": bool(compared.all()),
        "fewest_controls": int(rows.loc[compared, "n_controls"].min()) if compared.any() else 0,
        "most_controls": int(rows["n_controls"].max()),
        "primary": _primary(rows[rows["primary"].astype(bool) & compared], alpha),
        "best": [_told(row) for row in best.itertuples()],
    }


def _primary(rows: pd.DataFrame, alpha: float) -> dict[str, Any] | None:
    """Return what the primary family shows; None where it was not compared with controls."""
    if rows.empty:
        return None
    families = rows.groupby(["seed", "candidate_id", "view"])
    # A lone set at the floor has q = floor × sets of its family.
    within_reach = families["calibrated_floor"].first() * families.size() <= alpha
    passing = rows[is_enriched(rows, alpha)].sort_values(["calibrated_q", "gene_set"])
    return {
        "n_sets": int(families.size().max()),
        "n_families": len(within_reach),
        "n_out_of_reach": int((~within_reach).sum()),
        "n_naive": int((rows["q"] <= alpha).sum()),
        "n_calibrated": len(passing),
        "smallest_p": float(rows["calibrated_p"].min()),
        "floor_low": float(rows["calibrated_floor"].min()),
        "floor_high": float(rows["calibrated_floor"].max()),
        "passing": [_told(row) for row in passing.head(NAMED).itertuples()],
    }


def _tested(t: Tables) -> dict[str, int] | None:
    """Return how many primary sets hold a scored gene, and how many were of a testable size."""
    scored = set(t.set_overlaps["set_a"]) | set(t.set_overlaps["set_b"])
    tested = t.pathways.loc[t.pathways["primary"].astype(bool), "gene_set"].nunique()
    sizes = {f"{side}_size": int(t.config["enrich"][f"{side}_size"]) for side in ("min", "max")}
    return {"n_scored": len(scored), "n_tested": int(tested), **sizes} if scored else None


def _told(row) -> dict[str, Any]:
    return {
        "gene_set": str(row.gene_set),
        "view": str(row.view).replace("_", "-"),
        "candidate_id": str(row.candidate_id),
        "seed": int(row.seed),
        "q": float(row.q),
        "calibrated_p": float(row.calibrated_p),
        "calibrated_q": float(row.calibrated_q if row.primary else row.empirical_fdr),
        "primary": bool(row.primary),
    }


def _overlaps(table: pd.DataFrame, enriched: pd.DataFrame) -> dict[str, Any] | None:
    """Return how far the primary sets overlap: the most alike pair, enriched ones first."""
    if table.empty:
        return None
    table = table.drop_duplicates(["set_a", "set_b"])  # of the first model
    names = set(enriched["gene_set"])
    both = table[table["set_a"].isin(names) & table["set_b"].isin(names)]
    shared = both[both["n_shared"] > 0]
    first = (shared if len(shared) else table).sort_values("jaccard", ascending=False).iloc[0]
    return {
        "n_pairs": len(table),
        "n_sharing": int((table["n_shared"] > 0).sum()),
        "among_enriched": bool(len(shared)),
        **{name: str(first[name]) for name in ("set_a", "set_b")},
        **{name: int(first[name]) for name in ("n_a", "n_b", "n_shared")},
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say which gene sets are nearest, and whether they stand out from the controls."""
    if not n["methods"]:
        return ["No gene set was tested."]
    sentences = []
    for method, found in n["methods"].items():
        sentences.append(_naive(METHODS[method], found, n["alpha"]))
        sentences.append(_calibrated(found, n))
    return [*sentences, *_sizes(n["primary_tested"]), *_shared(n["overlaps"])]


def _naive(method: str, found: dict[str, Any], alpha: float) -> str:
    tested = (
        f"{method.capitalize().replace('gsea', 'GSEA')} tested "
        f"{words.several(found['n_sets'], 'gene set')} for "
        f"{words.several(found['n_candidates'], 'candidate')} "
        f"({words.several(found['n_tests'], 'test')}); against random genes "
        f"{words.count(found['n_passed'])} pass q < {words.amount(alpha)}."
    )
    nearest = [f"{_place(row)}, q {words.amount(row['q'])})" for row in found["best"]]
    return f"{tested} First: {words.listed(nearest)}."


def _calibrated(found: dict[str, Any], n: dict[str, Any]) -> str:
    if not found["any_controls"]:
        return (
            "No candidate was compared with control units, so a set may pass because any unit of "
            "the model would have it."
        )
    among = words.span(found["fewest_controls"], found["most_controls"], write=words.count)
    passed = found["n_passed_compared"]
    said = (
        f"Of the {words.count(passed)} that pass, {words.count(found['n_enriched'])} also "
        f"{'stands' if found['n_enriched'] == 1 else 'stand'} out from the {among} matched "
        "controls of the candidate."
        if passed
        else f"None passes, whatever its {among} matched controls say."
    )
    if not found["all_controls"]:
        said += " Some candidates have no controls; their sets are against random genes only."
    if found["most_controls"] < n["enough_controls"]:
        said += (
            f" These are fewer than {words.count(n['enough_controls'])}, so an empirical p is "
            "coarse: none can be smaller than the number of controls allows."
        )
    return f"{said} {_axes(found['primary'], n['alpha'])}".strip()


def _axes(primary: dict[str, Any] | None, alpha: float) -> str:
    if primary is None:
        return ""
    low, high = primary["floor_low"], primary["floor_high"]
    said = (
        f"The primary sets ({words.count(primary['n_sets'])} for each of "
        f"{words.several(primary['n_families'], 'pair')} of candidate and view, each pair a family "
        "of its own): "
        f"{words.count(primary['n_naive'])} pass against random genes and "
        f"{words.count(primary['n_calibrated'])} against the controls too"
    )
    if primary["passing"]:
        told = [
            f"{_place(row)}, q {words.amount(row['calibrated_q'])})" for row in primary["passing"]
        ]
        said += f": {words.listed(told)}"
    said += (
        f"; the smallest empirical p is {words.amount(primary['smallest_p'])}, the smallest "
        f"possible {words.span(low, high)}."
    )
    if primary["n_out_of_reach"]:
        said += (
            f" In {words.several(primary['n_out_of_reach'], 'family', 'families')} "
            f"no single set could have reached q < {words.amount(alpha)} with so few controls."
        )
    return said


def _place(row: dict[str, Any]) -> str:
    return f"{row['gene_set']} ({row['view']} of {row['candidate_id']}, seed {row['seed']}"


def _sizes(tested: dict[str, int] | None) -> list[str]:
    if tested is None or tested["n_tested"] >= tested["n_scored"]:
        return []
    return [
        f"Of {words.several(tested['n_scored'], 'primary set')} with a scored gene "
        f"{words.count(tested['n_tested'])} had {words.count(tested['min_size'])} to "
        f"{words.count(tested['max_size'])} of them and could be tested; of the others nothing is "
        "known."
    ]


def _shared(overlaps: dict[str, Any] | None) -> list[str]:
    if overlaps is None:
        return []
    most = "enriched ones that overlap most" if overlaps["among_enriched"] else "most alike"
    sizes = f"{words.count(overlaps['n_a'])} and {words.count(overlaps['n_b'])}"
    pairs = words.several(overlaps["n_pairs"], "pair")
    return [
        f"Of {pairs} of primary sets {words.count(overlaps['n_sharing'])} share a scored gene; the "
        f"{most} are {overlaps['set_a']} and {overlaps['set_b']}, with "
        f"{words.several(overlaps['n_shared'], 'gene')} of {sizes} in common. Sets that overlap "
        "may be one finding."
    ]
