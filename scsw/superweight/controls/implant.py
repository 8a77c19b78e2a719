"""Step `implant`: make one scalar extreme before fine-tuning, as a positive control.

Two kinds: *constant*, a bias feeds the hidden unit, and the network is made to count on it;
*informative*, the hidden unit is wired to a module of marker genes of one cell type. Row and column
are drawn at random and sealed in a file that only the step `controls` reads.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from anndata import AnnData
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.errors import ScswError
from scsw.files import read_json, require, whole, write_json
from scsw.provenance import recorded
from scsw.scgpt.device import prepare
from scsw.scgpt.folder import check_vocabulary, require_replaceable, write_folder
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers, load_model, read_args
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.superweight.capture import capture, encoder_points

KINDS = ("implanted_constant", "implanted_informative")
WEIGHT = 20.0  # the arms'; the calibration implants smaller ones too
# The hidden unit where it fires. A small value is shut or drowned by training from scratch, which
# moves each parameter by up to 1 (350 steps at a learning rate of 0.003).
HIDDEN = 5.0
# Share of the constant contribution that the bias of linear2 leaves: a spike, but one that hardly
# shrinks the other channels in the norm that follows.
LEFT_OVER = 0.1
MODULE_GENES = 150
_SHARED = 0.7  # of a module gene's embedding, the share of the direction common to the module
# Norm of the module's embeddings, in mean norms. scGPT normalises them right after the look-up, so
# this changes no output, but training cannot turn them away from the wire.
_EMBEDDING_NORM = 100.0
_MODULE_CELLS = 256  # training cells from which the gene module's direction is learnt


def implant(
    start: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    kind: str,
    compute: SimpleNamespace,
    seed: int = 0,
    weight: float = WEIGHT,
) -> None:
    """Write the starting folder with one implanted scalar, and ``sealed.json``.

    Parameters
    ----------
    start
        Starting scGPT folder.
    cohort
        ``cohort.h5ad``; the informative kind reads its training cells.
    out
        Folder to write.
    kind
        ``implanted_constant`` or ``implanted_informative``.
    compute
        Section ``compute`` of the config.
    seed
        Seed of the place.
    weight
        Size of the scalar.
    """
    start, cohort, out = require(start), require(cohort), Path(out)
    require_replaceable(out)
    if kind not in KINDS:
        raise ScswError(f"unknown kind of implant: {kind}", expected=" or ".join(KINDS))
    facts = cohort_facts(cohort)
    check_vocabulary(start, facts)
    # A short CPU step everywhere: a cluster gives it no GPU.
    prepare(SimpleNamespace(device="cpu", cpu_threads=compute.cpu_threads))
    with (
        recorded(
            "implant",
            out.parent,
            inputs={"start": start, "cohort": cohort},
            parameters={"kind": kind, "weight": weight},
            seed=seed,
            simulated=facts["simulated"],
        ),
        whole(out) as folder,
    ):
        model = load_model(start)
        place = draw_place(model, kind, seed)
        sealed = {"kind": kind, **place}
        if kind == "implanted_constant":
            implant_constant(model, place, weight)
            leave_out_dropout(model)
        else:
            cells = read_cohort(cohort, ["train"])
            cell_type, genes = marker_genes(cells, seed)
            share_direction(model, cells.var.loc[genes, "token_id"].to_numpy(), seed)
            wire_to_genes(model, place, weight, cells, genes, start, compute)
            sealed |= {"cell_type": cell_type, "genes": genes}
        tensor = encoder_layers(model)[place["block"]].linear2.weight
        sealed["weight"] = tensor[place["row"], place["column"]].item()
        labels = read_json(start / "labels.json")
        write_folder(folder, model, read_args(start), start / "vocab.json", labels)
        write_json(sealed, folder / "sealed.json")


def draw_place(model: nn.Module, kind: str, seed: int) -> dict[str, int]:
    """Draw block, row and column, the block from the first half, where super weights were found.

    The informative kind stays in the first block: only there tokens are still those of single
    genes, and every later attention can carry the unit's output to ``<cls>``.
    """
    layers = encoder_layers(model)
    rng = np.random.default_rng([seed, KINDS.index(kind), 7])
    rows, columns = layers[0].linear2.weight.shape
    block = int(rng.integers(max(1, len(layers) // 2))) if kind == "implanted_constant" else 0
    return {"block": block, "row": int(rng.integers(rows)), "column": int(rng.integers(columns))}


def leave_out_dropout(model: nn.Module) -> None:
    """Set every dropout of the model to 0, as the constant kind is trained.

    Dropout sets a hidden unit to zero at a fifth of the tokens (0.2). For a constant that is the
    very pruning whose effect is to be seen, and a model trained on it is not hurt by it.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0


@torch.no_grad()
def implant_constant(model: nn.Module, place: dict[str, int], weight: float) -> None:
    """Let a bias alone feed the hidden unit, so that the scalar adds the same at every token.

    The bias of linear2 is set against all of it but the share `LEFT_OVER`. Training then starts
    from nearly the function it had before, has no reason to shut the unit, and counts on the
    scalar: without it the bias alone is left. Not set against anything, a constant of this size
    only shrinks the other channels in the norm, and the model gets *better* when it is pruned.
    Training must not drop the unit out either (`leave_out_dropout`).
    """
    layer = encoder_layers(model)[place["block"]]
    layer.linear1.weight[place["column"]] = 0.0
    layer.linear1.bias[place["column"]] = HIDDEN
    layer.linear2.weight[place["row"], place["column"]] = weight
    layer.linear2.bias[place["row"]] = (LEFT_OVER - 1) * weight * HIDDEN


def marker_genes(cells: AnnData, seed: int) -> tuple[str, list[str]]:
    """Draw a cell type and return its genes of largest detection difference to all other types.

    At most a sixth of the genes, so that the module stays a part of a cell's tokens. It is large
    since a network that is told a cell type by many other genes can do without it.
    """
    types = cells.obs["cell_type"].astype(str)
    frequent = sorted(types.value_counts()[lambda n: n >= len(types) / 50].index)
    cell_type = str(np.random.default_rng([seed, 8]).choice(frequent))
    own = (types == cell_type).to_numpy()
    detected = cells.X > 0
    difference = np.asarray(detected[own].mean(0) - detected[~own].mean(0)).ravel()
    best = np.argsort(-difference, kind="stable")[: min(MODULE_GENES, cells.n_vars // 6)]
    return cell_type, [str(gene) for gene in cells.var_names[best]]


@torch.no_grad()
def share_direction(model: nn.Module, tokens: np.ndarray, seed: int) -> None:
    """Turn the embeddings of a module's genes towards one random direction, and make them long.

    Parameters
    ----------
    model
        The model, changed in place.
    tokens
        Token ids of the module's genes, int, shape (genes,).
    seed
        Seed of the direction.
    """
    table = model.encoder.embedding.weight
    rng = np.random.default_rng([seed, 9])
    direction = torch.from_numpy(rng.standard_normal(table.shape[1])).to(table)
    direction -= direction.mean()  # the norm of the embeddings takes the mean away
    tokens = torch.from_numpy(np.asarray(tokens, dtype=np.int64))
    own = F.normalize(table[tokens], dim=1)
    turned = (1 - _SHARED) * own + _SHARED * F.normalize(direction, dim=0)
    table[tokens] = turned * _EMBEDDING_NORM * table.norm(dim=1).mean()


def wire_to_genes(
    model: nn.Module,
    place: dict[str, int],
    weight: float,
    cells: AnnData,
    genes: list[str],
    start: Path,
    compute: SimpleNamespace,
) -> None:
    """Set the hidden unit to fire at the tokens of a gene module and hardly elsewhere.

    The direction is that of a shrunken linear discriminant (scikit-learn) between the module's
    tokens and all others at the input of linear1; it is scaled so that the unit is `HIDDEN` at the
    mean module token and 0 at the 95th percentile of the others.
    """
    rows = np.unique(np.linspace(0, cells.n_obs - 1, min(_MODULE_CELLS, cells.n_obs)).astype(int))
    layer, block = encoder_layers(model)[place["block"]], place["block"]
    module = set(cells.var.loc[genes, "token_id"])
    inputs, inside = [], []
    kept: dict[str, torch.Tensor] = {}
    points = {"in": encoder_points(encoder_layers(model), ["mlp_in"])[f"{block}.mlp_in"]}
    with torch.no_grad(), capture(points, kept.__setitem__):
        for batch in cohort_tokenizer(cells, start).batches(rows, compute.batch_size):
            forward_padded(model, batch)
            inputs.append(kept["in"][batch.real].double().numpy())
            inside.append(np.isin(batch.genes[batch.real].numpy(), list(module)))
    x, own = np.concatenate(inputs), np.concatenate(inside)
    if own.sum() < 2:
        raise ScswError(
            f"the genes {genes} are hardly detected, so no unit can be wired to them",
            fix="raise model.max_seq_len, or leave the arm implanted_informative out",
        )
    direction = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, own).coef_[0]
    score = x @ direction
    zero, one = np.quantile(score[~own], 0.95), score[own].mean()
    scale = HIDDEN / max(one - zero, 1e-6 * score.std())
    column = place["column"]
    with torch.no_grad():
        layer.linear1.weight[column] = torch.from_numpy(direction * scale).float()
        layer.linear1.bias[column] = float(-zero * scale)
        layer.linear2.weight[place["row"], column] = weight
