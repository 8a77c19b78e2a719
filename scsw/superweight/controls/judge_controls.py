"""Step `controls`: tell whether the control arms came out as they must.

This is the only step that reads ``sealed.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from scsw.errors import ScswError
from scsw.files import read_json, read_table, write_table
from scsw.provenance import recorded
from scsw.superweight.candidate_id import candidate_id

EXPECTATIONS = {
    "pretrained": "for comparison only",
    "untrained": "no candidate is causal",
    "shuffled": "no candidate is causal for cell types",
    "implanted_constant": "the sealed scalar is found and judged causal, constant",
    "implanted_informative": "the sealed scalar is found and judged causal, informative",
}
COLUMNS = (
    "cohort arm seed expectation found_rank candidate_id verdict n_causal passed outcome"
).split()


def judge_controls(
    arms: Mapping[str, str | Path],
    out: str | Path,
    *,
    alpha: float = 0.05,
    simulated: bool = False,
) -> None:
    """Write one row per control arm (contract: ``controls.parquet``).

    Parameters
    ----------
    arms
        Folder of one seed by arm, ``results/<run>/<cohort>/<arm>/<seed>``. May be empty.
    out
        Parquet file to write.
    alpha
        Level of the false discovery rate, ``statistics.alpha``.
    simulated
        Whether the run's cohorts are simulated; for the provenance.
    """
    out = Path(out)
    if unknown := [arm for arm in arms if arm not in EXPECTATIONS]:
        raise ScswError(
            f"{', '.join(unknown)} is no control arm", expected="one of " + ", ".join(EXPECTATIONS)
        )
    inputs = {arm: Path(folder) / "prune" / "verdicts.parquet" for arm, folder in arms.items()}
    with recorded(
        "controls", out.parent, inputs=inputs, parameters={"alpha": alpha}, simulated=simulated
    ):
        rows = [judge_arm(arm, Path(folder), alpha) for arm, folder in arms.items()]
        table = pd.DataFrame(rows, columns=COLUMNS)
        table["passed"] = table["passed"].astype("boolean")
        table["found_rank"] = table["found_rank"].astype("float64")
        write_table(table, out)


def judge_arm(arm: str, folder: Path, alpha: float) -> dict:
    """Compare one arm's verdicts with what they must be."""
    verdicts = read_table(folder / "prune" / "verdicts.parquet")
    if verdicts.empty:
        cohort, seed = folder.parent.parent.name, int(folder.name)
    else:
        cohort, seed = verdicts[["cohort", "seed"]].iloc[0]
    row = {
        "cohort": cohort,
        "arm": arm,
        "seed": seed,
        "expectation": EXPECTATIONS[arm],
        "candidate_id": "",
        "verdict": "",
        "n_causal": int(verdicts["causal"].sum()),
    }
    n_masked = int((verdicts["verdict"] == "masked pair").sum())
    if arm.startswith("implanted"):
        return row | _judge_implant(verdicts, read_json(folder / "implant" / "sealed.json"))
    if verdicts.empty:
        return row | {"passed": None, "outcome": "the search found no candidate"}
    if (verdicts["verdict"] == "not assessable").all():
        return row | {"passed": None, "outcome": verdicts["reason"].iloc[0]}
    if arm == "pretrained":
        return row | {"passed": None, "outcome": _counted(row["n_causal"])}
    beyond = f"{(verdicts['q'] <= alpha).sum()} of {len(verdicts)} have q at most {alpha:g}"
    if arm == "shuffled":
        beyond += f"; {_reconstruction(verdicts)}"
    if verdicts["min_effect"].isna().all():
        # By rule none can be causal, so the arm could not have failed.
        outcome = (
            "no candidate is causal, but none could be: the model is not shown to be better than "
            f"the training frequencies; {beyond}"
        )
        return row | {"passed": None, "outcome": outcome}
    clean = row["n_causal"] == 0 and n_masked == 0
    outcome = _counted(row["n_causal"]) + (f", {n_masked} in masked pairs" if n_masked else "")
    return row | {"passed": clean, "outcome": f"{outcome}; {beyond}"}


def _counted(n_causal: int) -> str:
    if n_causal < 2:
        return f"{'one' if n_causal else 'no'} candidate is causal"
    return f"{n_causal} candidates are causal"


def _reconstruction(verdicts: pd.DataFrame) -> str:
    """Say what zeroing does to hidden expression, which shuffled labels leave a model to learn."""
    change = verdicts.set_index("candidate_id")["effect_gep_mse"].dropna()
    if change.empty:
        return "its reconstruction was not measured"
    name = change.abs().idxmax()
    return (
        "shown, not judged: the error of its masked expression changes most, by "
        f"{change[name]:+.2%}, when {name} is zeroed"
    ).replace("%", " %")


def _judge_implant(verdicts: pd.DataFrame, sealed: dict) -> dict:
    place = candidate_id("ffn_down", sealed["block"], sealed["row"], sealed["column"])
    found = verdicts[verdicts["candidate_id"] == place]
    if found.empty:
        return {
            "candidate_id": place,
            "found_rank": -1,
            "passed": False,
            "outcome": "the sealed scalar was not among the candidates",
        }
    own = found.iloc[0]
    passed = own["verdict"] == "causal, " + sealed["kind"].removeprefix("implanted_")
    outcome = f"found at rank {own['rank']}; {own['verdict']}: {own['reason']}"
    if not own["causal"] and own["effect_high"] < own["min_effect"]:
        # Training may leave a scalar idle. Then nothing that counts is there to be called.
        outcome += (
            ". The model learnt to do without it: zeroing it costs at most "
            f"{own['effect_high']:.3g} nats, of the {own['min_effect']:.3g} that would count"
        )
        passed = None
    return {
        "candidate_id": place,
        "found_rank": int(own["rank"]),
        "verdict": own["verdict"],
        "passed": None if own["verdict"] == "not assessable" else passed,
        "outcome": outcome,
    }
