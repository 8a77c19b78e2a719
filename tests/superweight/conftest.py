from types import SimpleNamespace

import pytest

from scsw.cohort.read import read_cohort
from scsw.scgpt.finetune import finetune
from scsw.scgpt.init import init
from scsw.scgpt.model import load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.settings import section_settings
from scsw.superweight.search.search import search
from tests.superweight.steps import SEARCH, prune_shard
from tests.tiny import COMPUTE, model_settings, write_cohort


@pytest.fixture(scope="session")
def tuned(tmp_path_factory):
    """Return a tiny fine-tuned model and its cohort."""
    folder = tmp_path_factory.mktemp("tuned")
    cohort = write_cohort(folder)
    init(cohort, folder / "init", model=model_settings(), seed=0)
    settings = section_settings(
        "finetune", {"epochs": 30, "max_steps": 80, "lr": 0.003, "batch_size": 8}
    )
    finetune(folder / "init", cohort, folder / "model", settings=settings, compute=COMPUTE)
    test = read_cohort(cohort, ["test"])
    return SimpleNamespace(
        cohort=cohort,
        init=folder / "init",
        model=folder / "model",
        network=load_model(folder / "model"),
        tokenizer=cohort_tokenizer(test, folder / "model"),
        cells=test,
    )


@pytest.fixture(scope="session")
def searched(tuned, tmp_path_factory):
    """Return the folder of its search."""
    out = tmp_path_factory.mktemp("search")
    search(tuned.model, tuned.cohort, out, settings=SEARCH, compute=COMPUTE)
    return out


@pytest.fixture(scope="session")
def pruned(tuned, searched, tmp_path_factory):
    """Return the folder of its two shards of effects."""
    out = tmp_path_factory.mktemp("prune")
    for shard in range(2):
        prune_shard(tuned, searched, out / f"{shard}.parquet", shard=shard)
    return out
