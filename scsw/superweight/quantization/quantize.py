"""Step `quantize`: what rounding a model's weights costs on the test donors.

Each setting is measured three ways: with nothing held out of the rounding, with the candidates held
out, and with as many random weights of the same tensors held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.errors import ScswError
from scsw.files import CANDIDATE, read_table, require, write_table
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.forward import forward_packed, token_cells
from scsw.scgpt.model import load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.quantization.rounding import encoder_matrices, round_to_nearest, rounded

SUMS = ("sum_nll", "n_correct", "sum_sq_error")


@dataclass(frozen=True)
class Setting:
    """One way to round a model.

    Attributes
    ----------
    bits, block_size
        As of `round_to_nearest`.
    hold_out
        ``none``, ``candidates`` or ``random``.
    draw
        Number of the random draw; 0 otherwise.
    masks
        The weights held out, by the names of `encoder_matrices`.
    """

    bits: int
    block_size: int
    hold_out: str
    draw: int
    masks: Mapping[str, Tensor]


def quantize(
    model_folder: str | Path,
    cohort: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    arm: str = "real",
    seed: int = 0,
) -> None:
    """Round the encoder's matrices in every setting and measure the model on the test donors.

    Cell type is read from whole cells; reconstruction is measured on cells with hidden values, at
    positions that depend on the cell alone. All arithmetic but the rounding is in float32, also on
    a GPU.

    Parameters
    ----------
    model_folder, cohort, candidates
        The fine-tuned model, the cohort and the frozen family.
    out
        Parquet file to write (contract: ``quantization.parquet``).
    settings, compute
        Sections ``quantize`` and ``compute`` of the config.
    arm, seed
        Written into every row; the seed also draws the random weights.
    """
    model_folder, cohort, out = require(model_folder), require(cohort), Path(out)
    facts = cohort_facts(cohort)
    check_vocabulary(model_folder, facts)
    device = prepare(compute)
    with recorded(
        "quantize",
        out.parent,
        inputs={"model": model_folder, "cohort": cohort, "candidates": candidates},
        parameters={**vars(settings), **vars(compute), "arm": arm},
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        model = load_model(model_folder).to(device)
        family = read_table(candidates, CANDIDATE)
        ways = all_settings(model, family[family["family"] == "ffn_down"], settings, seed)
        cells = read_cohort(cohort, ["test"], settings.max_cells_per_donor)
        tokenizer = cohort_tokenizer(cells, model_folder)
        scored = np.flatnonzero(tokenizer.labels >= 0)
        if scored.size == 0:
            raise ScswError(f"{cohort} holds no test cell of a type that the model knows")
        names = ["donor_id", "cell_type"]
        groups = cells.obs[names].astype(str).iloc[scored].groupby(names, sort=True)
        codes, places = groups.ngroup().to_numpy(), groups.size().rename("n_cells").reset_index()
        intact, *found = measure(
            model, tokenizer, scored, codes, ways, settings.mask_ratio, compute.batch_size, device
        )
        parts = [
            _rows(way, n_changed(model, way), sums, intact, places)
            for way, sums in zip(ways, found, strict=True)
        ]
        table = pd.concat(parts, ignore_index=True)
        write_table(table, out, {"cohort": facts["cohort"], "arm": arm, "seed": seed})


def all_settings(
    model: nn.Module, family: pd.DataFrame, settings: SimpleNamespace, seed: int
) -> list[Setting]:
    """Return every setting: bits × block size × what is held out.

    Without a candidate nothing is held out.
    """
    hold_outs: list[tuple[str, int, dict[str, Tensor]]] = [("none", 0, {})]
    if len(family):
        hold_outs.append(("candidates", 0, _masks(model, family)))
        hold_outs += [
            ("random", draw, _masks(model, random_weights(model, family, seed=seed, draw=draw)))
            for draw in range(settings.random_draws)
        ]
    return [
        Setting(bits, block_size, *hold_out)
        for bits in settings.bits
        for block_size in settings.block_sizes
        for hold_out in hold_outs
    ]


def random_weights(model: nn.Module, family: pd.DataFrame, *, seed: int, draw: int) -> pd.DataFrame:
    """Draw as many weights of each down-projection as it has candidates, none of them a candidate.

    Returns
    -------
    pandas.DataFrame
        ``block, row, column``. Each block is drawn by a generator of ``(seed, draw, block)``.
    """
    matrices, drawn = encoder_matrices(model), []
    for block, own in family.groupby("block"):
        rows, columns = matrices[f"{block}.linear2"].shape
        free = np.delete(np.arange(rows * columns), own["row"] * columns + own["column"])
        if len(own) > free.size:
            raise ScswError(
                f"block {block} has {len(own)} candidates and {free.size} other weights",
                expected="as many random weights to hold out as there are candidates",
                fix="lower search.max_candidates, or use a larger model",
            )
        chosen = np.random.default_rng([seed, draw, block]).choice(free, len(own), replace=False)
        drawn += [(block, *divmod(int(place), columns)) for place in np.sort(chosen)]
    return pd.DataFrame(drawn, columns=["block", "row", "column"])


def _masks(model: nn.Module, weights: pd.DataFrame) -> dict[str, Tensor]:
    """Return which weights of each down-projection are among `weights`."""
    matrices, masks = encoder_matrices(model), {}
    for block, own in weights.groupby("block"):
        mask = torch.zeros_like(matrices[f"{block}.linear2"], dtype=torch.bool)
        mask[own["row"].to_numpy(), own["column"].to_numpy()] = True
        masks[f"{block}.linear2"] = mask
    return masks


def n_changed(model: nn.Module, way: Setting) -> int:
    """Count the weights, but for those held out, that get another value by the holding out."""
    matrices, found = encoder_matrices(model), 0
    for name, mask in way.masks.items():
        own = {"bits": way.bits, "block_size": way.block_size}
        plain = round_to_nearest(matrices[name], **own)
        spared = round_to_nearest(matrices[name], **own, held_out=mask)
        found += int(((plain != spared) & ~mask).sum())
    return found


def measure(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    codes: np.ndarray,
    ways: list[Setting],
    mask_ratio: float,
    batch_size: int,
    device: torch.device,
) -> list[dict[str, np.ndarray]]:
    """Return the additive statistics by donor × cell type: of the intact model, then each setting.

    Cells are tokenised once, batch by batch; rounding anew for each batch is cheap beside a pass.

    Returns
    -------
    list of dict
        `SUMS` and ``n_masked``, float64, shape (groups,) each.
    """
    n_groups = int(codes.max()) + 1
    found = [
        {name: np.zeros(n_groups) for name in (*SUMS, "n_masked")} for _ in range(1 + len(ways))
    ]
    for start in range(0, rows.size, batch_size):
        chosen = slice(start, start + batch_size)
        whole = tokenizer.packed(rows[chosen]).to(device)
        masked = tokenizer.packed(rows[chosen], mask_ratio=mask_ratio).to(device)
        _add(found[0], cell_statistics(model, whole, masked), codes[chosen])
        for way, sums in zip(ways, found[1:], strict=True):
            with rounded(model, bits=way.bits, block_size=way.block_size, held_out=way.masks):
                _add(sums, cell_statistics(model, whole, masked), codes[chosen])
    return found


@torch.no_grad()
def cell_statistics(
    model: nn.Module, whole: PackedBatch, masked: PackedBatch
) -> dict[str, np.ndarray]:
    """Return NLL, whether the type is right, squared error and number of hidden values per cell."""
    first = whole.offsets[:-1].long()  # nothing but `<cls>` is decoded, as little as possible
    scores = forward_packed(model, whole, decode=first)["cls_output"].double()
    nll = F.cross_entropy(scores, whole.labels, reduction="none")
    predicted = forward_packed(model, masked, decode=masked.hidden)["mlm_output"]
    squared = (predicted.double() - masked.target[masked.hidden]) ** 2
    cells = token_cells(masked.offsets, masked.n_tokens)[masked.hidden].cpu().numpy()
    n = len(whole.lengths)
    return {
        "sum_nll": nll.cpu().numpy(),
        "n_correct": (scores.argmax(1) == whole.labels).cpu().numpy(),
        "sum_sq_error": np.bincount(cells, squared.cpu().numpy(), minlength=n),
        "n_masked": np.bincount(cells, minlength=n),
    }


def _add(sums: dict[str, np.ndarray], cells: dict[str, np.ndarray], codes: np.ndarray) -> None:
    for name, values in cells.items():
        np.add.at(sums[name], codes, values)


def _rows(
    way: Setting,
    changed: int,
    sums: dict[str, np.ndarray],
    intact: dict[str, np.ndarray],
    places: pd.DataFrame,
) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "bits": way.bits,
            "block_size": way.block_size,
            "hold_out": way.hold_out,
            "draw": way.draw,
            "n_held_out": sum(int(mask.sum()) for mask in way.masks.values()),
            "n_changed": changed,
            **{name: places[name] for name in ("donor_id", "cell_type", "n_cells")},
            "n_masked": sums["n_masked"],
        }
    )
    for name in SUMS:
        table[name], table[f"{name}_intact"] = sums[name], intact[name]
    return table.astype(dict.fromkeys(("n_masked", "n_correct", "n_correct_intact"), np.int64))
