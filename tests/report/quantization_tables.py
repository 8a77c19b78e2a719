"""Invented sums of rounded models, as docs/outputs.md describes them."""

from __future__ import annotations

import pandas as pd

from tests.report.shape import Shape

BITS, BLOCK_SIZES, DRAWS = (8, 4), (32, 128, 512, 4096, 0), 2


def quantization_table(n_candidates: int, rng, shape: Shape) -> pd.DataFrame:
    """Return sums in which rounding costs more with fewer bits and larger blocks.

    Holding out the candidates takes away most of that, and holding out random weights nothing.
    """
    ways = [("none", 0)]
    if n_candidates:
        ways += [("candidates", 0), *[("random", draw) for draw in range(DRAWS)]]
    rows = []
    for bits in BITS:
        for place, block_size in enumerate(BLOCK_SIZES):
            for hold_out, draw in ways:
                held = n_candidates if hold_out != "none" else 0
                changed = 900 * held if hold_out == "candidates" else 0
                rise = 0.3 * 2.0 ** (4 - bits) * (place + 1) / len(BLOCK_SIZES)
                rise *= shape.rescued if hold_out == "candidates" else 1
                for donor in shape.test_donors:
                    sums = _sums(rise * rng.uniform(0.6, 1.4))
                    setting = (bits, block_size, hold_out, draw, held, changed)
                    rows.append((*setting, donor, shape.types[0], *sums))
    names = "bits block_size hold_out draw n_held_out n_changed donor_id cell_type n_cells n_masked"
    names += " sum_nll sum_nll_intact n_correct n_correct_intact sum_sq_error sum_sq_error_intact"
    return pd.DataFrame(rows, columns=names.split())


def _sums(rise: float) -> tuple:
    n = 5
    return n, 40, n * (0.5 + rise), n * 0.5, 3, 4, 40 * (1 + rise), 40.0
