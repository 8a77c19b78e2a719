"""Whether a scGPT folder fits a preprocessed cohort: vocabulary and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import sparse_dataset
from torch import Tensor

from scsw.cohort.h5ad import open_h5ad, read_columns
from scsw.cohort.read import cohort_facts
from scsw.cohort.vocabulary import coverage, match_genes
from scsw.errors import ScswError
from scsw.scgpt.checkpoint.token_rows import unknown_tokens
from scsw.scgpt.folder import check_vocabulary

_LAST_LAYER = "cls_decoder.out_layer."
# Rows read at once, to sum up counts.
_BLOCK = 20_000


@dataclass(frozen=True)
class CohortFit:
    """How a scGPT folder fits a cohort.

    Attributes
    ----------
    cohort
        Name of the cohort.
    same_vocabulary
        Whether the cohort was matched to this very ``vocab.json``.
    knows_genes
        Whether the folder's vocabulary holds every gene of the cohort by name: its embeddings can
        then be moved to the cohort's vocabulary.
    coverage
        Where it does not: the table of `vocabulary.coverage` of the cohort's genes in the folder's
        vocabulary; None where it does.
    types
        Cell types of the training donors, sorted.
    same_labels
        Whether they are the folder's ``labels.json``; None where it has none.
    """

    cohort: str
    same_vocabulary: bool
    knows_genes: bool
    coverage: pd.DataFrame | None
    types: list[str]
    same_labels: bool | None

    def lines(self) -> Iterator[str]:
        """Yield the fit in sentences."""
        yield f"Cohort {self.cohort}:"
        if self.same_vocabulary:
            yield "  vocabulary  identical: the cohort was matched to this vocab.json"
        elif self.knows_genes:
            yield (
                "  vocabulary  another one, which holds every gene of the cohort by name: "
                "`scsw init` moves each embedding to the row of its token"
            )
        else:
            shares = self.coverage.set_index("matched_by")
            known = 1 - shares.loc["unmatched", ["gene_share", "count_share"]].astype(float)
            yield (
                f"  vocabulary  another one: this vocab.json knows {known['gene_share']:.1%} of "
                f"the cohort's genes with {known['count_share']:.1%} of its counts"
            )
            yield (
                "              To train this model, run `scsw preprocess` on the source again with "
                "preprocess.vocabulary `checkpoint` and model.checkpoint set to this folder"
            )
        told = {None: "", True: ", those of labels.json", False: ", others than in labels.json"}
        yield (
            f"  labels      {len(self.types)} cell types in the training donors"
            f"{told[self.same_labels]}: {', '.join(self.types)}"
        )


def cohort_fit(
    folder: Path,
    vocabulary: dict[str, int],
    cohort: str | Path,
    types: list[str],
    labels: list[str] | None,
) -> CohortFit:
    """Compare a scGPT folder with a cohort.

    Parameters
    ----------
    folder, vocabulary, labels
        The folder, its ``vocab.json`` and its ``labels.json``.
    cohort
        ``cohort.h5ad``. Its counts are read only if genes of it are not in the folder's vocabulary.
    types
        `training_types` of the cohort.
    """
    facts = cohort_facts(cohort)
    same = _has_vocabulary(folder, facts)
    knows = not unknown_tokens(cohort_genes(cohort), vocabulary)
    return CohortFit(
        cohort=facts["cohort"],
        same_vocabulary=same,
        knows_genes=knows,
        coverage=None if same or knows else _coverage(cohort, vocabulary),
        types=types,
        same_labels=None if labels is None else labels == types,
    )


def training_types(cohort: str | Path) -> list[str]:
    """Return the cell types of the training donors, sorted; counts stay on disk."""
    cohort_facts(cohort)  # it is a cohort that models are trained on
    with open_h5ad(cohort) as file:
        obs = read_columns(file, "obs", ["cell_type", "split"])
    training = obs.loc[obs["split"].astype(str) == "train", "cell_type"]
    return sorted(training.astype(str).unique())


def known_types(
    state: Mapping[str, Tensor], labels: list[str] | None, types: list[str] | None
) -> dict[str, Tensor]:
    """Return weights without a classifier's last layer that tells other cell types apart.

    The first of its types is not the first of the cohort's, even where there are as many.

    Parameters
    ----------
    state
        Weights of a checkpoint.
    labels
        Its ``labels.json``; None where it has none, so that its types are not known.
    types
        Those of the model that is built; None where any would do.
    """
    same = types is None or labels == types
    return {key: x for key, x in state.items() if same or not key.startswith(_LAST_LAYER)}


def cohort_genes(cohort: str | Path) -> list[str]:
    """Return the names of a cohort's genes, as in its vocabulary."""
    with open_h5ad(cohort) as file:
        return read_columns(file, "var", ["symbol"])["symbol"].astype(str).tolist()


def _has_vocabulary(folder: Path, facts: dict) -> bool:
    try:
        check_vocabulary(folder, facts)
    except ScswError:
        return False
    return True


def _coverage(cohort: str | Path, vocabulary: dict[str, int]) -> pd.DataFrame:
    with open_h5ad(cohort) as file:
        genes = read_columns(file, "var", ["symbol", "ensembl_id"]).astype(str)
        counts = _counts_per_gene(file["X"], len(genes))
    matched = match_genes(genes.reset_index(drop=True).assign(from_table=False), vocabulary)
    return coverage(matched, counts)


def _counts_per_gene(group: h5py.Group, n_genes: int) -> np.ndarray:
    """Return the sum of each gene's counts over all cells, shape (genes,), int64."""
    stored, total = sparse_dataset(group), np.zeros(n_genes, np.int64)
    for start in range(0, stored.shape[0], _BLOCK):
        block = stored[start : start + _BLOCK]
        total += np.asarray(block.sum(axis=0), np.int64).ravel()
    return total
