"""One pass of the intact model, and what ablations start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.scgpt.forward import batch_norm, embed, token_cells
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.packed_attention import attend_packed
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.scgpt.training.micro_batches import cells_of
from scsw.superweight.pruning.difference import IntactNorm
from scsw.superweight.pruning.edits import GROUP

# Numbers of one activation of all edits of a group that are in memory together: on CPU as many as
# its caches hold, on a GPU one for so many bytes of the card.
_ELEMENTS, _BYTES = 2**20, 320


@dataclass
class IntactBlock:
    """One block's activations over packed tokens.

    Attributes
    ----------
    qkv
        Queries, keys and values, shape (tokens, 3, heads, size), with the mean over the cell's
        tokens taken from keys and values.
    heads
        Attended values, shape (tokens, d_model): the input of out_proj.
    centred_heads
        The same from the centred values, shape (tokens, heads, size).
    norm1, norm2
        What the norms did.
    hidden, below
        Hidden units: max(a, 0) and min(a, 0), shape (tokens, d_hid).
    lse
        For the GPU kernels: logarithm of each query's softmax denominator, (tokens, heads).
    """

    qkv: Tensor
    heads: Tensor
    centred_heads: Tensor
    norm1: IntactNorm
    hidden: Tensor
    below: Tensor
    norm2: IntactNorm
    lse: Tensor | None = None

    def in_half(self, offsets: Tensor, longest: int) -> IntactBlock:
        """Return the block in bf16, for the GPU kernels."""
        from scsw.scgpt.kernels.attention import attend  # needs Triton

        qkv = self.qkv.bfloat16()
        nothing = offsets[:0]
        heads, lse = attend(qkv, offsets, longest, 0.0, nothing, nothing)
        norms = (replace(norm, unit=norm.unit.bfloat16()) for norm in (self.norm1, self.norm2))
        norm1, norm2 = norms
        others = (x.bfloat16() for x in (self.hidden, self.below))
        return IntactBlock(qkv, self.heads.bfloat16(), heads, norm1, *others, norm2, lse)


@dataclass
class Intact:
    """The intact pass over some packed cells.

    Attributes
    ----------
    lengths
        Tokens of each cell.
    offsets
        First token of each cell and the number of tokens, int32, shape (cells + 1,).
    blocks
        One for each block of the model.
    tokens
        Output of the last block, shape (tokens, d_model).
    batch_embs
        What the expression decoder is shown beside it, (tokens, d_model), in a model with batch
        labels.
    """

    lengths: list[int]
    offsets: Tensor
    blocks: list[IntactBlock]
    tokens: Tensor
    batch_embs: Tensor | None = None

    def in_half(self) -> Intact:
        """Return the same with the blocks in bf16, for the GPU kernels."""
        longest = max(self.lengths)
        return replace(self, blocks=[each.in_half(self.offsets, longest) for each in self.blocks])

    @property
    def cell_of(self) -> Tensor:
        """Cell of each token, int64."""
        return token_cells(self.offsets, sum(self.lengths))

    @property
    def first(self) -> Tensor:
        """Positions of the `<cls>` tokens."""
        return self.offsets[:-1].long()

    @property
    def cells(self) -> Tensor:
        """Cell embeddings, shape (cells, d_model)."""
        return self.tokens[self.first]


@torch.no_grad()
def intact_pass(model: nn.Module, batch: PackedBatch) -> Intact:
    """Run the intact model on packed cells and keep what the ablations start from.

    Parameters
    ----------
    model
        scGPT model in eval mode, with our encoder layers.
    batch
        Cells on the model's device; `parts_of` keeps them few enough for the memory.
    """
    x, _ = embed(model, batch.genes, batch.values, batch.levels)
    x = batch_norm(model, x, batch)
    blocks = []
    for layer in encoder_layers(model):
        block, x = _block(layer, x, batch)
        blocks.append(block)
    batch_embs = None
    if model.use_batch_labels:
        cell_of = token_cells(batch.offsets, batch.n_tokens)
        batch_embs = model.batch_encoder(batch.batch_labels)[cell_of]
    return Intact(batch.lengths, batch.offsets, blocks, x, batch_embs)


def intact_parts(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
    mask_ratio: float = 0.0,
) -> Iterator[tuple[PackedBatch, Intact]]:
    """Run the intact model on some cells, as many at a time as the memory has room for.

    Parameters
    ----------
    rows
        Cells of the tokenizer's cohort, in their order.
    compute
        Section of the config; ``batch_size`` cells are tokenised together.
    mask_ratio
        Share of each cell's values that is hidden.

    Yields
    ------
    tuple
        The cells, on the CPU, and their pass.
    """
    for batch in tokenizer.packed_batches(rows, compute.batch_size, mask_ratio=mask_ratio):
        for part in parts_of(batch.lengths, model.d_model, GROUP, device):
            cells = cells_of(batch, part.start, part.stop)
            yield cells, intact_pass(model, cells.to(device))


def _block(layer: nn.Module, x: Tensor, batch: PackedBatch) -> tuple[IntactBlock, Tensor]:
    attention = layer.self_attn
    qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    qkv = qkv.view(len(x), 3, attention.num_heads, -1)
    heads = attend_packed(qkv, batch.offsets, batch.lengths, batch.longest)
    norm1 = IntactNorm.of(x + attention.out_proj(heads.flatten(1)), layer.norm1)
    x = norm1.output()
    before = layer.linear1(x)
    hidden = before.relu()
    norm2 = IntactNorm.of(x + layer.linear2(hidden), layer.norm2)
    cell_of = token_cells(batch.offsets, len(x))
    means = _means(qkv[:, 1:], cell_of, batch.lengths)[cell_of]
    qkv[:, 1:] -= means
    block = IntactBlock(
        qkv, heads.flatten(1), heads - means[:, 1], norm1, hidden, before.clamp(max=0), norm2
    )
    return block, norm2.output()


def _means(x: Tensor, cell_of: Tensor, lengths: list[int]) -> Tensor:
    """Mean of each cell's tokens."""
    sums = x.new_zeros(len(lengths), *x.shape[1:]).index_add_(0, cell_of, x)
    n = torch.tensor(lengths, device=x.device, dtype=x.dtype)
    return sums / n.view(-1, *[1] * (x.ndim - 1))


def parts_of(lengths: list[int], d_model: int, group: int, device: torch.device) -> Iterator[slice]:
    """Divide cells into runs that a group of edits can be computed for at once.

    The division hangs on the cells' lengths alone (and on a GPU's memory), so that a result has the
    same digits whatever the edits and the shards are.
    """
    elements = _ELEMENTS
    if device.type == "cuda":
        elements = torch.cuda.get_device_properties(device).total_memory // _BYTES
    most = max(1, elements // (d_model * group))
    start = tokens = 0
    for cell, n in enumerate(lengths):
        if tokens and tokens + n > most:
            yield slice(start, cell)
            start, tokens = cell, 0
        tokens += n
    if tokens:
        yield slice(start, len(lengths))
