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
from scsw.scgpt.kernels.available import has_kernels
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.pruning.ablation import LARGE, Readout, carried, half_layers
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


class Replacing:
    """Sets components to their mean, in cells that the intact model has run on.

    On a GPU with scsw's kernels the changes run in bf16, as in `scsw prune`; those that move a
    cell-type logit by 0.1 or more are computed again in float32.

    Parameters
    ----------
    model
        scGPT model.
    means
        Of its components.
    turns
        Rotations: the change that mean-ablation makes to the residual stream is made again, turned
        by each of them. It has the same size at every token, and no meaning.
    """

    def __init__(self, model: nn.Module, means: Means, turns: list[Tensor]) -> None:
        self._layers, self._means, self._turns = encoder_layers(model), means, turns
        self._readout = Readout(model)
        fast = has_kernels(means.mlp.device, torch.bfloat16, model.d_model, self._n_heads)
        self._half_layers = half_layers(model) if fast else None

    @property
    def _n_heads(self) -> int:
        return self._layers[0].self_attn.num_heads

    @torch.no_grad()
    def rises(self, intact: Intact, labels: Tensor) -> np.ndarray:
        """Rise in each cell's NLL when each component in turn is set to its mean.

        Parameters
        ----------
        intact
            The intact pass over the cells.
        labels
            Cell type of each cell, int64; −1 where the model does not know it.

        Returns
        -------
        numpy.ndarray
            Nats, float64, shape (components, 1 + rotations, cells); NaN for a type not known.
        """
        half = None if self._half_layers is None else intact.in_half()
        blocks = range(len(self._layers))
        rises = [self._block_rises(intact, half, labels, number) for number in blocks]
        return torch.cat(rises).cpu().numpy()

    def _block_rises(
        self, intact: Intact, half: Intact | None, labels: Tensor, number: int
    ) -> Tensor:
        of_heads, of_mlp = self._changes(intact, number)
        rises = [
            self._carried(intact, half, labels, number, **{name: part})
            for name, changes in (("attended", of_heads), ("output", of_mlp))
            for part in changes.split(GROUP)
        ]
        heads, mlp = torch.cat(rises).split([len(of_heads), len(of_mlp)])
        return torch.cat([heads.unflatten(0, (self._n_heads, -1)), mlp[None]])

    def _changes(self, intact: Intact, number: int) -> tuple[Tensor, Tensor]:
        """Return the changes of the heads, one after another with its rotations, and of the MLP."""
        layer, block, kind = self._layers[number], intact.blocks[number], at_genes(intact)
        size = block.qkv.shape[-1]
        moved = (self._means.heads[number][kind] - block.heads).unflatten(1, (-1, size))
        weight = layer.self_attn.out_proj.weight.unflatten(1, (-1, size))
        of_heads = torch.einsum("thk,dhk->htd", moved, weight)
        of_mlp = (self._means.mlp[number][kind] - layer.linear2(block.hidden))[None]
        of_heads, of_mlp = (
            torch.stack([x, *[x @ turn for turn in self._turns]], 1).flatten(0, 1)
            for x in (of_heads, of_mlp)
        )
        return of_heads, of_mlp

    def _carried(
        self, intact: Intact, half: Intact | None, labels: Tensor, number: int, **changes: Tensor
    ) -> Tensor:
        """Return the rise in NLL, shape (edits, cells), of some changes of one block."""
        ((name, change),) = changes.items()
        if half is None:
            cells = carried(self._layers, intact, number, **changes)
        else:
            cells = carried(self._half_layers, half, number, **changes)
            logits = self._readout.types(intact.cells, cells)[1]
            large = (logits.abs() >= LARGE).flatten(1).any(1)
            if large.any():
                cells[large] = carried(self._layers, intact, number, **{name: change[large]})
        return self._rise(intact, labels, cells)

    def _rise(self, intact: Intact, labels: Tensor, change: Tensor) -> Tensor:
        """Return the rise in NLL, shape (edits, cells), from the change of the cell embeddings."""
        logits, moved = self._readout.types(intact.cells, change)
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
