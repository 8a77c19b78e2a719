"""How well the streamed training order mixes donors, against a full shuffle.

    python -m benchmarks.mixing [--cells 1000000] [--donors 84]

A cohort whose cells stand donor after donor, as files often have them, the donors' numbers of
cells being unlike (log-normal, sigma 0.5). Printed are the donors in a batch of 32, the mean over
one epoch, of `scsw.scgpt.training.epoch_order` and of a full shuffle.
"""

from __future__ import annotations

import argparse

import numpy as np

from scsw.scgpt.training.epoch_order import BLOCK, WINDOW, epoch_order

BATCH = 32


def donors_in_a_batch(order: np.ndarray, donor: np.ndarray) -> float:
    """Return the mean number of different donors in a batch."""
    whole = donor[order][: len(order) // BATCH * BATCH].reshape(-1, BATCH)
    ordered = np.sort(whole, axis=1)
    return float(1 + (np.diff(ordered, axis=1) != 0).sum(1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--donors", type=int, default=84)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    share = random.lognormal(0, 0.5, given.donors)
    donor = np.sort(random.choice(given.donors, given.cells, p=share / share.sum()))
    cells, keys = np.arange(given.cells), random.integers(0, 2**63, given.cells).astype(np.uint64)
    streamed = donors_in_a_batch(epoch_order(cells, keys, 0, 0), donor)
    shuffled = donors_in_a_batch(random.permutation(given.cells), donor)
    print(
        f"{given.cells:,} cells of {given.donors} donors, blocks of {BLOCK}, window of {WINDOW}: "
        f"{streamed:.1f} donors in a batch of {BATCH}; {shuffled:.1f} after a full shuffle"
    )


if __name__ == "__main__":
    main()
