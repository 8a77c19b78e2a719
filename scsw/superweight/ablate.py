"""Change single weights of a model for a while, and leave it bit-identical."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from scsw.superweight.observe import is_transposed, own_parameter


class WeightEdit(NamedTuple):
    """A weight, a row or a column of a linear module, or one channel of a norm.

    Attributes
    ----------
    module
        Name of the module.
    row, column
        Output and input channel; None for all of them. A norm has rows only.
    parameter
        ``weight`` or ``bias``; of a norm these are γ and β.
    mean_input
        Mean of the input channel, for the mode ``mean``.
    """

    module: str
    row: int | None
    column: int | None = None
    parameter: str = "weight"
    mean_input: float | None = None


@contextlib.contextmanager
def ablate(
    model: nn.Module,
    edits: pd.DataFrame | Iterable[WeightEdit | tuple],
    mode: str | float = "zero",
) -> Iterator[nn.Module]:
    """Change weights while the block runs.

    Parameters
    ----------
    model
        Any module. Afterwards it is bit-identical, whatever happened.
    edits
        `WeightEdit`, tuples of its fields, or a table with ``module, row, column`` as
        `find_candidates` returns (``parameter`` and ``mean_input`` where it has them).
    mode
        ``zero``; ``mean``, which sets the weight to zero and adds its mean contribution, weight ×
        mean input, to the bias (an ``nn.Linear`` without one has one meanwhile); or a number, by
        which the weight is multiplied.

    Yields
    ------
    torch.nn.Module
        The changed model.

    Raises
    ------
    ValueError
        If an edit names nothing that the model has, or cannot be made in this mode.
    """
    edits = list(_edits(edits))
    for edit in edits:
        _check(model, edit, mode)
    touched = {edit.module: model.get_submodule(edit.module) for edit in edits}
    originals = [
        (parameter, parameter.detach().clone())
        for module in touched.values()
        for parameter in module.parameters(recurse=False)
    ]
    without_bias = [module for module in touched.values() if mode == "mean" and _can_have(module)]
    try:
        with torch.no_grad():
            for module in without_bias:
                module.bias = nn.Parameter(module.weight.new_zeros(module.out_features))
            for edit in edits:
                _apply(touched[edit.module], edit, mode)
        torch.clear_autocast_cache()  # it holds the weights as they were
        yield model
    finally:
        with torch.no_grad():
            for parameter, original in originals:
                parameter.copy_(original)
        for module in without_bias:
            module.bias = None
        torch.clear_autocast_cache()


def _can_have(module: nn.Module) -> bool:
    """Tell whether a module has no bias, and would add one."""
    return isinstance(module, nn.Linear) and module.bias is None


def place_of(module: nn.Module, parameter: str, row: int | None, column: int | None) -> tuple:
    """Return the index of a weight, row or column in the tensor as the module stores it."""
    place = tuple(slice(None) if each is None else int(each) for each in (row, column))
    if getattr(module, parameter).ndim == 1:
        return place[:1]
    return place[::-1] if is_transposed(module) else place


def _sizes(module: nn.Module, parameter: str) -> tuple[int, ...]:
    """Return the number of rows and, if it has them, of columns."""
    shape = tuple(getattr(module, parameter).shape)
    return shape[::-1] if is_transposed(module) else shape


def _edits(edits: pd.DataFrame | Iterable) -> Iterator[WeightEdit]:
    if isinstance(edits, pd.DataFrame):
        names = [name for name in WeightEdit._fields if name in edits]
        edits = (
            {key: None if pd.isna(value) else value for key, value in row.items()}
            for row in edits[names].to_dict("records")
        )
        yield from (WeightEdit(**row) for row in edits)
    else:
        yield from (WeightEdit(*edit) for edit in edits)


def _check(model: nn.Module, edit: WeightEdit, mode: str | float) -> None:
    try:
        module = model.get_submodule(edit.module)
        n_axes = own_parameter(module, edit.module, edit.parameter).ndim
        sizes = dict(zip(("row", "column"), _sizes(module, edit.parameter), strict=False))
    except AttributeError as error:
        raise ValueError(f"the model has no {edit}: {error}") from error
    if n_axes > 2:  # fused experts, a convolution: row and column would name a whole vector
        raise ValueError(
            f"{edit.module}.{edit.parameter} has {n_axes} axes, expected rows, columns"
        )
    for axis in ("row", "column"):
        channel, size = getattr(edit, axis), sizes.get(axis, 0)
        if channel is not None and not (channel == int(channel) and 0 <= channel < size):
            raise ValueError(f"the model has no {edit}: {axis}s are numbered 0 to {size - 1}")
    if mode == "mean":
        mean_input = edit.mean_input is not None and edit.column is not None
        biased = getattr(module, "bias", None) is not None or _can_have(module)
        if not mean_input or not biased:
            raise ValueError(
                f"{edit} cannot be replaced by its mean: that needs a column, its mean input and a "
                "module with a bias"
            )
    elif mode != "zero" and not isinstance(mode, Real):
        raise ValueError(f"mode is {mode!r}, expected `zero`, `mean` or a number")


def _apply(module: nn.Module, edit: WeightEdit, mode: str | float) -> None:
    tensor: Tensor = getattr(module, edit.parameter)
    place = place_of(module, edit.parameter, edit.row, edit.column)
    if mode == "mean":
        rows = slice(None) if edit.row is None else edit.row
        module.bias[rows] += tensor[place] * edit.mean_input
    tensor[place] = 0.0 if isinstance(mode, str) else tensor[place] * float(mode)
