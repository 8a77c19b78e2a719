"""Whether two models spike at the same places, or else read the same genes.

Coordinates mean the same only in models that began with the same weights. There, what both had
from the start says nothing, so only what fine-tuning added is compared. In other models the gene
profiles of the candidates' hidden units are compared, beside units that fire like them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scsw.biology.biomarkers.view_agreement import equal_parts
from scsw.biology.replicate.matching import unit_ranks
from scsw.scgpt.checkpoint.state_dict import read_state_dict
from scsw.superweight.stability.profile_agreement import profile_agreement

PLACE = ["block", "site", "channel"]
GROUPS = 20  # of positions, or of channels, of like ratio at the start
NULL = (
    "permutation of the channels of cohort b, each in all blocks and sites together, among "
    "channels of like spike ratio at the start, beyond what positions of like ratio bring about, "
    "one-sided"
)


def start_digest(init_folder: str | Path) -> str:
    """Return the sha256 of the encoder blocks' weights that fine-tuning started from.

    Embeddings and classifiers are left out: they depend on the cohort's genes and cell types.
    """
    state = read_state_dict(Path(init_folder) / "best_model.pt")
    digest = hashlib.sha256()
    for key in sorted(state):
        if key.startswith("transformer_encoder."):
            digest.update(key.encode() + state[key].contiguous().numpy().tobytes())
    return digest.hexdigest()


def acquired_agreement(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    spike_ratio: float,
    permutations: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Compare what fine-tuning added to the spike ratios of two models of one start.

    Positions that reach `spike_ratio` at the start, on the cells of either cohort, are left out.
    A position near it at the start is easily lifted over it in both models, so from the values of
    `a` their mean over positions of like ratio at the start is taken. And a channel that grows
    does so in many blocks at once, since the residual stream carries it on: its positions are one
    event, not many. So under the null the channels of `b` are permuted, each with all of its
    positions, among channels of like mean ratio at the start.

    Parameters
    ----------
    a, b
        ``block, site, channel, ratio, start_ratio`` over all cells.
    spike_ratio
        A position of at least this ratio spikes.
    permutations, rng
        Number of permutations and their source.

    Yields
    ------
    dict
        ``measure, n, n_a, n_b, statistic, expected, p``. ``acquired_spikes``: share of the
        model's spikes that has fewer, which the other has too; no p where one has none.
        ``growth``: Spearman of log(ratio / start ratio). ``expected`` is what positions of like
        ratio at the start bring about.
    """
    both = a.merge(b, on=PLACE, suffixes=("_a", "_b")).dropna()
    start = (_log(both["start_ratio_a"]) + _log(both["start_ratio_b"])) / 2
    kept = both[["start_ratio_a", "start_ratio_b"]].lt(spike_ratio).all(axis=1)
    both, start = both[kept], start[kept.to_numpy()]
    spikes = [both[f"ratio_{side}"].ge(spike_ratio).to_numpy(float) for side in "ab"]
    growth = [_log(both[f"ratio_{side}"]) - _log(both[f"start_ratio_{side}"]) for side in "ab"]
    growth = [unit_ranks(own) if len(own) else own for own in growth]
    n_a, n_b = (int(own.sum()) for own in spikes)
    first = np.array([spikes[0] / max(min(n_a, n_b), 1), growth[0]])
    second = np.array([spikes[1], growth[1]])
    beyond = first - _mean_of_like(first, start)
    null = _permuted_channels(beyond, second, both, start, permutations, rng)
    testable = {"acquired_spikes": min(n_a, n_b) > 0, "growth": len(both) > 2}
    for place, measure in enumerate(testable):
        row = {"measure": measure, "n": len(both), "n_a": n_a, "n_b": n_b, "null": ""}
        if not testable[measure]:
            yield row | {"statistic": np.nan, "expected": np.nan, "p": np.nan}
            continue
        # Rounding keeps the last digits, which depend on the order of sums, out of the result.
        found = np.round(first[place] @ second[place], 10)
        excess = np.round(beyond[place] @ second[place], 10)
        p = (1 + np.count_nonzero(np.round(null[:, place], 10) >= excess)) / (1 + permutations)
        yield row | {"statistic": found, "expected": found - excess, "p": p, "null": NULL}


def _groups(start: np.ndarray) -> np.ndarray:
    return equal_parts(start, min(GROUPS, max(1, len(start) // 10)))


def _mean_of_like(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return each value's mean over the positions of like start, of the shape of `values`.

    Parameters
    ----------
    values
        Shape (measures, positions).
    start
        Log ratio at the start, shape (positions,).
    """
    groups = _groups(start)
    member = np.eye(groups.max(initial=0) + 1)[groups]
    return (values @ (member / np.maximum(member.sum(0), 1))) @ member.T


def _permuted_channels(
    first: np.ndarray,
    second: np.ndarray,
    positions: pd.DataFrame,
    start: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the products of two models' values with the second's channels permuted.

    Parameters
    ----------
    first, second
        Shape (measures, positions); a channel without a position counts as 0 there.
    positions
        ``block, site, channel`` of each position.
    start
        Log ratio at the start, shape (positions,).

    Returns
    -------
    numpy.ndarray
        Shape (permutations, measures).
    """
    channel = np.unique(positions["channel"], return_inverse=True)[1]
    place = positions.groupby(["block", "site"]).ngroup().to_numpy(int)
    n_channels, n_places = (int(code.max(initial=-1)) + 1 for code in (channel, place))
    grids = np.zeros((2, len(first), n_channels, n_places))
    grids[:, :, channel, place] = first, second
    groups = _groups(np.bincount(channel, start, n_channels) / np.bincount(channel))
    together = grids[0][:, np.argsort(groups, kind="stable")]
    null = np.empty((permutations, len(first)))
    for index in range(permutations):
        shuffled = np.lexsort((rng.random(n_channels), groups))
        null[index] = np.einsum("mcp,mcp->m", together, grids[1][:, shuffled])
    return null


def _log(values: pd.Series) -> np.ndarray:
    return np.log(values.to_numpy(float).clip(min=1e-12))


def profile_rows(
    a: pd.DataFrame, b: pd.DataFrame, *, seed: int, draws: int
) -> Iterator[dict[str, Any]]:
    """Compare the gene profiles of the candidates' hidden units of two models.

    `profile_agreement` between two cohorts, on the genes of both: a gene that one cohort's file
    lacks is no property of the model.

    Parameters
    ----------
    a, b
        ``search/profiles.parquet`` of the two models.
    seed, draws
        Seed and number of the draws of the null.

    Yields
    ------
    dict
        As `acquired_agreement`, measure ``profile``: the mean |r| of the matched units.
    """
    genes = set(a["gene"]) & set(b["gene"])
    tables = {place: table[table["gene"].isin(genes)] for place, table in enumerate((a, b))}
    counts = [
        len(table.loc[table["unit_set"].eq("candidate"), ["block", "column"]].drop_duplicates())
        for table in tables.values()
    ]
    row = {"measure": "profile", "n": min(counts), "n_a": counts[0], "n_b": counts[1]}
    if not all(counts):
        yield row | {"statistic": np.nan, "expected": np.nan, "p": np.nan, "null": ""}
        return
    found = profile_agreement(tables, cohort="", one_start=False, seed=seed, draws=draws).iloc[0]
    yield row | {
        "statistic": found["mean_correlation"],
        "expected": found["control_mean"],
        "p": found["p"],
        "null": found["null"],
    }
