"""A simulated cohort and a model trained on it, by the product's own steps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from scsw.cohort.preprocess import preprocess
from scsw.cohort.simulation.simulate import simulate
from scsw.files import read_table, write_table
from scsw.scgpt.finetune import finetune
from scsw.scgpt.init import init
from scsw.superweight.pruning.prune import prune
from scsw.superweight.search.search import search
from scsw.superweight.verdict.verdicts import judge

COHORT = "simulated"


def start(folder: Path, options: dict[str, int], settings: SimpleNamespace, seed: int) -> Path:
    """Simulate and preprocess a cohort, write the starting model, return the cohort's file.

    Parameters
    ----------
    folder
        Written are ``cohort.h5ad`` and what belongs to it, and ``init/``.
    options
        Of `scsw.cohort.simulation.simulate.simulate`.
    settings
        Sections of the config.
    seed
        Of the donors, the nuclei and the starting weights.
    """
    raw = folder / "raw.h5ad"
    simulate(raw, source="sea_ad", seed=seed, **options)
    preprocess(
        raw,
        folder,
        cohort=COHORT,
        source="sea_ad",
        settings=settings.preprocess,
        simulated=True,
        training=True,
    )
    cohort = folder / "cohort.h5ad"
    init(cohort, folder / "init", model=settings.model, seed=seed)
    return cohort


def train_and_search(
    begun: Path, cohort: Path, folder: Path, settings: SimpleNamespace, *, arm: str, seed: int
) -> None:
    """Fine-tune from the folder `begun` and search: ``model/`` and ``search/`` of `folder`.

    Candidates of other families than single weights of linear2 get no verdict and are left out.
    """
    both = {"compute": settings.compute, "arm": arm, "seed": seed}
    finetune(begun, cohort, folder / "model", settings=settings.finetune, **both)
    given = {"settings": settings.search, "start": begun, **both}
    search(folder / "model", cohort, folder / "search", **given)
    families = folder / "search" / "families.parquet"
    write_table(read_table(families).head(0), families)


def prune_and_judge(
    folder: Path,
    cohort: Path,
    searched: Path,
    out: Path,
    settings: SimpleNamespace,
    *,
    arm: str,
    seed: int,
) -> None:
    """Ablate the candidates of the folder `searched` and judge them, into `out`."""
    shard = out / "shard.parquet"
    given = {"search": settings.search, "settings": settings.prune, "compute": settings.compute}
    prune(folder / "model", cohort, searched, shard, **given, arm=arm, seed=seed)
    judge_shard(folder, cohort, searched, shard, out, settings)


def judge_shard(
    folder: Path, cohort: Path, searched: Path, shard: Path, out: Path, settings: SimpleNamespace
) -> None:
    """Judge the candidates of `searched` by their measured effects, into `out`."""
    judge(
        [shard],
        searched / "candidates.parquet",
        cohort,
        out,
        model=folder / "model",
        spikes=searched / "spikes.parquet",
        weights=searched / "weights.parquet",
        search=settings.search,
        prune=settings.prune,
        statistics=settings.statistics,
    )


def performance(folder: Path) -> dict[str, float]:
    """Return accuracy and NLL (nats) on the test cells, means over donors."""
    table = read_table(folder / "model" / "performance.parquet")
    whole = (table[["donor_id", "cell_type"]] == "all").all(axis=1)
    scgpt = (table["split"] == "test") & (table["predictor"] == "scgpt")
    own = table[whole & scgpt].set_index("metric")["donor_mean"]
    return {"accuracy": own["accuracy"], "nll": own["nll"]}
