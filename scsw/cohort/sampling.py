"""Seeded draws of cells that depend on names alone, never on the order of a file."""

from __future__ import annotations

import numpy as np
import pandas as pd


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a random generator of its own for a seed and names, such as a donor."""
    words = [seed % 2**32]
    for name in names:
        encoded = name.encode()
        words += [len(encoded), *encoded]
    return np.random.default_rng(words)


def cap_at_random(obs: pd.DataFrame, cap: int, seed: int) -> np.ndarray:
    """Keep at most `cap` cells of each donor, each cell with the same chance.

    Parameters
    ----------
    obs
        ``cell_id, donor_id``.
    cap
        Most cells of one donor.
    seed
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Which cells are kept; bool, shape (cells,).
    """
    keep = np.ones(len(obs), bool)
    for donor, rows in _rows_by_donor(obs).items():
        if len(rows) > cap:
            keep[rows] = False
            keep[generator(seed, "cap", donor).choice(rows, cap, replace=False)] = True
    return keep


def cap_each_type(obs: pd.DataFrame, cap: int, seed: int) -> np.ndarray:
    """Keep at most `cap` cells of each cell type of each donor, each with the same chance.

    Parameters
    ----------
    obs
        ``cell_id, donor_id, cell_type``.
    cap
        Most cells of one donor and type.
    seed
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Which cells are kept; bool, shape (cells,).
    """
    keep = np.ones(len(obs), bool)
    types = obs["cell_type"].to_numpy()
    for donor, rows in _rows_by_donor(obs).items():
        for name in sorted(set(types[rows])):
            cells = rows[types[rows] == name]
            if len(cells) > cap:
                keep[cells] = False
                random = generator(seed, "cap", donor, name)
                keep[random.choice(cells, cap, replace=False)] = True
    return keep


def cap_rare_first(obs: pd.DataFrame, cap: int, seed: int) -> np.ndarray:
    """Keep at most `cap` cells of each donor, rare cell types first.

    The donor's types are taken from the cohort's rarest to its commonest; each gets an equal
    share of the places that are still free, and what it does not fill falls to the next. So rare
    types are kept whole and no type is crowded out.

    Parameters
    ----------
    obs
        ``cell_id, donor_id, cell_type``.
    cap
        Most cells of one donor.
    seed
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Which cells are kept; bool, shape (cells,).
    """
    frequency = obs["cell_type"].value_counts()
    rarest_first = sorted(frequency.index, key=lambda name: (frequency[name], name))
    keep = np.ones(len(obs), bool)
    for donor, rows in _rows_by_donor(obs).items():
        if len(rows) <= cap:
            continue
        keep[rows] = False
        types = obs["cell_type"].to_numpy()[rows]
        present = [name for name in rarest_first if name in set(types)]
        free, random = cap, generator(seed, "cap", donor)
        for place, name in enumerate(present):
            candidates = rows[types == name]
            share = min(len(candidates), free // (len(present) - place))
            keep[random.choice(candidates, share, replace=False)] = True
            free -= share
    return keep


def _rows_by_donor(obs: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the row numbers of each donor, donors by name, rows by ``cell_id``."""
    order = np.argsort(obs["cell_id"].to_numpy(), kind="stable")
    names = obs["donor_id"].astype(object).to_numpy()[order]
    groups = pd.Series(order).groupby(names, sort=True)
    return {name: rows.to_numpy() for name, rows in groups}
