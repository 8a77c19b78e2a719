"""How active heads and MLPs are in the cells of a donor, for the tests against disease stage."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scsw.biology.components.component_scores import (
    cls_attention,
    contributions,
    output_factors,
    over_cell_mean,
    to_numpy,
)
from scsw.biology.stages.donor_scores import places
from scsw.scgpt.encoder_layer import EncoderLayer
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.pruning.difference import IntactNorm
from scsw.superweight.pruning.intact import Intact, IntactBlock, intact_parts

MEASURES = ("contribution", "leading_genes", "effect_nll")
_KEYS = ["donor_id", "cell_class", "region"]


@torch.no_grad()
def cell_activity(
    model: nn.Module,
    tokenizer: Tokenizer,
    leading: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """Measure every component in every cell.

    Parameters
    ----------
    leading
        Genes that lead each component, bool, shape (components, genes).

    Returns
    -------
    tuple of numpy.ndarray
        Shape (components, cells) each. *Contribution*: norm of the component's output at `<cls>`
        over that of the sum which the block's norm takes there. *Leading genes*: mean over the
        tokens of leading genes of what they hand on through the component, relative to the mean
        over the cell's gene tokens; NaN in a cell without such a token.
    """
    share = np.full((len(leading), len(tokenizer)), np.nan)
    of_leading = share.copy()
    of_token = np.zeros((len(leading), int(tokenizer.token_ids.max()) + 2), np.float32)
    of_token[:, tokenizer.token_ids] = leading
    leads = torch.from_numpy(of_token).to(device)
    rows = np.arange(len(tokenizer))
    for cells, intact in intact_parts(model, tokenizer, rows, compute, device):
        own = cells.cells.numpy()
        at_cls, handed_on = [], []
        for layer, block in zip(encoder_layers(model), intact.blocks, strict=True):
            at_cls.append(_share_at_cls(layer, block, intact.first))
            values = contributions(layer, block, cls_attention(block, intact))
            handed_on.append(over_cell_mean(values, intact))
        share[:, own] = to_numpy(torch.cat(at_cls))
        genes = cells.genes.to(device).clamp(max=leads.shape[1] - 1)
        is_leading = leads[:, genes].index_fill_(1, intact.first, 0)
        of_leading[:, own] = _mean_where(torch.cat(handed_on), is_leading, intact)
    return share, of_leading


def _share_at_cls(layer: EncoderLayer, block: IntactBlock, first: Tensor) -> Tensor:
    heads = block.heads[first].view(len(first), layer.self_attn.num_heads, -1)
    norms = torch.einsum("chk,hjk->chj", heads, output_factors(layer)).norm(dim=-1).T
    of_heads = norms / _input_norm(block.norm1.at(first))
    of_mlp = layer.linear2(block.hidden[first]).norm(dim=-1) / _input_norm(block.norm2.at(first))
    return torch.cat([of_heads, of_mlp[None]])


def _input_norm(norm: IntactNorm) -> Tensor:
    """Length of what a layer norm takes in at each token, shape (tokens,)."""
    return (norm.unit / norm.inverse + norm.mean).norm(dim=-1)


def _mean_where(values: Tensor, where: Tensor, intact: Intact) -> np.ndarray:
    """Mean of the values of each cell's chosen tokens, (components, cells); NaN without any."""
    sums = [part.sum(1) for part in (values * where).split(intact.lengths, 1)]
    n = [part.sum(1) for part in where.split(intact.lengths, 1)]
    return to_numpy(torch.stack(sums, 1) / torch.stack(n, 1))


def donor_table(
    names: list[tuple[int, str]],
    obs: pd.DataFrame,
    measures: dict[str, np.ndarray],
    depth: str,
) -> pd.DataFrame:
    """Average the measures over the cells of a donor, class and region.

    Parameters
    ----------
    names
        ``(block, component)`` of each component.
    obs
        The cells, with ``donor_id``, ``cell_class``, ``cell_type`` and ``region``.
    measures
        Of each name in `MEASURES` the values, shape (components, cells); NaN where not measured.
    depth
        ``as measured`` or ``thinned``; written into every row.

    Returns
    -------
    pandas.DataFrame
        Contract: ``component_donors.parquet`` without its first three columns. ``region`` is
        ``all`` where the cells are of one region.
    """
    own = places(obs)
    if own["region"].nunique() == 1:
        own = own.assign(region="all")
    keys = [own[name] for name in _KEYS]
    parts = []
    for row, (block, component) in enumerate(names):
        values = pd.DataFrame({name: measures[name][row] for name in MEASURES})
        groups = values.groupby(keys)
        table = groups.mean().rename_axis(_KEYS).reset_index()
        counts = groups["effect_nll"].count().to_numpy()
        table.insert(len(_KEYS), "n_cells", groups.size().to_numpy())
        table["effect_cells"] = counts
        table.insert(0, "block", block)
        table.insert(1, "component", component)
        table.insert(2, "depth", depth)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)
