"""Run the model steps on a GPU and on CPU with the same model, and compare what they say.

    python -m benchmarks.gpu_chain [--full]

Without ``--full`` a tiny model is fine-tuned once on the GPU; search and pruning then run on both
devices, and the candidates and effects are compared. ``--full`` times one scGPT-sized model
(12 x 512 x 8) on the GPU alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from scsw.files import read_table
from tests.tiny import write_cohort

SEARCH = {"max_candidates": 6, "first_order": 2}
PRUNE = {"n_controls": 119, "control_scope": "all_blocks"}
TINY = {"embsize": 32, "nheads": 4, "d_hid": 32, "nlayers": 3, "max_seq_len": 48}
FULL = {"embsize": 512, "nheads": 8, "d_hid": 512, "nlayers": 12, "max_seq_len": 1200}


def scsw(*arguments: object) -> float:
    """Run one step and return its seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "scsw.cli", *map(str, arguments)], check=True)
    return time.perf_counter() - started


def config(device: str, model: dict, steps: int) -> str:
    tune = {"epochs": 1000, "max_steps": steps, "lr": 0.001 if model is FULL else 0.003}
    sections = {"model": model, "finetune": tune, "search": SEARCH, "prune": PRUNE}
    return json.dumps(sections | {"compute": {"device": device, "batch_size": 16}})


def chain(folder: Path, device: str, settings: str, *, tune: bool) -> dict[str, float]:
    """Run the steps in a folder that holds cohort.h5ad; return the seconds of each."""
    cohort, out, times = folder / "cohort.h5ad", folder / device, {}
    if tune:
        scsw("init", "--cohort", cohort, "--out", folder / "init", "--config", settings)
        times["finetune"] = scsw(
            "finetune", folder / "init", "--cohort", cohort, "--out", folder / "model",
            "--config", settings,
        )  # fmt: skip
    common = ["--cohort", cohort, "--config", settings]
    times["search"] = scsw("search", folder / "model", *common, "--out", out / "search")
    candidates = ["--candidates", folder / "cuda" / "search" / "candidates.parquet"]
    searched = ["--searched", folder / "cuda" / "search"]
    times["prune"] = scsw(
        "prune", folder / "model", *common, *searched, "--out", out / "prune" / "0.parquet"
    )
    times["map"] = scsw("map", folder / "model", *common, *candidates, "--out", out / "map")
    return times


def compare(folder: Path) -> None:
    found = {d: read_table(folder / d / "search" / "candidates.parquet") for d in ("cuda", "cpu")}
    same = [c in set(found["cpu"]["candidate_id"]) for c in found["cuda"]["candidate_id"]]
    print(f"candidates of the GPU found on CPU too: {sum(same)} of {len(same)}")
    effects = {d: read_table(folder / d / "prune" / "0.parquet") for d in ("cuda", "cpu")}
    for detailed in (True, False):  # in float32; on a GPU through the kernels in bf16
        rise = [
            t.loc[t["predicted_counts"].notna() == detailed, "sum_d_nll"].to_numpy()
            for t in effects.values()
        ]
        apart, largest = np.abs(rise[0] - rise[1]).max(), np.abs(rise[1]).max()
        what = "candidates" if detailed else "controls"
        print(f"largest difference of a summed NLL rise, {what}: {apart:.2e} of {largest:.2e} nats")
        print(f"    Spearman of the rises: {spearmanr(*rise).statistic:.5f}")


def main() -> None:
    full = "--full" in sys.argv
    print("device:", torch.cuda.get_device_name(), "torch", torch.__version__)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_cohort(folder, n_genes=2400 if full else 120, cells=12 if full else 6)
        settings = config("cuda", FULL if full else TINY, 100)
        times = {"cuda": chain(folder, "cuda", settings, tune=True)}
        if not full:
            times["cpu"] = chain(folder, "cpu", config("cpu", TINY, 100), tune=False)
            compare(folder)
        for device, seconds in times.items():
            shown = {step: round(s, 1) for step, s in seconds.items()}
            print(device, "seconds with start-up:", shown)
        for path in sorted(folder.glob("**/*.provenance.json")):
            record = json.loads(path.read_text())
            peak = record["peak_gpu_bytes"] / 2**30
            print(
                f"{record['step']}: {record['device']}, {record['wall_seconds']} s, {peak:.2f} GiB"
            )


if __name__ == "__main__":
    main()
