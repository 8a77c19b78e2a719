"""The example of docs/model.md works as it stands there."""

import re
from pathlib import Path

import torch

from scsw.cohort.read import read_cohort
from scsw.scgpt.init import init
from tests.tiny import TYPES, model_settings, write_cohort

PAGE = Path(__file__).parents[2] / "docs" / "model.md"


def test_the_example_names_cell_types(tmp_path):
    cohort = write_cohort(tmp_path)
    folder = tmp_path / "init"
    init(cohort, folder, model=model_settings(), seed=0)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names = {"folder": folder, "cohort": cohort}
    exec(compile(example, str(PAGE), "exec"), names)
    assert len(read_cohort(cohort, ["test"])) >= 16
    assert names["cell_types"].shape == (16,)
    assert names["cell_types"].max() < len(TYPES)
    output, batch = names["output"], names["batch"]
    assert output["mlm_output"].shape == output["mvc_output"].shape == (batch.n_tokens,)
    assert torch.isfinite(output["cell_emb"]).all()
