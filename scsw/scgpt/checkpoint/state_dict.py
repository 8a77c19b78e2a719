"""Read the weights of a scGPT folder, in whatever wrapping a training script saved them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scsw.errors import ScswError
from scsw.scgpt.checkpoint.token_rows import EMBEDDING

_SHOWN = 5  # names that a message lists


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict without running any code that the pickle may hold.

    A training script may save more than the weights (``{"model_state_dict": …, "epoch": …}``,
    Lightning's ``state_dict``), and wrappers put a prefix before every name (``module.`` of
    ``DataParallel``, ``_orig_mod.`` of ``torch.compile``, the attribute of a Lightning module). The
    weights are found by the gene embedding, which every scGPT model has, and get their own names.

    Parameters
    ----------
    path
        ``best_model.pt``.

    Returns
    -------
    dict of torch.Tensor
        Weights on the CPU, in their own precision.

    Raises
    ------
    ScswError
        If the file is missing or is not a torch file, holds anything but tensors and plain values,
        or a weight is not a finite number.
    """
    path = Path(path)
    if not path.exists():
        raise _missing(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _pointer(path) or _refused(path, error) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:  # OSError: of a file cut short
        raise ScswError(
            f"{path} is not a torch checkpoint, or not all of one: {str(error)[:200]}",
            fix="compare its size and sha256 with the source's, and download it again",
        ) from error
    state = _own_names(_weights(content, path), path)
    _refuse_infinite(state, path)
    return state


def _missing(path: Path) -> ScswError:
    others = [p for p in sorted(path.parent.glob("*")) if p.suffix in (".pt", ".pth", ".bin")]
    fix = "check the path in the config or command"
    if others:
        names = ", ".join(other.name for other in others)
        fix = f"if its weights are in {names}, as scGPT's tutorials save them, copy that file there"
    elif tensors := sorted(path.parent.glob("*.safetensors")):
        fix = (
            f"convert {tensors[0].name}: torch.save(safetensors.torch.load_file('{tensors[0].name}'"
            f"), '{path.name}')"
        )
    return ScswError(f"{path} does not exist", fix=fix)


def _pointer(path: Path) -> ScswError | None:
    """Return what to raise for what git leaves in place of a large file that it did not get."""
    with path.open("rb") as file:
        if not file.read(64).startswith(b"version https://git-lfs"):
            return None
    return ScswError(
        f"{path} is a pointer of Git LFS, not the file itself",
        fix="run `git lfs pull` in its repository, or get the folder with `scsw checkpoint get`",
    )


def _refused(path: Path, error: pickle.UnpicklingError) -> ScswError:
    kinds = re.findall(r"GLOBAL (\S+)", str(error))
    if not kinds:
        return ScswError(f"{path} is not a torch checkpoint: it is no pickle of tensors")
    return ScswError(
        f"{path} holds objects other than tensors and was not opened: {kinds[0]}",
        expected="a state dict of tensors",
        fix="where you trust it, load it in Python and save it again with "
        "torch.save(model.state_dict(), path)",
    )


def _weights(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict, which may be an entry of what was saved."""
    if _is_state(content):
        return dict(content)
    entries = content if isinstance(content, dict) else {}
    found = {name: x for name, x in entries.items() if _is_state(x) and _prefix(x) is not None}
    if len(found) == 1:
        return dict(next(iter(found.values())))
    if found:
        raise ScswError(
            f"{path} holds several state dicts: {', '.join(map(str, found))}",
            expected="one",
            fix="save the one that is meant with torch.save(state_dict, path)",
        )
    names = ", ".join(map(str, list(entries)[:_SHOWN]))
    raise ScswError(
        f"{path} is not a state dict" + (f"; its entries are {names}" if names else ""),
        expected="a dictionary of tensors by name",
    )


def _is_state(x: Any) -> bool:
    return isinstance(x, dict) and all(
        isinstance(key, str) and torch.is_tensor(value) for key, value in x.items()
    )


def _prefix(state: dict[str, Tensor]) -> str | None:
    """Return what stands before the name of the gene embedding; None where there is none."""
    ends = (key for key in state if f".{key}".endswith(f".{EMBEDDING}"))
    return next((key.removesuffix(EMBEDDING) for key in ends), None)


def _own_names(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    state_of_compiled = {key.replace("_orig_mod.", ""): x for key, x in state.items()}
    prefix = _prefix(state_of_compiled) or ""
    named = {key.removeprefix(prefix): x for key, x in state_of_compiled.items()}
    if len(named) != len(state):
        raise ScswError(
            f"{path} holds weights under several names, with and without a prefix",
            expected="every weight once",
        )
    return named


def _refuse_infinite(state: dict[str, Tensor], path: Path) -> None:
    hollow = [key for key, x in state.items() if x.is_meta or x.layout != torch.strided]
    if hollow:
        raise ScswError(
            f"{path} holds tensors without values or in sparse form, such as {hollow[0]}",
            expected="dense tensors with their values",
        )
    bad = [key for key, x in state.items() if x.is_floating_point() and not x.isfinite().all()]
    if bad:
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise ScswError(
            f"{path} holds weights that are no finite numbers: {', '.join(bad[:_SHOWN])}{more}",
            expected="a model whose training did not diverge",
        )
