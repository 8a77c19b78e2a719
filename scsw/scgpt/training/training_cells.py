"""The cells that a model is fine-tuned on, and in which order it sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd
from anndata import AnnData

from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.scgpt.training.epoch_order import epoch_order


@dataclass
class TrainingCells:
    """The training and validation cells of a run and its schedule.

    Attributes
    ----------
    tokenizer
        Tokenizer of `cells`; its labels are permuted where `shuffle` says so.
    cells
        The cohort's training and validation cells, others may be among them; only their ``obs``
        is looked at.
    settings
        Section ``finetune`` of the config.
    shuffle
        Whether labels are permuted within each training donor.
    train, validation
        Rows of `cells`, int64. Validation cells of a type that the model lacks are left out.
    steps
        Optimiser steps of the whole run.
    """

    tokenizer: Tokenizer
    cells: AnnData
    settings: SimpleNamespace
    shuffle: bool = False
    train: np.ndarray = field(init=False)
    validation: np.ndarray = field(init=False)
    steps: int = field(init=False)
    _ordered: tuple[int, np.ndarray] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        """Find the rows and count the steps."""
        split = self.cells.obs["split"]
        self.train = np.flatnonzero(split == "train")
        known = self.tokenizer.labels >= 0
        self.validation = np.flatnonzero((split == "validation") & known)
        if self.shuffle:
            donors = pd.factorize(self.cells.obs["donor_id"].astype(str), sort=True)[0]
            by_name = self.train[np.argsort(self.tokenizer.cell_keys[self.train])]
            self.tokenizer.labels = shuffled_labels(
                self.tokenizer.labels, donors, by_name, self.tokenizer.seed
            )
        self.steps = self.per_epoch * self.settings.epochs
        if self.settings.max_steps:
            self.steps = min(self.steps, self.settings.max_steps)

    @property
    def per_epoch(self) -> int:
        """Optimiser steps of one pass over the training cells."""
        return math.ceil(self.train.size / self.settings.batch_size)

    def batch(self, step: int) -> PackedBatch:
        """Return the batch of an optimiser step; a function of (seed, step) alone."""
        epoch, position = divmod(step, self.per_epoch)
        size = self.settings.batch_size
        chosen = self.order(epoch)[position * size : (position + 1) * size]
        return self.tokenizer.packed(chosen, mask_ratio=self.settings.mask_ratio, epoch=epoch)

    def order(self, epoch: int) -> np.ndarray:
        """Return the training cells in the order of an epoch, int64."""
        if self._ordered is None or self._ordered[0] != epoch:
            keys = self.tokenizer.cell_keys[self.train]
            self._ordered = epoch, epoch_order(self.train, keys, self.tokenizer.seed, epoch)
        return self._ordered[1]


def shuffled_labels(
    labels: np.ndarray, donors: np.ndarray, rows: np.ndarray, seed: int
) -> np.ndarray:
    """Permute the labels of some rows within each donor; the other rows keep theirs."""
    rng, shuffled = np.random.default_rng([seed, 4]), labels.copy()
    for donor in np.unique(donors[rows]):
        own = rows[donors[rows] == donor]
        shuffled[own] = rng.permutation(labels[own])
    return shuffled
