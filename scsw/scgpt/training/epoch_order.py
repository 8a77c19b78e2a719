"""In which order the cells of a training epoch come."""

from __future__ import annotations

import numpy as np

# Cells of a cohort that are read together. Small, since a file often holds donor after donor and
# all cells of a block are then of one; below this most of a file's compressed chunks (131,072
# counts, the genes of 50 to 200 cells) would be decompressed twice.
BLOCK = 256

# Blocks that an epoch draws its next cells from: 16,384 cells, and their counts are in memory.
WINDOW = 64

_STREAM = 3  # keeps these random numbers apart from others of the same seed


def epoch_order(cells: np.ndarray, keys: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return training cells in the order of one epoch, a function of its arguments alone.

    Cells of no more blocks than fit the window are shuffled all together, whatever their order in
    the file. Others are shuffled so that the file is read in whole blocks and few blocks are
    needed at any time: the blocks come in random order, and each cell waits for a random number
    of blocks below the window. So a block is done with after the time of `WINDOW` others, and at
    any time the next cell comes from each of the last `WINDOW` blocks with the same chance. The
    cells that would wait beyond the last block come at the start, so that it is mixed as well.

    Parameters
    ----------
    cells
        Rows of the cohort, ascending, int64, shape (cells,).
    keys
        Number of each of these cells by its name, uint64, shape (cells,).
    seed, epoch
        What the order depends on.
    """
    random = np.random.default_rng([seed, _STREAM, epoch])
    blocks, block = np.unique(cells // BLOCK, return_inverse=True)
    if blocks.size <= WINDOW:
        return random.permutation(cells[np.argsort(keys, kind="stable")])
    place = random.permutation(blocks.size)[block] + WINDOW * random.random(cells.size)
    return cells[np.argsort(place % blocks.size, kind="stable")]
