"""Time the step `components` with scsw's kernels in bf16 against float32, on one GPU.

    python -m benchmarks.components [--tiny]

One scGPT-sized model (12 x 512 x 8, 60,697 tokens) as `scsw init` draws it, whose components have
effects, which those of a model trained for some hundred steps on made-up cells have not. The step
runs three times, the first time to compile. The peer is the same step with the kernels left out.
``--tiny`` is a try of the script on any machine; without a GPU both run in float32.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from scipy.stats import spearmanr

from benchmarks import devices
from benchmarks.gpu_chain import FULL_CELLS, config, scsw
from scsw.biology.components.components import components
from scsw.files import read_table, write_table
from scsw.settings import section_settings
from tests.tiny import write_cohort

FAMILY = {
    "candidate_id": "ffn_down.b1.r3.c5", "family": "ffn_down", "block": 1, "row": 3, "column": 5,
    "found_by": "spike", "site": "mlp_out", "rank": 1,
}  # fmt: skip


def seconds(folder: Path, out: str, device: str) -> float:
    """Run the step with default settings; return its seconds."""
    sections = {name: section_settings(name) for name in ("statistics", "map")}
    compute = section_settings("compute", {"device": device})
    started = time.perf_counter()
    components(
        folder / "model",
        folder / "cohort.h5ad",
        folder / "candidates.parquet",
        folder / out,
        settings=sections["map"],
        statistics=sections["statistics"],
        compute=compute,
    )
    return time.perf_counter() - started


def main() -> None:
    tiny, device = "--tiny" in sys.argv, "cuda" if torch.cuda.is_available() else "cpu"
    print("device:", torch.cuda.get_device_name() if device == "cuda" else device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if tiny:
            write_cohort(folder, n_genes=120)
        else:
            devices.write_cohort(folder, 1200, FULL_CELLS)
        common = ["--cohort", folder / "cohort.h5ad", "--config", config(device, not tiny)]
        scsw(folder, "init", *common, "--out", folder / "model")
        write_table(pd.DataFrame([FAMILY]), folder / "candidates.parquet")
        for name in ("compiled", "bf16"):
            print(name, round(seconds(folder, name, device), 1), "s", flush=True)
        without = "scsw.biology.components.component_effects.has_kernels"
        with mock.patch(without, return_value=False):
            print("float32", round(seconds(folder, "float32", device), 1), "s", flush=True)
        ours, theirs = (
            read_table(folder / name / "component_effects.parquet")["effect_nll"]
            for name in ("bf16", "float32")
        )
    relative = ((ours - theirs).abs() / theirs.abs()).median()
    print(f"largest effect {theirs.abs().max():.1e} nats")
    print(f"median relative difference {relative:.1e}")
    print(f"Spearman {spearmanr(ours, theirs).statistic:.4f}")


if __name__ == "__main__":
    main()
