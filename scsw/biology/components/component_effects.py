"""Mean-ablation of attention heads and MLPs, beside perturbations of the same size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import ortho_group
from torch import Tensor, nn

from scsw.biology.tables import benjamini_hochberg
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.pruning.ablation import Readout, carried
from scsw.superweight.pruning.edits import GROUP
from scsw.superweight.pruning.intact import Intact, intact_parts
from scsw.superweight.verdict.statistics import sign_flip_ps, studentised_interval

NULL = "donors' rises symmetric about zero (sign flips, one-sided)"
EXCESS_NULL = (
    "donors' rise less that of a rotated change symmetric about zero (sign flips, one-sided)"
)
_TESTED = ("low", "high", "p")


@dataclass(frozen=True)
class Means:
    """Mean output of every block's heads and MLP: at `<cls>` (0) and at gene tokens (1).

    Attributes
    ----------
    heads, mlp
        Input of out_proj and output of linear2, float32, shape (blocks, 2, d_model).
    """

    heads: Tensor
    mlp: Tensor


def at_genes(intact: Intact) -> Tensor:
    """Return 0 at `<cls>` and 1 at gene tokens, int64, shape (tokens,)."""
    return torch.ones_like(intact.cell_of).index_fill_(0, intact.first, 0)


@torch.no_grad()
def component_means(
    model: nn.Module, tokenizer: Tokenizer, compute: SimpleNamespace, device: torch.device
) -> Means:
    """Return the means over the tokens of all cells of `tokenizer` (the discovery cells)."""
    layers = encoder_layers(model)
    heads = torch.zeros(len(layers), 2, model.d_model, dtype=torch.float64, device=device)
    mlp, n = torch.zeros_like(heads), torch.zeros(2, dtype=torch.float64, device=device)
    for _, intact in intact_parts(model, tokenizer, np.arange(len(tokenizer)), compute, device):
        kind = F.one_hot(at_genes(intact), 2).double().T  # (2, tokens)
        n += kind.sum(1)
        for number, (layer, block) in enumerate(zip(layers, intact.blocks, strict=True)):
            heads[number] += kind @ block.heads.double()
            mlp[number] += kind @ layer.linear2(block.hidden).double()
    n = n.clamp(min=1)[:, None]
    return Means((heads / n).float(), (mlp / n).float())


def rotations(d_model: int, n: int, seed: int, device: torch.device) -> list[Tensor]:
    """Return `n` random rotations (Haar), float32, shape (d_model, d_model) each."""
    draws = [
        ortho_group.rvs(d_model, random_state=np.random.default_rng([seed, i])) for i in range(n)
    ]
    return [torch.from_numpy(draw).float().to(device) for draw in draws]


@torch.no_grad()
def block_rises(
    model: nn.Module,
    readout: Readout,
    intact: Intact,
    labels: Tensor,
    number: int,
    means: Means,
    turns: list[Tensor],
) -> np.ndarray:
    """Rise in each cell's NLL when a component of one block is set to its mean.

    Parameters
    ----------
    labels
        Cell type of each cell, int64; −1 where the model does not know it.
    number
        The block, from 0.
    turns
        Rotations: the change that mean-ablation makes to the residual stream is made again, turned
        by each of them. It has the same size at every token, and no meaning.

    Returns
    -------
    numpy.ndarray
        Nats, float64, shape (heads + 1, 1 + rotations, cells); NaN for a type not known.
    """
    layers = encoder_layers(model)
    layer, block, kind = layers[number], intact.blocks[number], at_genes(intact)
    size = block.qkv.shape[-1]
    moved = (means.heads[number][kind] - block.heads).unflatten(1, (-1, size))
    weight = layer.self_attn.out_proj.weight.unflatten(1, (-1, size))
    of_heads = torch.einsum("thk,dhk->htd", moved, weight)
    of_mlp = (means.mlp[number][kind] - layer.linear2(block.hidden))[None]
    rises = []
    for turn in [None, *turns]:
        heads, mlp = (x if turn is None else x @ turn for x in (of_heads, of_mlp))
        cells = [carried(layers, intact, number, attended=part) for part in heads.split(GROUP)]
        cells.append(carried(layers, intact, number, output=mlp))
        rises.append(_rise(readout, intact, labels, torch.cat(cells)))
    return torch.stack(rises, 1).cpu().numpy()


def _rise(readout: Readout, intact: Intact, labels: Tensor, change: Tensor) -> Tensor:
    """Return the rise in NLL, shape (edits, cells), from the change of the cell embeddings."""
    logits, moved = readout.types(intact.cells, change)
    known = labels.clamp(min=0)
    before = F.cross_entropy(logits, known, reduction="none")
    after = F.cross_entropy(
        (logits + moved).flatten(0, 1), known.repeat(len(change)), reduction="none"
    ).view(len(change), -1)
    return torch.where(labels >= 0, after - before, math.nan)


def effects_table(
    names: list[tuple[int, str]],
    rises: np.ndarray,
    donors: np.ndarray,
    statistics: SimpleNamespace,
    *,
    by_donor: bool,
) -> pd.DataFrame:
    """Summarise the rises over donors: one row per component.

    Parameters
    ----------
    names
        ``(block, component)`` of each component.
    rises
        Shape (components, 1 + rotations, cells), nats.
    donors
        Donor of each cell.
    by_donor
        Whether there are donors enough for intervals and tests.

    Returns
    -------
    pandas.DataFrame
        ``block, component, n_donors, effect_nll, effect_low, effect_high, p, q, null, rank,
        rank_in_kind, control_nll, excess_nll, excess_low, excess_high, excess_p, excess_q,
        excess_null``. Both q are Benjamini–Hochberg over the components.
    """
    of_donor = _donor_means(rises, donors)  # (components, 1 + rotations, donors)
    effect, control = of_donor[:, 0], of_donor[:, 1:].mean(1)
    table = pd.DataFrame(names, columns=["block", "component"]).assign(n_donors=effect.shape[1])
    table["effect_nll"] = effect.mean(1)
    table[["effect_low", "effect_high", "p"]] = _tests(effect, statistics, by_donor)
    table["q"] = benjamini_hochberg(table["p"])
    table["null"] = NULL if by_donor else ""
    table["rank"] = table["effect_nll"].rank(ascending=False, method="min").astype(int)
    kind = table["component"].eq("mlp")
    in_kind = table.groupby(kind)["effect_nll"].rank(ascending=False, method="min")
    table["rank_in_kind"] = in_kind.astype(int)
    table["control_nll"] = control.mean(1)
    table["excess_nll"] = (effect - control).mean(1)
    table[["excess_low", "excess_high", "excess_p"]] = _tests(
        effect - control, statistics, by_donor
    )
    table["excess_q"] = benjamini_hochberg(table["excess_p"])
    table["excess_null"] = EXCESS_NULL if by_donor else ""
    return table


def _donor_means(rises: np.ndarray, donors: np.ndarray) -> np.ndarray:
    """Mean over the known cells of each donor; donors without any are left out."""
    known = np.isfinite(rises[0, 0])
    cells = pd.DataFrame(rises[..., known].reshape(-1, known.sum()).T)
    return cells.groupby(donors[known]).mean().to_numpy().T.reshape(*rises.shape[:2], -1)


def _tests(values: np.ndarray, statistics: SimpleNamespace, by_donor: bool) -> np.ndarray:
    """Return low, high and p of each row of donors, shape (components, 3)."""
    found = np.full((len(values), len(_TESTED)), np.nan)
    if by_donor and values.shape[1] > 1:
        for place, row in enumerate(values):
            found[place, :2] = studentised_interval(
                row, n_resamples=statistics.bootstrap, seed=statistics.seed
            )
        found[:, 2] = sign_flip_ps(values, seed=statistics.seed)
    return found
