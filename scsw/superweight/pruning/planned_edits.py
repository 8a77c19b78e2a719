"""Every edit of a run of `prune`, from the model's weights and the frozen family alone."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.errors import ScswError
from scsw.superweight.pruning.candidate_edits import edits_of_candidates
from scsw.superweight.pruning.control_edits import edits_of_controls
from scsw.superweight.pruning.edits import Edit


def planned_edits(
    weights: list[np.ndarray],
    mean_hidden: list[np.ndarray],
    candidates: pd.DataFrame,
    settings: SimpleNamespace,
    seed: int,
    excluded: Iterable[tuple[int, int, int]] = (),
) -> list[Edit]:
    """Return the edits of the candidates and of all their controls, each once.

    Parameters
    ----------
    weights
        ``linear2.weight`` of each block, shape (rows, columns).
    mean_hidden
        Of `scsw.superweight.pruning.control_sets.mean_hidden_sizes`.
    candidates
        The frozen family (``candidates.parquet``).
    settings
        Section ``prune`` of the config.
    seed
        Draws the random controls and the channels of the noise edits.
    excluded
        ``(block, row, column)`` of weights that are neither candidates nor may be controls, such
        as implants that are judged another time.

    Raises
    ------
    ScswError
        If hidden units and weights are not of one model, or there are too few weights for the
        controls.
    """
    found = [(len(h), w.shape[1]) for h, w in zip(mean_hidden, weights, strict=False)]
    if len(mean_hidden) != len(weights) or any(a != b for a, b in found):
        raise ScswError(
            f"the search saw {[len(h) for h in mean_hidden]} hidden units by block, the model has "
            f"{[w.shape[1] for w in weights]}",
            expected="spikes.parquet of the same model",
        )
    excluded = list(excluded)
    return [
        *edits_of_candidates(candidates, len(weights[0]), settings, seed),
        *edits_of_controls(weights, mean_hidden, candidates, settings, seed, excluded),
    ]
