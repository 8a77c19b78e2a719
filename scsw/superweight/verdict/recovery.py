"""How well a cheap score of a weight foretells what zeroing it does.

The candidates were chosen by such scores and cannot answer this. The random controls can: they are
an unbiased sample of the tensors that they were drawn from.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from scsw.errors import ScswError
from scsw.files import read_table, require
from scsw.superweight.pruning.control_sets import mean_hidden_sizes
from scsw.superweight.verdict.statistics import donor_effects

SCORES = ("spike", "hidden_spike", "weight", "wanda", "first_order")
KEPT = (10, 100)  # the k of the precision
COLUMNS = (
    "scope score n n_resolved spearman spearman_low spearman_high precision_at_10 precision_at_100 "
    "chance_at_10 chance_at_100"
).split()
PLACE = ["block", "row", "column"]
_RESAMPLES = 1000
_AT_ONCE = 2**22  # numbers of resampled weights that are ranked at a time


def scores_of_sample(
    effects: pd.DataFrame, spikes: str | Path, weights: str | Path
) -> pd.DataFrame:
    """Return each random control with its measured effect and its scores.

    Parameters
    ----------
    effects
        Rows of ``effects.parquet``.
    spikes, weights
        ``spikes.parquet`` and ``weights.parquet`` of the search.

    Returns
    -------
    pandas.DataFrame
        ``block, row, column, effect`` (size of the rise of the NLL, mean over test donors)``,
        floor`` and the columns of `SCORES`.

    Raises
    ------
    ScswError
        If a control is not among the weights.
    """
    random = effects[effects["weight_set"] == "random"]
    sample = random.drop_duplicates("candidate_id").set_index("candidate_id")[PLACE].astype(int)
    sample["effect"] = donor_effects(random).groupby("candidate_id").mean().abs()
    sample["floor"] = 0.0
    if "floor_nll" in random:
        sample["floor"] = donor_effects(random, "floor_nll").groupby("candidate_id").mean()
    known = read_table(weights)[[*PLACE, "weight", "first_order"]]
    sample = sample.merge(known, on=PLACE, how="left", validate="one_to_one")
    if sample["weight"].isna().any():
        raise ScswError(
            f"{weights} lacks weights that were ablated", expected="weights.parquet of the search"
        )
    hidden, ratios = mean_hidden_sizes(spikes), _ratios(spikes)
    rows = list(zip(sample["block"], sample["row"], strict=True))
    units = list(zip(sample["block"], sample["column"], strict=True))
    return sample.assign(
        weight=sample["weight"].abs(),
        wanda=sample["weight"].abs() * [hidden[b][c] for b, c in units],
        spike=[ratios["output"].get(place, np.nan) for place in rows],
        hidden_spike=[ratios["hidden"].get(place, np.nan) for place in units],
    )


def recovery_table(sample: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return one row per score over all weights of the sample, and per score and block.

    Parameters
    ----------
    sample
        Table of `scores_of_sample`.
    seed
        Seed of the bootstrap over weights.

    Returns
    -------
    pandas.DataFrame
        The columns of `COLUMNS`. A correlation is missing where nothing varies, a precision where
        the sample is not at least twice as large as k.
    """
    rows = []
    for scope, own in [("all", sample), *_by_block(sample)]:
        for score in SCORES:
            rows.append({"scope": scope, "score": score} | recovery(own, score, seed=seed))
    return pd.DataFrame(rows, columns=COLUMNS)


def recovery(sample: pd.DataFrame, score: str, *, seed: int) -> dict[str, float]:
    """Return how one score orders a sample, with a 95 % bootstrap interval over weights."""
    known = sample.dropna(subset=[score])
    predicted, effect = known[score].to_numpy(float), known["effect"].to_numpy(float)
    low, high = _interval(predicted, effect, seed)
    found = {
        "n": len(known),
        "n_resolved": int((known["effect"] > known["floor"]).sum()),
        "spearman": _spearman(predicted, effect),
        "spearman_low": low,
        "spearman_high": high,
    }
    for k in KEPT:
        enough = len(known) >= 2 * k
        found[f"precision_at_{k}"] = precision_at(predicted, effect, k) if enough else np.nan
        found[f"chance_at_{k}"] = k / len(known) if enough else np.nan
    return found


def precision_at(predicted: np.ndarray, effect: np.ndarray, k: int) -> float:
    """Return the share of the k weights of largest score that are among the k of largest effect.

    Weights that tie at the k-th score count by the share of them that fits.
    """
    best = np.zeros(effect.size, bool)
    best[np.argsort(-effect, kind="stable")[:k]] = True
    edge = np.sort(predicted)[-k]
    above, tied = predicted > edge, predicted == edge
    return float((best[above].sum() + best[tied].mean() * (k - above.sum())) / k)


def _spearman(predicted: np.ndarray, effect: np.ndarray) -> float:
    if effect.size < 3 or np.ptp(predicted) == 0 or np.ptp(effect) == 0:
        return np.nan
    return float(spearmanr(predicted, effect).statistic)


def _interval(predicted: np.ndarray, effect: np.ndarray, seed: int) -> tuple[float, float]:
    if np.isnan(_spearman(predicted, effect)):
        return np.nan, np.nan
    rng, found = np.random.default_rng(seed), []
    step = max(1, _AT_ONCE // effect.size)
    for start in range(0, _RESAMPLES, step):
        chosen = rng.integers(effect.size, size=(min(step, _RESAMPLES - start), effect.size))
        x, y = (rankdata(values[chosen], axis=1) for values in (predicted, effect))
        x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
        with np.errstate(invalid="ignore"):
            found.append((x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1)))
    low, high = np.nanquantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def _by_block(sample: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(f"block {block}", own) for block, own in sample.groupby("block")]


def _ratios(spikes: str | Path) -> dict[str, dict[tuple[int, int], float]]:
    """Return the spike ratio of every output channel (the larger of two sites) and hidden unit."""
    table = pd.read_parquet(
        require(spikes),
        columns=["block", "site", "channel", "ratio"],
        filters=[("group_by", "==", "all"), ("site", "in", ["mlp_out", "pre_norm2", "mlp_hidden"])],
    )
    hidden = table["site"] == "mlp_hidden"
    parts = {"hidden": table[hidden], "output": table[~hidden]}
    return {
        name: part.groupby(["block", "channel"])["ratio"].max().to_dict()
        for name, part in parts.items()
    }
