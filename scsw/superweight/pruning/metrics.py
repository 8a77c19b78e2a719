"""What edits do to a model's outputs, as sums over cells that can be added up in any order.

The engine hands over intact outputs and their *changes*. Every rise here is computed from the
change itself, since the difference of two nearly equal numbers would be rounding alone: no change
gives exactly 0, and a change of 1e-12 keeps its digits. Everything is float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scsw.errors import ScswError
from scsw.scgpt.evaluation.scores import CALIBRATION_BINS

# Kept of every edit; random controls have these alone.
PRIMARY = "n_cells sum_nll_intact sum_d_nll floor_nll n_correct n_correct_intact".split()
# Kept of candidates and matched controls too, over whole cells.
DETAILED = (
    "sum_sq_d_nll predicted_counts predicted_counts_intact sum_d_probabilities "
    "sum_probabilities_intact bin_counts bin_confidence bin_correct bin_counts_intact "
    "bin_confidence_intact bin_correct_intact sum_d_brier sum_brier_intact floor_brier "
    "floor_probability sum_cosine_distance sum_relative_drift relative_error"
).split()
# Kept where reconstruction is asked for, over the hidden values of masked cells.
EXPRESSION = (
    "n_masked sum_sq_error_intact sum_d_sq_error sum_target sum_sq_target sum_predicted_intact "
    "sum_sq_predicted_intact sum_predicted_target_intact sum_d_predicted sum_sq_d_predicted "
    "sum_predicted_d_predicted sum_target_d_predicted sum_rate_d_predicted "
    "sum_rate_within_d_predicted sum_sq_rate_within"
).split()
_COUNTS = (
    "n_cells n_correct n_correct_intact predicted_counts predicted_counts_intact bin_counts "
    "bin_correct bin_counts_intact bin_correct_intact n_masked"
).split()
# What a metric is rounded to where it is read from sums, not from changes: they have 16 digits.
ROUNDING = 1e-12
_HALF = 0.5  # beyond this change of Σ p, log1p has no advantage over logsumexp


def nll_rise(logits: Tensor, change: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the −log probability of the true type rises.

    With p = softmax(z) and u = Δz − Δz of the true type, it is log(1 + Σ p·(exp(u) − 1)). Taking
    Δz of the true type off first leaves no two large numbers to cancel.

    Parameters
    ----------
    logits
        Intact z, float64, shape (cells, types).
    change
        Δz, float64, shape (edits, cells, types).
    labels
        Index of the true type, int64, shape (cells,).

    Returns
    -------
    torch.Tensor
        Nats, float64, shape (edits, cells).
    """
    log_p, relative = torch.log_softmax(logits, -1), change - _of_truth(change, labels)[..., None]
    grown = _grown(log_p, relative).sum(-1)
    near = (grown > -_HALF) & (grown < _HALF)
    far = torch.logsumexp(log_p + relative, -1)
    return torch.where(near, torch.log1p(grown.clamp(-_HALF, _HALF)), far)


def probability_change(logits: Tensor, change: Tensor, labels: Tensor, rise: Tensor) -> Tensor:
    """Return the change of every type's probability, shape (edits, cells, types).

    Parameters
    ----------
    logits, change, labels
        As for `nll_rise`.
    rise
        What `nll_rise` returned.
    """
    log_p, relative = torch.log_softmax(logits, -1), change - _of_truth(change, labels)[..., None]
    return _grown(log_p, relative - rise[..., None])


def cosine_distance(x: Tensor, change: Tensor) -> Tensor:
    """Return 1 − cos(x, x + Δx), shape (edits, cells); 1 where x + Δx vanishes.

    Parameters
    ----------
    x
        Shape (cells, d).
    change
        Δx, shape (edits, cells, d).
    """
    norm = x.norm(dim=-1)
    along = (change * x).sum(-1) / norm
    across = change - along[..., None] * (x / norm[:, None])
    near, far = norm + along, across.norm(dim=-1)
    length = torch.hypot(near, far)
    turned = torch.where(near > 0, far.square() / (length * (length + near)), 1 - near / length)
    return torch.where(length > 0, turned, 1.0)


def refuse_infinite(*outputs: Tensor) -> None:
    """Raise if an output is no finite number: a sum would lose it without a word.

    Raises
    ------
    ScswError
        If there is one.
    """
    if not all(bool(x.isfinite().all()) for x in outputs):
        raise ScswError(
            "an ablation gave outputs that are no finite numbers",
            expected="finite logits and predictions",
            fix="set compute.device to cpu; if that fails too, the model itself overflows",
        )


class EffectSums:
    """Additive statistics of some edits, per edit and group of cells.

    Parameters
    ----------
    n_edits, n_groups, n_types
        Edits of the group that the engine runs together, groups of cells (donor × cell type), and
        cell types of the classifier.
    detailed
        Whether `DETAILED` is kept beside `PRIMARY`.
    relative_error
        Relative error of the engine's changes, about 1e-5 in float32 and 1e-2 in bf16; the floors
        follow from it.
    detection_rates
        Share of cells that detect a gene, by token id, float64, shape (tokens of the vocabulary,).
        If given, `EXPRESSION` is kept too.
    device
        Where the engine's tensors lie.
    """

    def __init__(
        self,
        n_edits: int,
        n_groups: int,
        n_types: int,
        *,
        detailed: bool,
        relative_error: float,
        detection_rates: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._shape, self._n_types = (n_edits, n_groups), n_types
        self._detailed, self._error = detailed, relative_error
        self._rates = None
        if detection_rates is not None:
            self._rates = detection_rates.to(device, torch.float64)
        self._edges = torch.from_numpy(np.linspace(0, 1, CALIBRATION_BINS + 1)).to(device)
        self._sums: dict[str, Tensor] = {}

    def add_cells(
        self,
        logits: Tensor,
        change: Tensor,
        labels: Tensor,
        codes: Tensor,
        cells: Tensor | None = None,
        cells_change: Tensor | None = None,
    ) -> None:
        """Add a batch of whole cells.

        Parameters
        ----------
        logits, change
            z, (cells, types), and Δz, (edits, cells, types), float64.
        labels, codes
            True type and group of each cell, int64, shape (cells,).
        cells, cells_change
            Cell embeddings, (cells, d), and their change, (edits, cells, d), float64. Wanted where
            `detailed`.
        """
        refuse_infinite(logits, change)
        member = self._members(codes)
        rise = nll_rise(logits, change, labels)
        size, before = change.abs().amax(-1), logits.argmax(-1)
        truth, predicted = labels.expand(len(change), -1), (logits + change).argmax(-1)
        log_p = _of_truth(torch.log_softmax(logits, -1)[None], labels)
        # |∂ rise/∂Δz| summed over types is 2·(1 − p of the true type).
        slope = -2 * torch.expm1((log_p - rise).clamp(max=0))
        self._add("n_cells", torch.ones_like(rise[:1]), member)
        self._add("sum_nll_intact", -log_p, member)
        self._add("sum_d_nll", rise, member)
        self._add("floor_nll", self._error * slope * size, member)
        self._add("n_correct", predicted == truth, member)
        self._add("n_correct_intact", before[None] == labels, member)
        if not self._detailed:
            return
        intact = torch.softmax(logits, -1)
        moved = probability_change(logits, change, labels, rise)
        probabilities = intact + moved
        self._add("sum_sq_d_nll", rise.square(), member)
        self._add_types("", predicted, probabilities, truth, member)
        self._add_types("_intact", before[None], intact[None], labels[None], member)
        self._add("sum_d_probabilities", moved, member)
        self._add("sum_probabilities_intact", intact[None], member)
        self._add_brier(intact, moved, labels, size, member)
        spread = (2 * probabilities * (1 - probabilities)).clamp(min=0).sum(-1)
        self._add("floor_probability", self._error * spread * size, member)
        self._add("sum_cosine_distance", cosine_distance(cells, cells_change), member)
        drift = cells_change.norm(dim=-1) / cells.norm(dim=-1)
        self._add("sum_relative_drift", drift, member)

    def add_expression(
        self,
        predicted: Tensor,
        target: Tensor,
        change: Tensor,
        cell: Tensor,
        genes: Tensor,
        codes: Tensor,
    ) -> None:
        """Add the hidden values of a batch of masked cells.

        Parameters
        ----------
        predicted, target
            Intact prediction and truth of every hidden value, float64, shape (values,).
        change
            Change of the prediction, float64, shape (edits, values).
        cell, genes
            Cell of the batch and gene token of every hidden value, int64, shape (values,).
        codes
            Group of each cell of the batch, int64, shape (cells,).
        """
        refuse_infinite(predicted, change)
        member = self._members(codes[cell])
        rate = self._rates[genes]
        n = torch.bincount(cell, minlength=len(codes)).clamp(min=1)
        # A sum that does not hang on the order of the values, as scattered sums on a GPU do.
        of_cell = (cell[None] == torch.arange(len(codes), device=cell.device)[:, None]).double()
        within = rate - (of_cell @ rate / n)[cell]
        error = predicted - target
        for name, values in (
            ("n_masked", torch.ones_like(predicted)),
            ("sum_sq_error_intact", error.square()),
            ("sum_d_sq_error", 2 * error * change + change.square()),
            ("sum_target", target),
            ("sum_sq_target", target.square()),
            ("sum_predicted_intact", predicted),
            ("sum_sq_predicted_intact", predicted.square()),
            ("sum_predicted_target_intact", predicted * target),
            ("sum_d_predicted", change),
            ("sum_sq_d_predicted", change.square()),
            ("sum_predicted_d_predicted", predicted * change),
            ("sum_target_d_predicted", target * change),
            ("sum_rate_d_predicted", rate * change),
            ("sum_rate_within_d_predicted", within * change),
            ("sum_sq_rate_within", within.square()),
        ):
            self._add(name, values if values.ndim == 2 else values[None], member)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the sums by name; shape (edits, groups), of lists (edits, groups, length).

        Counts are int64, the others float64. Of an edit nothing is missing: a group without any
        cell has zeros.
        """
        names = PRIMARY + (DETAILED if self._detailed else [])
        names = names + (EXPRESSION if self._rates is not None else [])
        lengths = {name: (CALIBRATION_BINS,) for name in names if name.startswith("bin_")}
        for name in names:
            if name.startswith("predicted_counts") or "probabilities" in name:
                lengths[name] = (self._n_types,)
        found = {}
        for name in names:
            shape = (*self._shape, *lengths.get(name, ()))
            if name == "relative_error":
                found[name] = np.full(shape, self._error)
                continue
            values = self._sums[name].cpu().numpy() if name in self._sums else np.zeros(shape)
            values = np.broadcast_to(values, shape)
            found[name] = np.rint(values).astype(np.int64) if name in _COUNTS else values.copy()
        return found

    def _members(self, codes: Tensor) -> Tensor:
        """Return which group each cell is in, as a matrix: its product adds in a fixed order."""
        groups = torch.arange(self._shape[1], device=codes.device)
        return (codes[:, None] == groups).double()

    def _add(self, name: str, values: Tensor, member: Tensor) -> None:
        """Add values of shape (edits or 1, cells, …) to their groups."""
        sums = torch.tensordot(values.double(), member, dims=([1], [0]))
        if sums.ndim == 3:
            sums = sums.transpose(1, 2)
        self._sums[name] = self._sums[name] + sums if name in self._sums else sums

    def _add_types(
        self, end: str, predicted: Tensor, probabilities: Tensor, truth: Tensor, member: Tensor
    ) -> None:
        confidence, right = probabilities.amax(-1), predicted == truth
        place = torch.searchsorted(self._edges, confidence.contiguous()) - 1
        bins = torch.nn.functional.one_hot(place.clamp(0, CALIBRATION_BINS - 1), CALIBRATION_BINS)
        self._add(
            "predicted_counts" + end, torch.nn.functional.one_hot(predicted, self._n_types), member
        )
        self._add("bin_counts" + end, bins, member)
        self._add("bin_confidence" + end, bins * confidence[..., None], member)
        self._add("bin_correct" + end, bins * right[..., None], member)

    def _add_brier(
        self, intact: Tensor, moved: Tensor, labels: Tensor, size: Tensor, member: Tensor
    ) -> None:
        probabilities = intact + moved
        rise = (moved * (intact + probabilities)).sum(-1) - 2 * _of_truth(moved, labels)
        of_truth = _of_truth(intact[None], labels)
        self._add("sum_brier_intact", intact.square().sum(-1) - 2 * of_truth + 1, member)
        self._add("sum_d_brier", rise, member)
        wrong = probabilities - torch.nn.functional.one_hot(labels, self._n_types)
        mean = (probabilities * wrong).sum(-1, keepdim=True)
        slope = (2 * probabilities * (wrong - mean)).abs().sum(-1)
        self._add("floor_brier", self._error * slope * size, member)


def _of_truth(x: Tensor, labels: Tensor) -> Tensor:
    """Return the entries of the true types, (edits, cells), of (edits, cells, types)."""
    return x.gather(-1, labels.expand(len(x), -1)[..., None])[..., 0]


def _grown(log_p: Tensor, change: Tensor) -> Tensor:
    """Return p·(exp(change) − 1), also where p is nothing and exp(change) without bounds."""
    p = log_p.exp()
    return torch.where(
        change < 1, p * torch.expm1(change.clamp(max=1)), torch.exp(log_p + change) - p
    )
