"""A model's answers for cells of a cohort."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from scsw.scgpt.device import autocast
from scsw.scgpt.forward import forward_packed, token_cells
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer


def type_probabilities(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
) -> np.ndarray:
    """Return cell-type probabilities, float64, shape (cells, types), from unhidden cells."""
    found = _cell_outputs("cls_output", model, tokenizer, rows, compute, device)
    return torch.cat([torch.softmax(logits.double(), 1) for logits in found]).numpy()


def embeddings(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
) -> np.ndarray:
    """Return cell embeddings, float32, shape (cells, d_model), from unhidden cells."""
    found = _cell_outputs("cell_emb", model, tokenizer, rows, compute, device)
    return torch.cat([cells.float() for cells in found]).numpy()


@torch.no_grad()
def hidden_values(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
    mask_ratio: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the hidden values of some cells and what the model makes of them.

    Returns
    -------
    tuple of numpy.ndarray
        Place of the value's cell among `rows`, int64; its token id, int64; its bin, float32; the
        predicted bin, float32; shape (hidden values,) each.
    """
    model.eval()
    found, first = [], 0
    for batch in tokenizer.packed_batches(rows, compute.batch_size, mask_ratio=mask_ratio):
        hidden = batch.hidden
        cells = token_cells(batch.offsets, batch.n_tokens)[hidden] + first
        predicted = _forward(model, batch, hidden, device)["mlm_output"]
        found.append((cells, batch.genes[hidden], batch.target[hidden], predicted.float().cpu()))
        first += len(batch.lengths)
    return tuple(torch.cat(parts).numpy() for parts in zip(*found, strict=True))


@torch.no_grad()
def _cell_outputs(
    name: str,
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
) -> Iterator[Tensor]:
    model.eval()
    for batch in tokenizer.packed_batches(rows, compute.batch_size):
        first = batch.offsets[:-1].long()  # nothing but `<cls>` is decoded, as little as possible
        yield _forward(model, batch, first, device)[name].cpu()


def _forward(
    model: nn.Module, batch: PackedBatch, decode: Tensor, device: torch.device
) -> dict[str, Tensor]:
    batch, decode = batch.to(device), decode.to(device)
    with autocast(device):
        output = forward_packed(model, batch, decode=decode)
    if all(x.isfinite().all() for x in output.values()):
        return output
    # A very large weight, such as an implanted one, can pass the largest number of fp16.
    return forward_packed(model, batch, decode=decode)
