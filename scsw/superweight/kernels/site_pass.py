"""All that the statistics of a site take from every single activation, in one kernel."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from scsw.superweight.kernels.nvrtc import Kernel, missing

CHUNK = 64  # tokens of a cell that one warp takes
_THREADS, _LANES = 512, 32
_N_SUMS = 9
_ACTIVATIONS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
_MOST_TOKENS = 2**16 - 1  # that a block of threads can count


class Chunks(NamedTuple):
    """What `site_pass` finds in the chunks of a batch.

    Attributes
    ----------
    largest, token, size
        Largest |x|, float32, its token, int32, and Σ|x|, float64, shape (cells, chunks, channels).
    parts
        Parts of Σx, Σx², Σx³, Σx⁴, Σ|x| of special tokens, Σ|x| of genes, the number of zeros,
        max |x| of special tokens and of genes; float64, shape (parts, 9, channels).
    """

    largest: Tensor
    token: Tensor
    size: Tensor
    parts: Tensor


def has_site_pass(device: torch.device, width: int) -> bool:
    """Tell whether the kernel can run: an NVIDIA GPU with NVRTC and enough shared memory.

    Parameters
    ----------
    device
        Where the activations are.
    width
        Number of bins of the histogram.
    """
    return device.type == "cuda" and torch.version.hip is None and _can_run(device, width)


@cache
def _can_run(device: torch.device, width: int) -> bool:
    offered = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    lack = missing()
    if lack is None and offered < _shared_bytes(width):
        lack = f"shared memory on the GPU ({_shared_bytes(width)} bytes, it has {offered})"
    if lack is not None:
        told = f"the search's statistics take several times as long, for lack of {lack}"
        warnings.warn(told, stacklevel=2)
    return lack is None


def site_pass(x: Tensor, kinds: Tensor, counts: Tensor, lowest_bin: int, sums: bool) -> Chunks:
    """Pass once over the activations of a site.

    Parameters
    ----------
    x
        Activations, shape (cells, tokens, channels).
    kinds
        0 at padding, 1 at a gene and 3 at a special token; uint8, shape (cells, tokens), the tokens
        filled up to whole chunks of `CHUNK` with padding.
    counts
        Histogram of |x|, which the counts are added to, int32, shape (bins, channels).
    lowest_bin
        What to take off the exponent and the highest four bits of the fraction for the bin.
    sums
        Whether sums are wanted; without, ``size`` and ``parts`` are empty.
    """
    x = (x if x.dtype in _ACTIVATIONS else x.float()).contiguous()
    cells, tokens, channels = x.shape
    chunks = kinds.shape[1] // CHUNK
    wide, high = _grid(x.device, channels, cells * chunks)
    shape = (cells, chunks, channels)
    found = Chunks(
        x.new_empty(shape, dtype=torch.float32),
        x.new_empty(shape, dtype=torch.int32),
        x.new_empty(shape if sums else 0, dtype=torch.float64),
        x.new_empty((high if sums else 0, _N_SUMS, channels), dtype=torch.float64),
    )
    kernel = _kernel(x.device, x.dtype, channels, len(counts), lowest_bin, sums)
    numbers = tokens, chunks, cells * chunks
    shared = _shared_bytes(len(counts))
    kernel((wide, high), _THREADS, shared, x, kinds, counts, *found, *numbers)
    return found


def _grid(device: torch.device, channels: int, n_chunks: int) -> tuple[int, int]:
    """Return the blocks of threads along the channels and along the chunks.

    As many as run at once, two to a multiprocessor, and no more tokens to each than it can count.
    """
    wide = -(-channels // _LANES)
    at_once = 2 * torch.cuda.get_device_properties(device).multi_processor_count // wide
    warps = _THREADS // _LANES
    fewest = -(-n_chunks // (_MOST_TOKENS // CHUNK // warps * warps))
    return wide, max(at_once, fewest, 1)


@cache
def _kernel(
    device: torch.device, dtype: torch.dtype, channels: int, width: int, lowest_bin: int, sums: bool
) -> Kernel:
    source = Path(__file__).with_name("site_pass.cu").read_text(encoding="utf-8")
    macros = {
        "ACTIVATION": _ACTIVATIONS[dtype],
        "CHANNELS": channels,
        "SUMS": int(sums),
        "THREADS": _THREADS,
        "CHUNK": CHUNK,
        "BINS": width - 2,
        "LOWEST_BIN": lowest_bin,
    }
    return Kernel(source, "site_pass", macros, device, _shared_bytes(width))


def _shared_bytes(width: int) -> int:
    return width // 2 * _LANES * 4
