"""`scsw preprocess` against scanpy in memory: time and peak memory of each as its own process.

    python -m benchmarks.preprocess [--sizes N ...] [--scsw-only N ...] [--repeats N]

Generated files in SEA-AD's layout (`benchmarks.preprocess_files`). The peer
(`benchmarks.preprocess_scanpy`) applies the same filters and writes the kept nuclei with gzip. It
runs in two ways: as is usual, and as by a careful user, who does not read `X`, which is not needed,
and has each copy's memory freed at once. All results must hold the same nuclei and genes, and of
each gene the same counts.

Each file is read once before each run, so that none has the gain of a file in the page cache over
another. Times are from the start of the process to its end, imports included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

SCSW, SCANPY, CAREFUL = "scsw", "scanpy", "scanpy, careful"
TOOLS = (SCSW, SCANPY, CAREFUL)
PART = 1 << 22  # values of a result that are read at once
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


@dataclass(frozen=True)
class Run:
    """One process: ``seconds``, ``peak`` (largest resident set) and ``size`` of the h5ad, bytes."""

    nuclei: int
    tool: str
    seconds: float
    peak: int
    size: int


def measure(file: Path, nuclei: int, tool: str, out: Path) -> Run:
    """Run a tool on a warm file and an idle disk."""
    with file.open("rb", buffering=0) as content:
        while content.read(PART):
            pass
    os.sync()
    seconds, peak = timed(command(tool, file, out))
    return Run(nuclei, tool, seconds, peak, result(tool, out).stat().st_size)


def command(tool: str, file: Path, out: Path) -> list[str]:
    """Return the command that writes the result of `file` into the folder `out`."""
    if tool == SCSW:
        scsw = str(Path(sys.executable).with_name("scsw"))
        return [scsw, "preprocess", str(file), "--out", str(out), "--source", "sea_ad",
                "--cohort", "bench"]  # fmt: skip
    peer = [sys.executable, "-m", "benchmarks.preprocess_scanpy", str(file), str(result(tool, out))]
    return peer + ["--careful"] * (tool == CAREFUL)


def result(tool: str, out: Path) -> Path:
    return out / ("cohort.h5ad" if tool == SCSW else "scanpy.h5ad")


def timed(command: list[str]) -> tuple[float, int]:
    """Run a process; return its seconds and its peak memory in bytes, all threads included."""
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n"
                             + output.read()[-4000:])  # fmt: skip
    # Linux counts in what this process held when the child was started.
    if usage.ru_maxrss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        raise SystemExit("the benchmark itself holds more memory than the process it measures")
    return seconds, usage.ru_maxrss * MAXRSS_UNIT


def content(path: Path) -> tuple[pd.Index, pd.DataFrame]:
    """Return the nuclei of a result, and the cells and counts of each gene, sorted by name."""
    with h5py.File(path) as file:
        obs, var = read_elem(file["obs"]), read_elem(file["var"])
        data, indices = file["X/data"], file["X/indices"]
        cells, counts = np.zeros(len(var), np.int64), np.zeros(len(var), np.int64)
        for start in range(0, len(data), PART):
            gene = indices[start : start + PART]
            cells += np.bincount(gene, minlength=len(var))
            values = np.bincount(gene, data[start : start + PART], minlength=len(var))
            counts += values.astype(np.int64)
    return obs.index, pd.DataFrame({"cells": cells, "counts": counts}, index=var.index).sort_index()


def check_same(ours: Path, theirs: Path) -> None:
    """Raise unless two results hold the same nuclei in one order, and the same counts."""
    (our_nuclei, our_genes), (their_nuclei, their_genes) = content(ours), content(theirs)
    if list(our_nuclei) != list(their_nuclei):
        raise SystemExit(f"{len(our_nuclei)} and {len(their_nuclei)} nuclei, not the same ones")
    if not our_genes.equals(their_genes):
        raise SystemExit(
            f"{len(our_genes)} genes with {our_genes['counts'].sum()} counts in {ours}, and "
            f"{len(their_genes)} with {their_genes['counts'].sum()} in {theirs}"
        )
    print(
        f"   same result: {len(our_nuclei)} nuclei x {len(our_genes)} genes, "
        f"{our_genes['counts'].sum()} counts",
        flush=True,
    )


def check_apart(ours: Path, theirs: Path) -> None:
    """Run `check_same` in a process of its own: what it holds must not count in later measures."""
    process = multiprocessing.get_context("spawn").Process(target=check_same, args=(ours, theirs))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def compare(work: Path, nuclei: int, tools: tuple[str, ...], repeats: int) -> list[Run]:
    """Measure the tools on one file, the order turned round each time; check their results."""
    file = work / f"sea_ad_{nuclei}.h5ad"
    if not file.exists():
        print(f"== writing {file.name}", flush=True)
        generator = [sys.executable, "-m", "benchmarks.preprocess_files", str(file), str(nuclei)]
        if code := subprocess.run(generator).returncode:
            raise SystemExit(code)
    print(f"== {nuclei} nuclei, {file.stat().st_size / 1e9:.2f} GB", flush=True)
    runs = []
    with tempfile.TemporaryDirectory(dir=work) as outs:
        for repeat in range(repeats):
            for tool in tools[:: -1 if repeat % 2 else 1]:
                out = Path(outs, str(tools.index(tool)))
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                runs.append(measure(file, nuclei, tool, out))
                print(f"   {tool}: {runs[-1].seconds:.1f} s, {runs[-1].peak / 1e9:.2f} GB",
                      flush=True)  # fmt: skip
        ours, *others = (result(tool, Path(outs, str(i))) for i, tool in enumerate(tools))
        for other in others:
            check_apart(ours, other)
    return runs


def summarise(runs: list[Run]) -> pd.DataFrame:
    """Return each tool's median time and largest peak by size, and scanpy's ratios to scsw."""
    table = pd.DataFrame([asdict(run) for run in runs])
    table = table.groupby(["nuclei", "tool"], sort=False).agg(
        seconds=("seconds", statistics.median), peak=("peak", "max"), size=("size", "last")
    )
    ours = table.xs(SCSW, level="tool").reindex(table.index.get_level_values("nuclei"))
    is_peer = table.index.get_level_values("tool") != SCSW
    for name in ("seconds", "peak"):
        ratio = table[name].to_numpy() / ours[name].to_numpy()
        table[f"{name}_ratio"] = np.where(is_peer, ratio, np.nan)
    return table.reset_index()


def markdown(table: pd.DataFrame) -> str:
    lines = [
        "| nuclei | tool | seconds | peak memory, GB | result, GB | time ratio | memory ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        ratios = [f"{r:.1f}" if r == r else "" for r in (row.seconds_ratio, row.peak_ratio)]
        lines.append(
            f"| {row.nuclei:,} | {row.tool} | {row.seconds:.1f} | {row.peak / 1e9:.2f} "
            f"| {row.size / 1e9:.2f} | {' | '.join(ratios)} |"
        )
    ours = table[table["tool"] == SCSW].sort_values("nuclei")
    if len(ours) > 1:
        growth = ours["peak"].iloc[-1] / ours["peak"].iloc[0]
        sizes = [f"{n:,}" for n in ours["nuclei"].iloc[[0, -1]]]
        lines.append(f"\nPeak memory of scsw, {' to '.join(sizes)} nuclei: x {growth:.2f}")
    return "\n".join(lines)


def machine() -> dict[str, str | int]:
    """Return what the numbers depend on."""
    names = ("scsw", "scanpy", "anndata", "h5py", "numpy", "scipy")
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(allowed),
        "memory_gb": round(memory / 1e9, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[50_000, 100_000],
                        help="nuclei on which all are compared")  # fmt: skip
    parser.add_argument("--scsw-only", type=int, nargs="*", default=[],
                        help="nuclei on which scsw runs alone")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=1, help="runs of each; the median is given")
    parser.add_argument("--work", type=Path,
                        help="folder of the generated files, which are kept and used again; "
                        "otherwise a temporary one")  # fmt: skip
    parser.add_argument("--json", type=Path, default=Path("results/benchmarks/preprocess.json"))
    given = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for nuclei in given.sizes:
            runs += compare(work, nuclei, TOOLS, given.repeats)
        for nuclei in given.scsw_only:
            runs += compare(work, nuclei, (SCSW,), given.repeats)
    table = summarise(runs)
    facts = machine()
    given.json.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": facts, "runs": [asdict(run) for run in runs],
             "table": json.loads(table.to_json(orient="records"))}  # fmt: skip
    given.json.write_text(json.dumps(found, indent=2) + "\n")
    print("\n" + ", ".join(f"{name} {value}" for name, value in facts.items()) + "\n")
    print(markdown(table))


if __name__ == "__main__":
    main()
