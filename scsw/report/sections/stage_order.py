"""Order of change: which Alzheimer's axis begins to change first along the disease."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables

EXPRESSION = "expression"
DEPTHS = ("as measured", "thinned")
CROSS_SECTIONAL = (
    "The order is cross-sectional: each donor is seen once, at death, so it is an order of donors "
    "by their score and not a course in time; the score itself was made from pathology."
)


def numbers(t: Tables) -> dict[str, Any]:
    """Return the axes' change points and orders as expressed, and how candidates fare."""
    points, orders = t.change_points, t.stage_order
    seed = t.seeds[0]
    expressed = points[(points["source"] == EXPRESSION) & (points["seed"] == seed)]
    in_order = orders[(orders["source"] == EXPRESSION) & (orders["seed"] == seed)]
    of_candidates = points[(points["source"] != EXPRESSION) & (points["depth"] == DEPTHS[0])]
    tested = of_candidates[of_candidates["status"].isin(["change point", "no change point"])]
    asked = orders[(orders["source"] != EXPRESSION) & (orders["depth"] == DEPTHS[0])]
    asked = asked[asked["status"] != "not testable"]
    return {
        "n_rows": len(points),
        "testable": bool(len(points)) and not points["status"].eq("not testable").all(),
        "points": [
            {
                "depth": str(row.depth),
                "axis": str(row.axis),
                "status": str(row.status),
                "reason": str(row.reason),
                "change_point": float(row.change_point),
                "change_low": float(row.change_low),
                "change_high": float(row.change_high),
                "at_start": bool(row.at_start),
                "slope": float(row.slope),
                "n_donors": int(row.n_donors),
            }
            for row in expressed.itertuples()
        ],
        "orders": [
            {
                "depth": str(row.depth),
                "order": str(row.order),
                "status": str(row.status),
                "probability": float(row.probability),
                "chance": float(row.chance),
            }
            for row in in_order.itertuples()
        ],
        "n_candidate_series": len(tested),
        "n_candidate_found": int((tested["status"] == "change point").sum()),
        "n_candidate_orders": len(asked),
        "n_candidate_sure": int(asked["status"].isin(["supported", "contradicted"]).sum()),
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say where the axes change and whether their order is known."""
    if not n["n_rows"]:
        return ["This run has no table of change points."]
    if not n["testable"]:
        return ["No donor has a pseudo-progression score (CPS): the order is not testable."]
    told = [_axes([row for row in n["points"] if row["depth"] == DEPTHS[0]])]
    told.append(_thinned(n["points"]))
    told.append(_orders([row for row in n["orders"] if row["depth"] == DEPTHS[0]]))
    if n["n_candidate_series"]:
        told.append(
            f"Of {words.count(n['n_candidate_series'])} series of candidates (their contribution "
            f"from the genes of an axis), {words.count(n['n_candidate_found'])} have a change "
            "point."
        )
    if n["n_candidate_orders"]:
        told.append(
            f"Of {words.several(n['n_candidate_orders'], 'order')} of theirs that could be asked "
            f"about, {words.count(n['n_candidate_sure'])} are sure either way."
        )
    return [" ".join(filter(None, told)), CROSS_SECTIONAL]


def _axes(rows: list[dict[str, Any]]) -> str:
    return "As expressed: " + "; ".join(_axis(row) for row in rows) + "."


def _axis(row: dict[str, Any]) -> str:
    if row["status"] != "change point":
        why = f" ({row['reason']})" if row["status"] == "not tested" else ""
        return f"{row['axis']}: {row['status']}{why}"
    way = "rises" if row["slope"] > 0 else "falls"
    bounds = words.span(row["change_low"], row["change_high"])
    start = ", the start of what was seen" if row["at_start"] else ""
    return (
        f"{row['axis']} {way} from CPS {words.amount(row['change_point'])} on{start} "
        f"(95 % interval {bounds}; {words.several(row['n_donors'], 'donor')})"
    )


def _thinned(rows: list[dict[str, Any]]) -> str:
    """Say which axes change, and the same way, on thinned cells too, and which there alone."""
    way = {
        (row["depth"], row["axis"]): row["slope"] > 0
        for row in rows
        if row["status"] == "change point"
    }
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    before, after = ([axis for axis in axes if (depth, axis) in way] for depth in DEPTHS)
    lost = [axis for axis in before if way[DEPTHS[0], axis] != way.get((DEPTHS[1], axis))]
    new = [axis for axis in after if axis not in before]
    told = []
    if lost:
        told.append(f"this does not hold for {words.listed(lost)}")
    elif before:
        told.append(f"the same is found for {words.listed(before)}")
    if new:
        told.append(f"{words.listed(new)} {'changes' if len(new) == 1 else 'change'} there alone")
    return f"On cells thinned to one depth {'; '.join(told)}." if told else ""


def _orders(rows: list[dict[str, Any]]) -> str:
    asked = [row for row in rows if row["status"] != "not testable"]
    if not asked:
        return "No two of these can be put in order: that needs change points of both."
    told = [
        f"{row['order']} in {words.percent(row['probability'])} of donor resamples "
        f"({words.percent(row['chance'])} by chance; {row['status']})"
        for row in asked
    ]
    rest = len(rows) - len(asked)
    more = f"; {words.several(rest, 'further order')} cannot be tested" if rest else ""
    return (
        f"Orders: {'; '.join(told)}{more}. A share of resamples is no p-value, and is not "
        "corrected for the number of orders."
    )
