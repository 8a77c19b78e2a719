"""Step `search`: spikes, candidates and their paths on the discovery donors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.errors import ScswError
from scsw.files import require, write_table
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers, load_model, read_vocabulary
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.scgpt.tokens.token_batch import TokenBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.capture import capture, encoder_points
from scsw.superweight.find import find_candidates, is_spike
from scsw.superweight.first_order import first_order_effects
from scsw.superweight.site_statistics import SiteStatistics

SITES = ["mlp_hidden", "mlp_out", "pre_norm2", "out", "attn_out"]


def search(
    model_folder: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    arm: str = "real",
    seed: int = 0,
) -> None:
    """Search a model for candidate weights; nothing of the test donors is read.

    Parameters
    ----------
    model_folder
        Fine-tuned scGPT folder.
    cohort
        ``cohort.h5ad``.
    out
        Folder for ``spikes.parquet``, ``candidates.parquet`` and ``paths.parquet``.
    settings, compute
        Sections ``search`` and ``compute`` of the config.
    arm, seed
        Written into every row.
    """
    model_folder, cohort, out = require(model_folder), require(cohort), Path(out)
    facts = cohort_facts(cohort)
    check_vocabulary(model_folder, facts)
    device = prepare(compute)
    with recorded(
        "search",
        out,
        inputs={"model": model_folder, "cohort": cohort},
        parameters={**vars(settings), **vars(compute), "arm": arm},
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        cells = read_cohort(cohort, ["discovery"], settings.max_cells_per_donor)
        if cells.n_obs == 0:
            raise ScswError(f"{cohort} holds no discovery cells", fix="raise preprocess.discovery")
        model = load_model(model_folder).to(device)
        tokenizer = cohort_tokenizer(cells, model_folder)
        statistics, groups = observe(model, tokenizer, cells, compute, device)
        names = token_names(model_folder)
        spikes = spike_table(statistics, groups, names)
        candidates = candidate_table(model, tokenizer, statistics, names, settings, compute, device)
        paths = path_table(candidates, spikes)
        keys = {"cohort": facts["cohort"], "arm": arm, "seed": seed}
        for name, table in (("spikes", spikes), ("candidates", candidates), ("paths", paths)):
            for position, (key, value) in enumerate(keys.items()):
                table.insert(position, key, value)
            write_table(table, out / f"{name}.parquet")


@torch.no_grad()
def observe(
    model: nn.Module,
    tokenizer: Tokenizer,
    cells: AnnData,
    compute: SimpleNamespace,
    device: torch.device,
) -> tuple[dict[str, SiteStatistics], dict[str, list[str]]]:
    """Pass over the cells once and return the statistics of every block and site.

    Returns
    -------
    dict
        `SiteStatistics` by ``{block}.{site}``.
    dict
        Names of the groups of each grouping, in order.
    """
    codes = {
        name: pd.Categorical(cells.obs[column].astype(str))
        for name, column in (("cell_type", "cell_type"), ("donor", "donor_id"))
    }
    groups = {name: list(code.categories) for name, code in codes.items()}
    sizes = {name: len(values) for name, values in groups.items()}
    layers = encoder_layers(model)
    points = encoder_points(layers, SITES)
    statistics = {
        name: SiteStatistics(
            layers[0].linear1.out_features if name.endswith("mlp_hidden") else model.d_model,
            sizes,
            positive_only=name.endswith("mlp_hidden"),
        )
        for name in points
    }
    batch: TokenBatch | None = None

    def receive(name: str, x: torch.Tensor) -> None:
        own = {key: code.codes[batch.cells.cpu().numpy()] for key, code in codes.items()}
        statistics[name].update(x, batch.real, batch.genes, batch.target, own)

    with capture(points, receive):
        for batch in tokenizer.batches(np.arange(len(tokenizer)), compute.batch_size):
            batch = batch.to(device)
            forward_padded(model, batch)
    unseen = sorted(name for name, site in statistics.items() if site.n_cells != len(tokenizer))
    if unseen:
        raise RuntimeError(f"these sites did not see every cell: {unseen}")
    return statistics, groups


def spike_table(
    statistics: dict[str, SiteStatistics], groups: dict[str, list[str]], names: dict[int, str]
) -> pd.DataFrame:
    """Return one row per site, channel and group (contract: ``spikes.parquet``)."""
    parts = []
    for key, site in statistics.items():
        block, place = key.split(".")
        median = site.site_median() or np.nan
        common = {"block": int(block), "site": place, "channel": np.arange(site.max.size)}
        parts.append(
            pd.DataFrame(
                common
                | {
                    "group_by": "all",
                    "group": "all",
                    "n_tokens": site.n_tokens,
                    "max": site.max,
                    "mean": site.sum_abs / site.n_tokens,
                    "q999": site.quantile(0.999),
                    "ratio": site.max / median,
                    "kurtosis": site.kurtosis(),
                    "stability": site.top / site.n_cells,
                    "top_gene": [names.get(int(gene), "") for gene in site.max_gene],
                    "top_bin": site.max_bin,
                }
            )
        )
        for group_by, values in groups.items():
            stored = site.groups[group_by]
            for index, group in enumerate(values):
                n_tokens = int(stored["tokens"][index])
                parts.append(
                    pd.DataFrame(
                        common
                        | {
                            "group_by": group_by,
                            "group": group,
                            "n_tokens": n_tokens,
                            "max": stored["max"][index],
                            "mean": stored["sum"][index] / max(n_tokens, 1),
                            "q999": np.nan,
                            "ratio": stored["max"][index] / median,
                            "kurtosis": np.nan,
                            "stability": np.nan,
                            "top_gene": "",
                            "top_bin": np.nan,
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def candidate_table(
    model: nn.Module,
    tokenizer: Tokenizer,
    statistics: dict[str, SiteStatistics],
    names: dict[int, str],
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
) -> pd.DataFrame:
    """Return the frozen family: spikes first, then the largest first-order predictions."""
    layers = encoder_layers(model)
    rows = np.arange(len(tokenizer))
    prefix = "transformer_encoder.layers"
    spiking = find_candidates(
        model,
        _Batches(tokenizer, rows, compute.batch_size, device),
        [f"{prefix}.{block}.linear2" for block in range(len(layers))],
        forward=forward_padded,
        token_mask=lambda batch: batch.real,
        sums=[f"{prefix}.{block}.norm2" for block in range(len(layers))],
        spike_ratio=settings.spike_ratio,
        min_share=settings.min_share,
        max_iterations=settings.max_iterations,
        max_candidates=settings.max_candidates,
    )
    spikes = is_spike(spiking, settings.spike_ratio, settings.min_share)
    spiking = spiking.assign(
        found_by=np.where(spikes, "spike", "below_rule"),
        top_gene=_genes_at(spiking, tokenizer, names, compute),
    )
    weights = [layer.linear2.weight for layer in layers]
    effects = first_order_effects(model, weights, tokenizer, rows, compute, device)
    table = _join_first_order(spiking, effects, weights, settings)
    blocks, channels = table["block"].to_numpy(), table["row"].to_numpy()
    columns = table["column"].to_numpy()
    hidden = [statistics[f"{block}.mlp_hidden"] for block in range(len(layers))]
    outputs = [statistics[f"{block}.mlp_out"] for block in range(len(layers))]
    table["candidate_id"] = [
        f"ffn_down.b{b}.r{r}.c{c}" for b, r, c in zip(blocks, channels, columns, strict=True)
    ]
    table["family"] = "ffn_down"
    table["first_order"] = [
        effects[b][r, c] for b, r, c in zip(blocks, channels, columns, strict=True)
    ]
    table["mean_hidden"] = [hidden[b].mean()[c] for b, c in zip(blocks, columns, strict=True)]
    medians = [site.site_median() or np.nan for site in outputs]
    hidden_medians = [site.site_median() or np.nan for site in hidden]
    table["spike_ratio"] = table["spike_ratio"].fillna(
        pd.Series([outputs[b].max[r] / medians[b] for b, r in zip(blocks, channels, strict=True)])
    )
    table["hidden_ratio"] = table["hidden_ratio"].fillna(
        pd.Series(
            [hidden[b].max[c] / hidden_medians[b] for b, c in zip(blocks, columns, strict=True)]
        )
    )
    table["stability"] = [
        (outputs[b].groups["donor"]["max"][:, r] / medians[b] >= settings.spike_ratio).mean()
        for b, r in zip(blocks, channels, strict=True)
    ]
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    order = (
        "rank candidate_id family block row column weight weight_z spike_ratio hidden_ratio "
        "contribution residual_share stability first_order mean_hidden found_by iteration top_gene"
    )
    return table[order.split()]


class _Batches:
    """Batches of some cells that can be walked more than once."""

    def __init__(
        self, tokenizer: Tokenizer, rows: np.ndarray, batch_size: int, device: torch.device
    ) -> None:
        self.tokenizer, self.rows, self.size, self.device = tokenizer, rows, batch_size, device

    def __iter__(self):
        for batch in self.tokenizer.batches(self.rows, self.size):
            yield batch.to(self.device)


def _genes_at(
    found: pd.DataFrame, tokenizer: Tokenizer, names: dict[int, str], compute: SimpleNamespace
) -> list[str]:
    """Return the token at which each spike was seen."""
    cells = found["batch"] * compute.batch_size + found["cell"]
    return [
        names[int(tokenizer.batch(np.array([cell])).genes[0, token])]
        for cell, token in zip(cells, found["token"], strict=True)
    ]


def _join_first_order(
    spiking: pd.DataFrame,
    effects: list[np.ndarray],
    weights: list[torch.Tensor],
    settings: SimpleNamespace,
) -> pd.DataFrame:
    """Fill the reserved places with the largest first-order predictions not already found.

    True spikes are never pushed out; channels below the stop rule make way.
    """
    reserved = min(settings.first_order, settings.max_candidates)
    true_spikes = int((spiking["found_by"] == "spike").sum())
    kept = spiking.head(max(true_spikes, settings.max_candidates - reserved))
    taken = set(zip(kept["block"], kept["row"], kept["column"], strict=True))
    rows = []
    flat = np.concatenate([effect.ravel() for effect in effects])
    starts = np.cumsum([0, *[effect.size for effect in effects]])
    for position in np.argsort(-flat, kind="stable"):
        if len(kept) + len(rows) >= settings.max_candidates:
            break
        block = int(np.searchsorted(starts, position, side="right") - 1)
        row, column = divmod(int(position - starts[block]), effects[block].shape[1])
        if (block, row, column) in taken:
            continue
        tensor = weights[block].detach().double()
        value = float(tensor[row, column])
        rows.append(
            {
                "block": block,
                "row": row,
                "column": column,
                "weight": value,
                "weight_z": (value - float(tensor.mean())) / float(tensor.std(correction=0)),
                "found_by": "first_order",
                "iteration": 0,
                "top_gene": "",
            }
        )
    quiet = kept.iloc[true_spikes:]
    parts = [kept.iloc[:true_spikes], pd.DataFrame(rows), quiet]
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    # With first-order finds alone the spike columns are missing: they are then all NaN.
    table = table.reindex(columns=spiking.columns.drop(["batch", "cell", "token"]))
    ratios = ["spike_ratio", "hidden_ratio", "contribution", "residual_share"]
    return table.astype(dict.fromkeys(ratios, "float64"))


def path_table(candidates: pd.DataFrame, spikes: pd.DataFrame) -> pd.DataFrame:
    """Follow each candidate's channel through its own and the later blocks."""
    sites = spikes[(spikes["group_by"] == "all") & spikes["site"].isin(["pre_norm2", "out"])].copy()
    sites["rank"] = sites.groupby(["block", "site"])["max"].rank(ascending=False, method="min")
    sites["rank"] = sites["rank"].astype(int)
    own = candidates[["candidate_id", "block", "row"]].rename(columns={"block": "onset"})
    joined = own.merge(sites, left_on="row", right_on="channel")
    joined = joined[joined["block"] >= joined["onset"]].rename(columns={"max": "amplitude"})
    order = ["candidate_id", "block", "site", "amplitude", "ratio", "rank"]
    return joined[order].sort_values(["candidate_id", "block", "site"]).reset_index(drop=True)


def token_names(folder: str | Path) -> dict[int, str]:
    """Return the token of each id."""
    return {index: token for token, index in read_vocabulary(folder).items()}
