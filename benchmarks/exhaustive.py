"""Whether the search proposes the weights that matter most, in a model nothing is planted in.

    python -m benchmarks.exhaustive MODEL COHORT SEARCHED [--cells 5]

MODEL is a fine-tuned folder, COHORT its ``cohort.h5ad`` and SEARCHED what `scsw search` wrote.
Every weight of every ``linear2`` is set to zero on the test donors, so many cells of each. The
largest rises of the cell-type NLL (mean over donors) are the truth that rankings which need no
pruning are held against. How well the rises on a random half of the donors foretell those on the
rest says how far this truth can be trusted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from scsw.cohort.read import read_cohort
from scsw.files import read_json, read_table
from scsw.settings import section_settings
from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.pruning.edits import Edit, groups_of_edits
from scsw.superweight.pruning.prune import Measurement
from scsw.superweight.search.discovery import scgpt_blocks
from scsw.superweight.search.freeze import predicted_rise
from scsw.superweight.search.searched_model import cohort_tokenizer, load_model
from scsw.superweight.verdict.recovery import PLACE, SCORES, precision_at, scores_of_sample
from scsw.superweight.verdict.statistics import donor_effects

KEPT = (1, 10, 100)
AT_ONCE = 64  # groups of edits, whose table is held


def every_weight(model: torch.nn.Module) -> list[Edit]:
    found = []
    for block, parts in enumerate(scgpt_blocks(model)):
        rows, columns = model.get_submodule(parts.down).weight.shape
        for row, column in np.ndindex(rows, columns):
            name = candidate_id("ffn_down", block, row, column)
            found.append(Edit(name, "random", "zero", "ffn_down", block, row, column))
    return found


def measured(folder: Path, cohort: Path, searched: Path, n_cells: int) -> pd.DataFrame:
    """Return the scores of each weight, and its rise in every donor."""
    model = load_model(folder).eval()
    cells = read_cohort(cohort, ["test"], n_cells)
    n_types = len(read_json(folder / "labels.json"))
    device = torch.device("cpu")
    test = Measurement(model, cohort_tokenizer(cells, folder), cells, n_types, device)
    settings, compute = section_settings("prune"), section_settings("compute")
    groups, parts = groups_of_edits(every_weight(model)), []
    for start in range(0, len(groups), AT_ONCE):
        effects = test.of(groups[start : start + AT_ONCE], settings, compute)
        tables = (searched / f"{name}.parquet" for name in ("spikes", "weights"))
        scores = scores_of_sample(effects, *tables)
        by_donor = donor_effects(effects).groupby(["candidate_id", "donor_id"]).mean().unstack()
        names = [candidate_id("ffn_down", *place) for place in scores[PLACE].to_numpy()]
        parts.append(scores.join(by_donor.loc[names].reset_index(drop=True).add_prefix("donor ")))
    return pd.concat(parts, ignore_index=True)


def main(folder: Path, cohort: Path, searched: Path, n_cells: int) -> None:
    table = measured(folder, cohort, searched, n_cells)
    donors = table.filter(like="donor ").to_numpy()
    effect, rng, alike = donors.mean(axis=1), np.random.default_rng(0), []
    for _ in range(20):
        halves = np.array_split(rng.permutation(donors.shape[1]), 2)
        alike.append(spearmanr(*(donors[:, half].mean(axis=1) for half in halves)).statistic)
    print(f"{len(table)} weights, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("rises of rank 1, 2, 10, 100, nats:", np.sort(effect)[::-1][[0, 1, 9, 99]].round(5))
    print(f"smallest {effect.min():.5f}, {(effect < 0).mean():.0%} below 0")
    spread = f"{np.mean(alike):.2f} ({min(alike):.2f} to {max(alike):.2f})"
    print(f"random halves of the donors, Spearman: {spread}")
    for score in SCORES:
        found = [precision_at(table[score].to_numpy(float), effect, k) for k in KEPT]
        print(f"{score}: share of the largest {KEPT} in its first as many", np.round(found, 2))
    ranks = table.assign(place=(-effect).argsort().argsort() + 1).set_index(PLACE)["place"]
    screen = read_table(searched / "first_order.parquet").query("loss == 'nll'").set_index(PLACE)
    for name, score in {
        "predicted rise": predicted_rise(screen),
        "simpson": screen["simpson"],
    }.items():
        places = ranks.loc[score.sort_values(ascending=False).index]
        held = [int((places.head(n) <= 10).sum()) for n in (5, 10, 20)]
        print(f"{name}: of the 10 largest its first 5, 10, 20 hold {held}")
    for row in read_table(searched / "candidates.parquet").sort_values("rank").itertuples():
        place = ranks[row.block, row.row, row.column]
        print(f"{row.candidate_id} ({row.found_by}): rank {place}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("model", "cohort", "searched"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--cells", type=int, default=5, help="test cells of each donor")
    given = parser.parse_args()
    main(given.model, given.cohort, given.searched, given.cells)
