"""Settings of the steps that look at the tiny model, and the calls that need many of them."""

from scsw.settings import section_settings
from scsw.superweight.pruning.prune import prune
from scsw.superweight.verdict.verdicts import judge
from tests.tiny import COMPUTE

SMALL = {"first_order_top": 30, "gradient_cells": 24}
SEARCH = section_settings("search", {"max_candidates": 6, "first_order": 2, **SMALL})
PRUNE = section_settings(
    "prune",
    {"n_controls": 119, "control_scope": "all_blocks", "shards": 2, "n_matched": 5, "n_noise": 5}
    | {"n_family_controls": 4},
)
STATISTICS = section_settings("statistics", {"bootstrap": 500})


def prune_shard(tuned, searched, out, *, settings=PRUNE, compute=COMPUTE, shard=0):
    given = {"search": SEARCH, "settings": settings, "compute": compute, "shard": shard}
    prune(tuned.model, tuned.cohort, searched, out, **given)


def judged(tuned, searched, shards, out):
    judge(
        shards,
        searched / "candidates.parquet",
        tuned.cohort,
        out,
        model=tuned.model,
        spikes=searched / "spikes.parquet",
        weights=searched / "weights.parquet",
        search=SEARCH,
        prune=PRUNE,
        statistics=STATISTICS,
    )
    return out
