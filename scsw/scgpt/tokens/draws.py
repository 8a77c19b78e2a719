"""Random numbers that are a function of what they are drawn for."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np

# What numbers are for: those of different kinds have nothing in common.
DETECTED_GENES, ALL_GENES = range(2)


class CellDraws:
    """Random numbers of cells, each a function of (seed, kind, epoch, cell, position) alone.

    They are those of numpy's Philox4x64-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405): a
    bijection of a counter under a key, so that any stream begins at once, without seeding. The
    key is the cell and the seed; the counter holds kind and epoch above the position.

    Parameters
    ----------
    seed
        Seed of all draws.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed % 2**64
        self._philox = np.random.Philox(0)

    def numbers(self, keys: np.ndarray, bounds: np.ndarray, kind: int, epoch: int) -> np.ndarray:
        """Draw the numbers of some cells.

        Parameters
        ----------
        keys
            Each cell's `cell_key`, uint64, shape (cells,).
        bounds
            First number of each cell, and how many there are; int64, shape (cells + 1,).
        kind, epoch
            What they are drawn for.

        Returns
        -------
        numpy.ndarray
            Uniform over 64 bits, uint64, shape (numbers,).
        """
        words = [0, self._seed]
        state = {
            "bit_generator": "Philox",
            "state": {"counter": (0, kind, epoch, 0), "key": words},
            "buffer": (0, 0, 0, 0),
            "buffer_pos": 4,  # nothing is left in the buffer
            "has_uint32": 0,
            "uinteger": 0,
        }
        drawn = np.empty(bounds[-1], np.uint64)
        for key, (start, stop) in zip(keys.tolist(), pairwise(bounds.tolist()), strict=True):
            words[0] = key
            self._philox.state = state
            drawn[start:stop] = self._philox.random_raw(stop - start)
        return drawn


def lower_half(numbers: np.ndarray) -> np.ndarray:
    """Return the lower 32 bits of each number as float64 from 0 up to 1.

    What goes by the order of the numbers themselves goes by the upper half, so that one number
    does for two draws.
    """
    return (numbers & np.uint64(2**32 - 1)) * 2.0**-32


def cell_key(cell_id: str) -> int:
    """Return a cell's number by its name, 64 bits."""
    return int.from_bytes(hashlib.blake2b(cell_id.encode(), digest_size=8).digest(), "little")
