"""``make bench``: the benchmarks that this machine can run."""

import subprocess
import sys

import torch

BENCHMARKS = [
    ["ablation", "--size", "demo"],
    ["ablation", "--size", "half"],
    ["tokens"],
    ["mixing"],
    ["search", "--cpu"],
    ["gated"],
]
ON_A_GPU = [["model"], ["search"], ["gpu_chain"], ["gpu_chain", "--full"], ["components"]]
ON_TWO = [["model", "--gpus", "2"]]

n_gpus = torch.cuda.device_count()
for name, *options in BENCHMARKS + ON_A_GPU * (n_gpus > 0) + ON_TWO * (n_gpus > 1):
    print(f"== python -m benchmarks.{name} {' '.join(options)}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=True)
