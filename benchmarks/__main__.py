"""``make bench``: the benchmarks that this machine can run."""

import subprocess
import sys

import torch

BENCHMARKS = [
    ["ablation", "--size", "demo"],
    ["ablation", "--size", "half"],
    ["tokens"],
    ["mixing"],
]
ON_A_GPU = [["model"], ["gpu_chain"], ["gpu_chain", "--full"]]

for name, *options in BENCHMARKS + ON_A_GPU * torch.cuda.is_available():
    print(f"== python -m benchmarks.{name} {' '.join(options)}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=True)
