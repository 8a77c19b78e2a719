"""How much of a cohort is held at once, so that `preprocess.memory_gb` is kept."""

from __future__ import annotations

from scsw.errors import ScswError

# Measured on simulated SEA-AD files: what Python and its libraries take, what the annotation of a
# cell takes at its peak, and what a value of a block takes, from reading to writing.
_BASE = 250e6
_PER_CELL = 500
_PER_VALUE = 120
_MOST_VALUES, _FEWEST_VALUES = 1 << 21, 1 << 17


def block_values(memory_gb: float, n_cells: int) -> int:
    """Return how many stored counts are read at once.

    Parameters
    ----------
    memory_gb
        Memory that may be used, in GB of 10⁹ bytes.
    n_cells
        Cells of the source, whose annotation is held whole.

    Returns
    -------
    int
        At most 2²¹: larger blocks are no faster.

    Raises
    ------
    ScswError
        If the annotation alone needs more.
    """
    free = memory_gb * 1e9 - _BASE - _PER_CELL * n_cells
    if free < _FEWEST_VALUES * _PER_VALUE:
        needed = (_BASE + _PER_CELL * n_cells + _FEWEST_VALUES * _PER_VALUE) / 1e9
        raise ScswError(
            f"{memory_gb:g} GB of memory are too few for the annotation of {n_cells} cells",
            expected=f"about {needed:.1f} GB",
            fix="raise preprocess.memory_gb",
        )
    return min(_MOST_VALUES, int(free / _PER_VALUE))
