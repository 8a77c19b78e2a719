"""What edits write: the change of each gene's decoded expression, token by token."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scsw.biology.map.token_sums import TokenSums
from scsw.scgpt.kernels.available import has_kernels
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.pruning.ablation import LARGE, Ablated, Readout, ablated, half_layers
from scsw.superweight.pruning.candidate_edits import zeroed_alone
from scsw.superweight.pruning.edits import Edit, groups_of_edits
from scsw.superweight.pruning.intact import Intact, intact_parts

MASK_RATIO = 0.4  # as in fine-tuning, so that the decoder works as it was trained
_HALF_SIZE = 0.5


@dataclass
class WriteOut:
    """Changes of decoded expression over cells with hidden values.

    Attributes
    ----------
    gep, mvc
        Sums of the change when a candidate is zeroed, by group of cells and gene, over tokens that
        detect the gene; `mvc` is None in a model without an inner-product MVC decoder.
    halved
        Sums of the GEP change when half of the weight is taken, float64, (candidates, genes).
    controls
        Sums of the GEP change of the control edits, float64, shape (edits, genes).
    path
        Sums of the derivative of a token's decoded expression by each channel of the last block's
        output, float64, shape (d_model, genes).
    """

    gep: TokenSums
    mvc: TokenSums | None
    halved: np.ndarray
    controls: np.ndarray
    path: np.ndarray


def write_out(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    group_of: np.ndarray,
    n_groups: int,
    candidates: pd.DataFrame,
    controls: list[Edit],
    compute: SimpleNamespace,
    device: torch.device,
) -> WriteOut:
    """Measure candidates and controls on some cells.

    Parameters
    ----------
    model, tokenizer
        The model and its cells.
    rows
        Cells to use, in order.
    group_of, n_groups
        Group of every cell of the tokenizer, shape (cells,), and their number.
    candidates
        The frozen family: ``candidate_id, block, row, column``.
    controls
        Of `control_edits`.
    compute
        Section of the config.
    device
        Where the model is.
    """
    model.eval()
    ids = tokenizer.token_ids
    changes = _Changes(model, device)
    gep, mvc = (TokenSums(ids, n_groups, len(candidates)) for _ in range(2))
    alone = zeroed_alone(candidates)
    half = [replace(edit, mode="scale", scale=_HALF_SIZE) for edit in alone]
    halved, zeroed = _GeneSums(half, ids.size, device), groups_of_edits(alone)
    others = _GeneSums(controls, ids.size, device)
    path = torch.zeros(ids.size, model.d_model, dtype=torch.float64, device=device)
    order = {name: index for index, name in enumerate(candidates["candidate_id"])}
    for cells, intact in intact_parts(model, tokenizer, rows, compute, device, MASK_RATIO):
        tokens = cells.genes[:, None].numpy()  # each token stands alone, none is padding
        detected = (cells.target > 0)[:, None].numpy()
        groups = np.repeat(group_of[cells.cells.numpy()], cells.lengths)
        found = np.zeros((2, len(candidates), *tokens.shape))
        for group in zeroed:
            change = changes.of(intact, group, exact=True)
            own = [order[edit.name] for edit in group]
            found[0, own, :, 0] = changes.gep(intact, change).cpu().numpy()
            if changes.has_mvc:
                found[1, own, :, 0] = changes.mvc(intact, cells, change).cpu().numpy()
        gep.add(tokens, detected, groups, found[0])
        if changes.has_mvc:
            mvc.add(tokens, detected, groups, found[1])
        genes = torch.from_numpy(gep.genes(tokens, detected)[:, 0]).to(device)
        for sums in (halved, others):
            sums.add(changes, intact, genes)
        inside = genes >= 0
        path.index_add_(0, genes[inside], changes.derivative(intact)[inside])
    order = candidates["candidate_id"].tolist()
    return WriteOut(
        gep,
        mvc if changes.has_mvc else None,
        halved.of(order),
        others.of([edit.name for edit in controls]),
        path.T.cpu().numpy(),
    )


def control_edits(model: nn.Module, controls: pd.DataFrame) -> list[Edit]:
    """Return the edits of the controls, each once.

    Parameters
    ----------
    model
        The model.
    controls
        Table of `scsw.biology.map.control_units.write_out_controls`.
    """
    weights = [layer.linear2.weight.detach().cpu() for layer in encoder_layers(model)]
    edits = []
    for c in controls.drop_duplicates("control").itertuples():
        # A change -factor·h, told as w·(scale - 1)·h of the largest weight of the unit.
        row = int(weights[c.block][:, c.column].abs().argmax())
        weight = float(weights[c.block][row, c.column])
        scale = 1 - c.factor / weight if weight else 1.0
        place = ("ffn_down", int(c.block), row, int(c.column))
        edits.append(Edit(c.control, "control", "noise", *place, scale=scale, channel=int(c.row)))
    return edits


class _GeneSums:
    """Sums of the GEP changes of edits by gene, over all cells, where the model is."""

    def __init__(self, edits: list[Edit], n_genes: int, device: torch.device) -> None:
        self._groups = groups_of_edits(edits)
        shapes = [(len(group), n_genes) for group in self._groups]
        self._sums = [torch.zeros(s, dtype=torch.float64, device=device) for s in shapes]

    def add(self, changes: _Changes, intact: Intact, genes: Tensor) -> None:
        """Add the tokens of some cells; `genes` is -1 where a token does not count."""
        inside = genes >= 0
        for group, total in zip(self._groups, self._sums, strict=True):
            found = changes.gep(intact, changes.of(intact, group, exact=False))
            total.index_add_(1, genes[inside], found[:, inside])

    def of(self, names: list[str]) -> np.ndarray:
        """Return the sums of edits by name, shape (edits, genes)."""
        place = [edit.name for group in self._groups for edit in group]
        place = {name: index for index, name in enumerate(place)}
        if not place:
            return np.zeros((0, 0))
        return torch.cat(self._sums).cpu().numpy()[[place[name] for name in names]]


class _Changes:
    """Computes what edits change, and decodes it.

    On a GPU with scsw's kernels, edits that need not be exact run in bf16, as in `scsw prune`: a
    group that moves a cell-type logit by 0.1 or more is computed again in float32.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._layers = encoder_layers(model)
        heads = self._layers[0].self_attn.num_heads
        fast = has_kernels(device, torch.bfloat16, model.d_model, heads)
        self._half_layers = half_layers(model) if fast else None
        self._half: tuple[Intact, Intact] | None = None
        self._readout = Readout(model)
        self._model = model
        decoder = getattr(model, "mvc_decoder", None)
        self.has_mvc = decoder is not None and hasattr(decoder, "W")
        self._mvc = copy.deepcopy(decoder).double().eval() if self.has_mvc else None

    @torch.no_grad()
    def of(self, intact: Intact, group: list[Edit], *, exact: bool) -> Ablated:
        """Return the change at every token of the last block's output."""
        every = torch.arange(len(intact.tokens), device=intact.tokens.device)
        if self._half_layers is not None and not exact:
            if self._half is None or self._half[0] is not intact:
                self._half = intact, intact.in_half()
            change = ablated(self._half_layers, self._half[1], group, at=every)
            logits = self._readout.types(intact.cells, change.cells)[1]
            if bool((logits.abs() < LARGE).all()):
                return change
        return ablated(self._layers, intact, group, at=every)

    def gep(self, intact: Intact, change: Ablated) -> Tensor:
        """Return the change of the expression decoded from each token, (edits, tokens)."""
        return self._readout.expression(intact.tokens, change.tokens, intact.batch_embs)[1]

    @torch.no_grad()
    def mvc(self, intact: Intact, cells: PackedBatch, change: Ablated) -> Tensor:
        """Return that of the expression decoded from the cell embedding, (edits, tokens).

        MVC is the product of a query made of the gene's embedding with the cell embedding, so its
        change is that product with the change of the cell embedding.
        """
        genes = self._model.encoder(cells.genes.to(intact.tokens.device)).double()
        query = self._mvc.query_activation(self._mvc.gene2query(genes))
        moved = change.cells @ self._mvc.W.weight[: change.cells.shape[-1]]
        return torch.stack([(query * own[intact.cell_of]).sum(-1) for own in moved])

    def derivative(self, intact: Intact) -> Tensor:
        """Return d(decoded expression)/d(last block's output), shape (tokens, d_model)."""
        return self._readout.expression_derivative(intact.tokens, intact.batch_embs)
