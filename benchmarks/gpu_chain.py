"""Run the model steps on a GPU and on CPU with the same model, and compare what they say.

    python -m benchmarks.gpu_chain [--full]

Without ``--full`` a tiny model is fine-tuned once on the GPU; the other steps then run on both
devices, and their tables are compared. ``--full`` times each step on the GPU alone, with an
scGPT-sized model (12 x 512 x 8, vocabulary 60,697, up to 1,200 tokens) and the default settings but
for the steps of fine-tuning, on few cells.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from benchmarks import devices
from scsw.files import read_table
from tests.tiny import write_cohort

TINY = {"embsize": 32, "nheads": 4, "d_hid": 32, "nlayers": 3, "max_seq_len": 48}
FULL = {"embsize": 512, "nheads": 8, "d_hid": 512, "nlayers": 12, "max_seq_len": 1200}
FULL_CELLS = {"train": (12, 2048), "validation": (2, 32), "discovery": (6, 120), "test": (12, 120)}
SMALL_RUN = {
    "search": {"max_candidates": 6, "first_order": 2},
    "prune": {"n_controls": 119, "control_scope": "all_blocks"},
    "map": {"n_controls": 60, "n_write_out_controls": 60},
}


def scsw(folder: Path, *arguments: object) -> None:
    """Run a step that writes into `folder`; tell its seconds, without start-up, and its memory."""
    subprocess.run([sys.executable, "-m", "scsw.cli", *map(str, arguments)], check=True)
    newest = max(folder.glob("**/*.provenance.json"), key=lambda path: path.stat().st_mtime_ns)
    told = json.loads(newest.read_text())
    peak = told["peak_gpu_bytes"] / 2**30
    seconds = told["wall_seconds"]
    print(f"{told['step']}: {told['device']}, {seconds} s, {peak:.2f} GiB", flush=True)


def config(device: str, full: bool) -> str:
    """Return the settings: the defaults of a study for the full size, otherwise small ones."""
    tune = {"epochs": 1000, "max_steps": 100, "lr": 0.001 if full else 0.003}
    sections = {"model": FULL if full else TINY, "finetune": tune}
    sections |= {} if full else SMALL_RUN
    return json.dumps(sections | {"compute": {"device": device, "batch_size": 32 if full else 16}})


def chain(folder: Path, device: str, settings: str, *, tune: bool) -> None:
    """Run the model steps in a folder that holds cohort.h5ad, and tell what each took.

    The candidates are those that the GPU found, on both devices.
    """
    out, common = folder / device, ["--cohort", folder / "cohort.h5ad", "--config", settings]
    model, searched = folder / "model", folder / "cuda" / "search"
    candidates = ["--candidates", searched / "candidates.parquet"]
    if tune:
        scsw(folder, "init", *common, "--out", folder / "init")
        scsw(folder, "finetune", folder / "init", *common, "--out", model)
    scsw(folder, "search", model, *common, "--out", out / "search")
    pruned = ["--searched", searched, "--out", out / "prune" / "0.parquet"]
    scsw(folder, "prune", model, *common, *pruned)
    scsw(folder, "map", model, *common, *candidates, "--out", out / "map")
    scsw(folder, "components", model, *common, *candidates, "--out", out / "components")
    scsw(folder, "quantize", model, *common, *candidates, "--out", out / "quantized.parquet")


def compare(folder: Path) -> None:
    """Print how far the tables of GPU and CPU are apart."""

    def both(name: str) -> list[pd.DataFrame]:
        return [read_table(folder / device / name) for device in ("cuda", "cpu")]

    found, on_cpu = both("search/candidates.parquet")
    same = found["candidate_id"].isin(on_cpu["candidate_id"])
    print(f"candidates of the GPU found on CPU too: {same.sum()} of {len(same)}")
    effects = both("prune/0.parquet")
    for detailed in (True, False):
        rows = [t[t["predicted_counts"].notna() == detailed] for t in effects]
        what = "candidates" if detailed else "controls"
        apart(f"summed NLL rise, {what}", *[t["sum_d_nll"] for t in rows])
    scores = both("map/gene_scores.parquet")
    for view in scores[1]["view"].unique():
        rows = [t[t["view"] == view] for t in scores]
        apart(f"z of genes, {view}", *[t["z"] for t in rows])
    for measure in ("contribution", "spike"):
        apart(f"donor {measure}", *[t[measure] for t in both("map/donor_scores.parquet")])
    for measure in ("effect_nll", "control_nll"):
        rows = both("components/component_effects.parquet")
        apart(f"components, {measure}", *[t[measure] for t in rows])
    rows = both("quantized.parquet")
    apart("quantized, sum of NLL", *[t["sum_nll"] for t in rows])


def apart(what: str, one: pd.Series, other: pd.Series) -> None:
    one, other = one.to_numpy(float), other.to_numpy(float)
    if one.shape != other.shape:
        print(f"{what}: {len(one)} and {len(other)} rows")
        return
    largest, rho = np.nanmax(np.abs(other)), spearmanr(one, other, nan_policy="omit").statistic
    print(
        f"{what}: apart {np.nanmax(np.abs(one - other)):.1e} at most, of {largest:.1e};"
        f" missing in one only: {(np.isnan(one) != np.isnan(other)).sum()}; Spearman {rho:.5f}"
    )


def main() -> None:
    full = "--full" in sys.argv
    print("device:", torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if full:
            devices.write_cohort(folder, FULL["max_seq_len"], FULL_CELLS)
        else:
            write_cohort(folder, n_genes=120, cells=6)
        chain(folder, "cuda", config("cuda", full), tune=True)
        if not full:
            chain(folder, "cpu", config("cpu", full), tune=False)
            compare(folder)


if __name__ == "__main__":
    main()
