"""scsw's tokenizer and loader against scGPT's ``DataCollator``, on one CPU thread.

    python -m benchmarks.tokens [--cells N] [--batch-size N] [--repeats N]

Made-up cells with 500 to 4,000 detected genes of 30,000, at most 1,200 tokens each, 40 % of the
values hidden. Both sides bin the raw counts, sample genes, hide values and make a batch. The
package's ``DataCollator`` (binning, sampling, masking, padding) gets each cell's genes and counts
as tensors, as in its tutorials; *from counts* adds the making of these tensors from the CSR rows,
which scsw's times always contain. All tools take turns, and the median of the repeats is given.

The last rows are the loader of fine-tuning (``scsw.scgpt.training.training_batches``) over one
epoch in shuffled order: of cells in memory, as the package's are; of cells that are read from a
compressed ``cohort.h5ad`` in blocks, which the package cannot do; and the same in a process of its
own, where its rate is what a GPU can be fed with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse

import scsw.scgpt  # noqa: F401  (makes `import scgpt` possible)
from scsw.cohort.cohort_file import cohort_file
from scsw.scgpt.tokens.streamed_rows import StreamedRows
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.scgpt.training.training_batches import training_batches
from scsw.scgpt.training.training_cells import TrainingCells
from scsw.settings import section_settings

N_GENES, MAX_SEQ_LEN, N_BINS, MASK_RATIO = 30_000, 1200, 51, 0.4
PAD, CLS, FIRST_GENE = 0, 1, 2
COLLATOR, FROM_COUNTS = "scgpt DataCollator", "scgpt DataCollator, from counts"
PACKED, PADDED = "scsw Tokenizer, packed", "scsw Tokenizer, padded"
IN_MEMORY = "scsw loader, in memory"
LOADER, AHEAD = "scsw loader, from disk", "scsw loader, from disk, 1 worker"


def made_up_cells(n_cells: int) -> AnnData:
    """Return cells with a median of 1,800 detected genes; most counts are 1, a few above 1,000."""
    random = np.random.default_rng(0)
    detected = np.clip(random.lognormal(np.log(1800), 0.6, n_cells), 500, 4000).astype(int)
    bounds = np.concatenate([[0], detected.cumsum()])
    columns = [np.sort(random.choice(N_GENES, n, replace=False)) for n in detected]
    counts = np.minimum(random.zipf(2.2, bounds[-1]), 5000).astype(np.int32)
    matrix = sparse.csr_matrix((counts, np.concatenate(columns), bounds), (n_cells, N_GENES))
    names = [f"cell{i}" for i in range(n_cells)]
    obs = pd.DataFrame(
        {"cell_id": names, "donor_id": "a", "cell_type": "a", "split": "train"}, index=names
    )
    var = pd.DataFrame(
        {"token_id": np.arange(N_GENES) + FIRST_GENE}, index=[f"g{i}" for i in range(N_GENES)]
    )
    return AnnData(matrix, obs=obs, var=var)


def tokenizer(cells: AnnData, rows: StreamedRows | None = None) -> Tokenizer:
    return Tokenizer(
        cells, ["a"], {"<pad>": PAD, "<cls>": CLS}, n_bins=N_BINS, max_seq_len=MAX_SEQ_LEN,
        include_zero_gene=False, seed=0, rows=rows,
    )  # fmt: skip


def examples(counts: sparse.csr_matrix, start: int, stop: int) -> list[dict[str, torch.Tensor]]:
    """Return cells as the package's collator wants them, `<cls>` first."""
    made = []
    for cell in range(start, stop):
        own = slice(counts.indptr[cell], counts.indptr[cell + 1])
        genes = np.insert(counts.indices[own].astype(np.int64) + FIRST_GENE, 0, CLS)
        values = np.insert(counts.data[own].astype(np.float32), 0, 0)
        made.append({"genes": torch.from_numpy(genes), "expressions": torch.from_numpy(values)})
    return made


def collated(cells: AnnData, size: int, made_before: bool) -> Callable[[], Iterator[int]]:
    """Return a pass of the package over all cells, which yields the real tokens of each batch."""
    from scgpt.data_collator import DataCollator

    collate = DataCollator(
        pad_token_id=PAD, pad_value=-2, mlm_probability=MASK_RATIO, max_length=MAX_SEQ_LEN
    )
    starts = range(0, cells.n_obs, size)
    batches = (examples(cells.X, start, min(start + size, cells.n_obs)) for start in starts)
    batches = list(batches) if made_before else batches  # binning overwrites them: used once
    return lambda: (int((collate(batch)["gene"] != PAD).sum()) for batch in batches)


def tokenised(make: Tokenizer, size: int, padded: bool) -> Callable[[], Iterator[int]]:
    cells = np.arange(len(make))
    if padded:
        return lambda: (
            int(batch.real.sum()) for batch in make.batches(cells, size, mask_ratio=MASK_RATIO)
        )
    return lambda: (
        batch.n_tokens for batch in make.packed_batches(cells, size, mask_ratio=MASK_RATIO)
    )


def loaded(
    cells: AnnData, path: Path | None, size: int, workers: int = 0
) -> Callable[[], Iterator[int]]:
    given = {"batch_size": size, "epochs": 1, "mask_ratio": MASK_RATIO}
    rows = StreamedRows(path, np.arange(cells.n_obs)) if path else None
    training = TrainingCells(tokenizer(cells, rows), cells, section_settings("finetune", given))
    return lambda: (batch.n_tokens for batch in training_batches(training, workers=workers))


def written(cells: AnnData, path: Path) -> Path:
    with cohort_file(path, N_GENES) as file:
        for start in range(0, cells.n_obs, 1000):
            file.append(cells.X[start : start + 1000])
        file.finish(cells.obs, cells.var, {}, {})
    return path


def timed(run: Callable[[], Iterator[int]]) -> tuple[float, int]:
    """Return seconds and tokens of a pass."""
    started = time.perf_counter()
    tokens = sum(run())
    return time.perf_counter() - started, tokens


def measure(cells: AnnData, path: Path, size: int, repeats: int) -> pd.DataFrame:
    """Return the median time of each tool per cell, its tokens per second, and the ratios."""
    make = tokenizer(cells)
    tools = {
        COLLATOR: lambda: collated(cells, size, made_before=True),
        FROM_COUNTS: lambda: collated(cells, size, made_before=False),
        PACKED: lambda: tokenised(make, size, padded=False),
        PADDED: lambda: tokenised(make, size, padded=True),
        IN_MEMORY: lambda: loaded(cells, None, size),
        LOADER: lambda: loaded(cells, path, size),
        AHEAD: lambda: loaded(cells, path, size, workers=1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in tools}
    found = {}
    for _ in range(repeats):
        for name, prepare in tools.items():
            taken, found[name] = timed(prepare())
            seconds[name].append(taken)
    if len(set(found.values())) > 1:
        raise SystemExit(f"the tools do not give the same number of tokens: {found}")
    table = pd.DataFrame(
        {"tool": list(tools), "seconds": [statistics.median(s) for s in seconds.values()]}
    )
    table["us_per_cell"] = table["seconds"] / cells.n_obs * 1e6
    table["cells_per_second"] = cells.n_obs / table["seconds"]
    table["tokens_per_second"] = found[PACKED] / table["seconds"]
    for name, column in ((COLLATOR, "ratio"), (FROM_COUNTS, "ratio_from_counts")):
        table[column] = table.loc[table["tool"] == name, "seconds"].item() / table["seconds"]
    return table


def markdown(table: pd.DataFrame) -> str:
    lines = [
        "| tool | µs a cell | cells/s | million tokens/s | ratio | ratio, from counts |",
        "|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        lines.append(
            f"| {row.tool} | {row.us_per_cell:.0f} | {row.cells_per_second:,.0f} "
            f"| {row.tokens_per_second / 1e6:.1f} | {row.ratio:.1f} "
            f"| {row.ratio_from_counts:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=8192)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("results/benchmarks/tokens.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["SCSW_THREADS"] = "1"  # one thread decompresses
    cells = made_up_cells(given.cells)
    with tempfile.TemporaryDirectory() as folder:
        path = written(cells, Path(folder, "cohort.h5ad"))
        table = measure(cells, path, given.batch_size, given.repeats)
    facts = {
        "cells": given.cells,
        "batch_size": given.batch_size,
        "detected_genes": round(cells.X.nnz / given.cells),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("scgpt", "torch", "numpy")},
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": facts, "table": json.loads(table.to_json(orient="records"))}
    given.json.write_text(json.dumps(found, indent=2) + "\n")
    print("\n" + ", ".join(f"{name} {value}" for name, value in facts.items()) + "\n")
    print(markdown(table))


if __name__ == "__main__":
    main()
