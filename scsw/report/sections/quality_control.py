"""Quality control: how many cells were lost, to what, and how good the kept ones are."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.figures.quality_control import MEASURES
from scsw.report.filters import cell_filters
from scsw.report.tables import Tables

LARGEST = 3  # losses that are told of in words


def numbers(t: Tables) -> dict[str, Any]:
    """Count the losses; describe the cells of the finished cohort."""
    filters = cell_filters(t.qc, t.config["preprocess"])
    n_before = int(filters["before"].iloc[0]) if len(filters) else len(t.obs)
    n_after = int(filters["after"].iloc[-1]) if len(filters) else len(t.obs)
    losing = filters[filters["removed"] > 0]
    largest = losing.sort_values("removed", ascending=False, kind="stable").head(LARGEST)
    given = set(t.qc_histograms["measure"])
    medians = t.obs[["n_genes", "total_counts", "pct_mito"]].astype(float).median()
    return {
        "n_before": n_before,
        "n_after": n_after,
        "share_kept": n_after / n_before if n_before else None,
        "n_filters": len(filters),
        "n_losing": len(losing),
        "largest": largest[["label", "removed"]].to_dict("records"),
        "medians": medians.to_dict(),
        "absent": [m.absent for name, m in MEASURES.items() if name not in given],
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say what was lost and what the kept cells are like."""
    kept = (
        f"Quality control kept {words.count(n['n_after'])} of {words.count(n['n_before'])} cells "
        f"({words.percent(n['share_kept'])})."
    )
    if n["largest"]:
        told = [f"{row['label']} ({words.count(row['removed'])})" for row in n["largest"]]
        few = n["n_losing"] <= len(told)
        kept += f" {'Removed' if few else 'The largest losses'}: {words.listed(told)}."
    m = n["medians"]
    middle = [
        f"{words.amount(m['n_genes'])} genes",
        f"{words.amount(m['total_counts'])} counts",
    ]
    if m["pct_mito"] is not None:
        middle.append(f"{words.amount(m['pct_mito'])} % mitochondrial counts")
    kept += f" The median kept cell has {words.listed(middle)}."
    if not n["absent"]:
        return [kept]
    return [
        kept,
        f"The source gives no {words.listed(n['absent']).replace(' and ', ' and no ')}, so nothing "
        "was filtered by them.",
    ]
