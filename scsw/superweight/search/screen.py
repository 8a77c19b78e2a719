"""The first-order screen of a scGPT model: both losses over the discovery cells, and its table.

One backward pass over the cells serves all weights of all blocks (`first_order_screen`). The slopes
at three scales (`slopes`) are then taken weight by weight, so that they can be taken apart in
several jobs; `with_slopes` puts them together. `screen` does it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.errors import ScswError
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.token_batch import TokenBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.first_order import CellGradients, at, cell_gradients
from scsw.superweight.pruning.edits import GROUP
from scsw.superweight.search.scale_gradients import scale_gradients, simpson, spread_over_types

PLACE = ["block", "row", "column"]
FIRST_ORDER = (
    "block row column weight loss first_order first_order_signed fisher saliency rank"
).split()
COLUMNS = [*FIRST_ORDER[:-1], "g0", "g_half", "g1", "simpson", "rank"]
SLOPES = "block row column cell_type n_sample g0 g_half g1 simpson".split()
TYPE_COLUMNS = "block row column loss cell_type n_cells first_order n_sample simpson".split()


@dataclass
class Screen:
    """What the screen found.

    Attributes
    ----------
    effects
        By loss (``nll``, ``reconstruction``) and block: Σ over cell types of |mean of −w·∂L/∂w|,
        float64, of the shape of the block's ``linear2.weight``.
    table
        The largest weights of each loss (contract: ``first_order.parquet``).
    by_type
        The same weights by cell type: ``block, row, column, loss, cell_type, n_cells`` (of the
        type)``, first_order`` (signed)``, n_sample`` (of the type in the sample)``, simpson``.

    Before `with_slopes` the tables lack what comes from the slopes.
    """

    effects: dict[str, list[np.ndarray]]
    table: pd.DataFrame
    by_type: pd.DataFrame

    def places(self) -> np.ndarray:
        """Return ``block, row, column`` of the weights whose slopes are wanted, by rank."""
        return self.table.loc[self.table["loss"] == "nll", PLACE].to_numpy(np.int64)


def screen(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
    also: Iterable[tuple[int, int, int]] = (),
) -> Screen:
    """Predict for every down-projection weight what zeroing it does, and look closer at the top.

    Parameters
    ----------
    model
        scGPT model in eval mode; it is left bit-identical.
    tokenizer, rows
        The discovery cells; those of a type that the model does not know are left out.
    settings
        ``first_order_top``, ``gradient_cells`` and ``mask_ratio`` of section ``search``.
    compute
        Section ``compute``: ``batch_size`` is used; results depend on it by rounding alone.
    also
        ``block, row, column`` of weights that the table holds whatever their rank.

    Raises
    ------
    ScswError
        If no cell is of a type that the model knows, or a gradient is not finite.
    """
    given = {"settings": settings, "compute": compute, "device": device}
    found = first_order_screen(model, tokenizer, rows, also=also, **given)
    return with_slopes(found, slopes(model, tokenizer, rows, found.places(), **given))


def first_order_screen(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
    also: Iterable[tuple[int, int, int]] = (),
) -> Screen:
    """Take both losses' gradients of every weight, cell by cell; parameters are those of `screen`.

    The tables of the screen have the columns that need no slopes.
    """
    rows, also = _scored(tokenizer, rows), list(also)
    names = _type_names(tokenizer, rows)
    effects, tables, by_type = {}, [], []
    # One loss after the other, since the sums by cell type are large.
    for loss, (forward_loss, mask_ratio) in {
        "nll": (cell_type_nll, 0.0),
        "reconstruction": (reconstruction_error, settings.mask_ratio),
    }.items():
        batches = _batches(tokenizer, rows, compute.batch_size, device, mask_ratio)
        found = _gradients(model, batches, forward_loss)
        effects[loss] = found.effects()
        if not all(np.isfinite(effect).all() for effect in effects[loss]):
            raise ScswError(
                f"the gradient of the {loss} is not finite at every weight",
                expected="a model whose weights and outputs are finite",
            )
        places, ranks = largest(effects[loss], settings.first_order_top, also)
        table, types = _tables(loss, found, places, ranks, effects[loss])
        del found
        tables.append(table)
        by_type.append(types.assign(cell_type=types["cell_type"].map(names)))
    table, types = (pd.concat(parts, ignore_index=True) for parts in (tables, by_type))
    return Screen(effects, table[FIRST_ORDER], types)


def slopes(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    places: np.ndarray,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
) -> pd.DataFrame:
    """Return the slopes of the NLL at 0, ½ and 1 of some weights by cell type, and Simpson's sum.

    No digit depends on which blocks' weights are given together.

    Parameters
    ----------
    places
        ``block, row, column`` of the weights, int64, shape (weights, 3).
    model, tokenizer, rows, settings, compute, device
        As for `screen`.

    Returns
    -------
    pandas.DataFrame
        ``block, row, column, cell_type, n_sample`` (of the type in the sample)``, g0, g_half, g1,
        simpson``.
    """
    rows = _scored(tokenizer, rows)
    labels, keys = tokenizer.labels[rows], tokenizer.cell_keys[rows]
    sample = rows[spread_over_types(labels, keys, settings.gradient_cells)]
    labels, names = tokenizer.labels[sample], _type_names(tokenizer, sample)
    # At scale 1 every edit is the intact model, so one backward pass serves all weights.
    whole = _batches(tokenizer, sample, compute.batch_size, device)
    intact = _gradients(model, whole, cell_type_nll).effects_of_types(places)
    # A group stands side by side: so many cells at a time take the memory of a whole batch.
    few = _batches(tokenizer, sample, max(1, compute.batch_size // GROUP), device)
    at_zero, at_half = scale_gradients(model, few, places, (0.0, 0.5))
    parts = []
    for kind, effect in intact.items():
        own = labels == kind
        # `compress` keeps a weight's cells together in memory, however many weights there are: the
        # last digit of a sum depends on that.
        g0, g_half = (g.compress(own, axis=1).mean(1) for g in (at_zero, at_half))
        table = _keys(places).assign(
            cell_type=names[kind],
            n_sample=own.sum(),
            g0=g0,
            g_half=g_half,
            g1=-effect,
            simpson=simpson(g0, g_half, -effect),
        )
        parts.append(table)
    return pd.concat(parts, ignore_index=True)[SLOPES]


def with_slopes(found: Screen, slopes: pd.DataFrame) -> Screen:
    """Return a first-order screen whose tables hold the slopes.

    Parameters
    ----------
    found
        From `first_order_screen`.
    slopes
        Rows of `slopes` of all its `places`, in any order of blocks.
    """
    means = _over_types(slopes).assign(loss="nll")
    of_types = slopes[[*PLACE, "cell_type", "n_sample", "simpson"]].assign(loss="nll")
    # Of a rare type the sample may hold no cell, and no slope of the reconstruction is taken.
    types = found.by_type.merge(of_types, on=[*PLACE, "loss", "cell_type"], how="left")
    types["n_sample"] = types["n_sample"].fillna(0).astype(np.int64)
    table = found.table.merge(means, on=[*PLACE, "loss"], how="left")
    return Screen(found.effects, table[COLUMNS], types[TYPE_COLUMNS])


def cell_type_nll(model: nn.Module, batch: TokenBatch) -> Tensor:
    """Return the NLL of each cell's type, nats, shape (cells,)."""
    scores = forward_padded(model, batch)["cls_output"].double()
    return F.cross_entropy(scores, batch.labels, reduction="none")


def reconstruction_error(model: nn.Module, batch: TokenBatch) -> Tensor:
    """Return each cell's mean squared error over its hidden expression bins, shape (cells,)."""
    squared = (forward_padded(model, batch)["mlm_output"].double() - batch.target) ** 2
    return torch.where(batch.hidden, squared, 0).sum(1) / batch.hidden.sum(1).clamp(min=1)


def largest(
    effects: list[np.ndarray], top: int, also: Iterable[tuple[int, int, int]] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of largest effect, and others that are asked for, by rank.

    Parameters
    ----------
    effects
        Effect of every weight, by block.
    top
        How many of the largest.
    also
        ``block, row, column`` of further weights.

    Returns
    -------
    numpy.ndarray
        ``block, row, column``, int64, shape (weights, 3).
    numpy.ndarray
        Rank of each among all weights, 1 the largest; a tie goes to the earlier place.
    """
    flat = np.concatenate([effect.ravel() for effect in effects])
    starts = np.cumsum([0, *(effect.size for effect in effects)])
    order = np.argsort(-flat, kind="stable")
    rank = np.empty(flat.size, np.int64)
    rank[order] = np.arange(1, flat.size + 1)
    asked = [starts[b] + np.ravel_multi_index((r, c), effects[b].shape) for b, r, c in also]
    chosen = np.union1d(order[:top], np.array(asked, np.int64))
    chosen = chosen[np.argsort(rank[chosen])]
    blocks = np.searchsorted(starts, chosen, side="right") - 1
    columns = np.array([effect.shape[1] for effect in effects])[blocks]
    within = chosen - starts[blocks]
    return np.stack([blocks, within // columns, within % columns], axis=1), rank[chosen]


def _scored(tokenizer: Tokenizer, rows: np.ndarray) -> np.ndarray:
    """Return the cells whose type the model knows."""
    scored = np.asarray(rows)[tokenizer.labels[rows] >= 0]
    if scored.size == 0:
        raise ScswError("no discovery cell is of a type that the model knows")
    return scored


def _batches(
    tokenizer: Tokenizer,
    rows: np.ndarray,
    size: int,
    device: torch.device,
    mask_ratio: float = 0.0,
) -> Iterator[TokenBatch]:
    for batch in tokenizer.batches(rows, size, mask_ratio=mask_ratio):
        yield batch.to(device)


def _gradients(
    model: nn.Module, batches: Iterable[TokenBatch], forward_loss: Callable
) -> CellGradients:
    return cell_gradients(
        model,
        batches,
        [
            f"transformer_encoder.layers.{block}.linear2"
            for block in range(len(encoder_layers(model)))
        ],
        forward_loss=forward_loss,
        labels=lambda batch: batch.labels,
    )


def _tables(
    loss: str,
    found: CellGradients,
    places: np.ndarray,
    ranks: np.ndarray,
    effects: list[np.ndarray],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of one loss, and the same by cell type (as its number), without slopes."""
    keys = _keys(places)
    weight, fisher = at(found.weights, places), found.fisher(places)
    table = keys.assign(
        weight=weight,
        loss=loss,
        first_order=[effects[b][r, c] for b, r, c in places],
        first_order_signed=found.signed(places),
        fisher=fisher,
        saliency=0.5 * weight**2 * fisher,
        rank=ranks,
    )
    types = [
        keys.assign(loss=loss, cell_type=kind, n_cells=found.n_cells[kind], first_order=effect)
        for kind, effect in found.effects_of_types(places).items()
    ]
    return table, pd.concat(types, ignore_index=True)


def _over_types(slopes: pd.DataFrame) -> pd.DataFrame:
    """Return of each weight the mean slopes over the sample, and Simpson's sum as Σ |of a type|."""
    names = ["g0", "g_half", "g1"]
    parts = slopes[PLACE].assign(
        **slopes[names].mul(slopes["n_sample"], axis=0),
        simpson=slopes["simpson"].abs(),
        n_sample=slopes["n_sample"],
    )
    sums = parts.groupby(PLACE).sum()
    sums = sums.assign(**sums[names].div(sums["n_sample"], axis=0)).drop(columns="n_sample")
    return sums.reset_index()


def _keys(places: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(places, columns=PLACE)


def _type_names(tokenizer: Tokenizer, rows: np.ndarray) -> dict[int, str]:
    """Return the name of each type by its number."""
    kinds = tokenizer.cohort.obs["cell_type"].astype(str).to_numpy()[rows]
    return dict(zip(tokenizer.labels[rows].tolist(), kinds, strict=True))
