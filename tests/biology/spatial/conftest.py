from types import SimpleNamespace

import pandas as pd
import pytest

from scsw.scgpt.finetune import finetune
from scsw.scgpt.init import init
from scsw.scgpt.model import load_model
from scsw.settings import section_settings
from tests.biology.spatial import made_up
from tests.cohort.readers.running import run
from tests.tiny import COMPUTE, model_settings


@pytest.fixture(scope="session")
def brain(tmp_path_factory):
    """A tiny model fine-tuned on nuclei, and tissue measured with a telling and a dumb panel."""
    folder = tmp_path_factory.mktemp("brain")
    cohort = made_up.write_nuclei(folder)
    init(cohort, folder / "init", model=model_settings(max_seq_len=61), seed=0)
    given = {"epochs": 60, "max_steps": 120, "lr": 0.003, "batch_size": 12}
    settings = section_settings("finetune", given)
    finetune(folder / "init", cohort, folder / "model", settings=settings, compute=COMPUTE)
    tissue = {}
    for name, panel in (("telling", made_up.TELLING), ("dumb", made_up.DUMB)):
        file = made_up.write_tissue(folder / f"{name}.h5ad", panel=panel)
        run(file, folder / name)
        tissue[name] = folder / name / "spatial.h5ad"
    network = load_model(folder / "model")
    places = [(1, 3, 5), (0, 2, 7)]
    rows = [
        {"candidate_id": f"ffn_down.b{b}.r{r}.c{c}", "family": "ffn_down", "block": b, "row": r}
        | {"column": c, "rank": rank}
        for rank, (b, r, c) in enumerate(places, 1)
    ]
    candidates = pd.DataFrame(rows)
    candidates.to_parquet(folder / "candidates.parquet")
    return SimpleNamespace(
        folder=folder, cohort=cohort, model=folder / "model", network=network, tissue=tissue,
        candidates=candidates,
    )  # fmt: skip
