"""Every edit of a run of `prune`, from the model's weights and what its search found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from torch import nn

from scsw.errors import ScswError
from scsw.files import CANDIDATE, read_table
from scsw.scgpt.model import encoder_layers
from scsw.superweight.pruning.candidate_edits import edits_of_candidates
from scsw.superweight.pruning.control_edits import edits_of_controls
from scsw.superweight.pruning.control_sets import mean_hidden_sizes
from scsw.superweight.pruning.edits import Edit
from scsw.superweight.pruning.family_edits import family_controls, family_edits


def planned_edits(
    model: nn.Module,
    tables: dict[str, Path],
    spike_ratio: float,
    settings: SimpleNamespace,
    seed: int,
) -> list[Edit]:
    """Return every edit of a model: of the candidates, of the other families and of the controls.

    Parameters
    ----------
    model
        The fine-tuned model.
    tables
        ``candidates``, ``families`` and ``spikes`` of its search.
    spike_ratio
        A token is a spike of a channel from this many medians of the site on.
    settings
        Section ``prune`` of the config.
    seed
        Draws the controls.

    Raises
    ------
    ScswError
        If a table is not of this model, or there are too few weights for the controls.
    """
    weights = [layer.linear2.weight.detach().cpu().numpy() for layer in encoder_layers(model)]
    sizes = mean_hidden_sizes(tables["spikes"])
    edits = edits_of_weights(
        weights, sizes, read_table(tables["candidates"], CANDIDATE), settings, seed
    )
    thresholds = spike_ratio * _site_medians(tables["spikes"])
    edits = [
        replace(edit, threshold=thresholds[edit.block]) if edit.mode == "restored" else edit
        for edit in edits
    ]
    families = family_edits(read_table(tables["families"]))
    return [*edits, *families, *family_controls(model, families, settings.n_family_controls, seed)]


def edits_of_weights(
    weights: list[np.ndarray],
    mean_hidden: list[np.ndarray],
    candidates: pd.DataFrame,
    settings: SimpleNamespace,
    seed: int,
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
    return [
        *edits_of_candidates(candidates, len(weights[0]), settings, seed),
        *edits_of_controls(weights, mean_hidden, candidates, settings, seed),
    ]


def _site_medians(spikes: Path) -> pd.Series:
    """Return the median of |x| before each block's second norm, by block.

    The table holds it as the ratio of a channel's largest value to it.
    """
    table = read_table(spikes)
    own = table[(table["site"] == "pre_norm2") & (table["group_by"] == "all") & (table["max"] > 0)]
    largest = own.loc[own.groupby("block")["max"].idxmax()].set_index("block")
    return largest["max"] / largest["ratio"]
