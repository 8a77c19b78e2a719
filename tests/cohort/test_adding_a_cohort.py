"""The reader that docs/adding-a-cohort.md shows works as it stands there."""

import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scsw.cohort import readers, sources
from scsw.cohort.preprocess import preprocess
from scsw.cohort.read import cohort_facts, read_cohort
from scsw.settings import section_settings
from tests.cohort import layouts

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-cohort.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The example as a file of its own among the readers."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / "readers").mkdir()
    (tmp_path / "readers" / "example_lab.py").write_text(code)
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path / "readers")])
    sources.names.cache_clear()
    yield "example_lab"
    monkeypatch.undo()
    sources.names.cache_clear()


def test_one_file_is_a_new_source(example, tmp_path):
    donor, types = layouts.cells(8, 12, layouts.SEA_AD_TYPES)
    counts = layouts.counts(types)
    obs = pd.DataFrame(
        {
            "patient": [f"P{d}" for d in donor],
            "annotation": types,
            "gender": np.where(donor % 2, "m", "f"),
            "lab_stage": np.array(["0", "II", "Braak IV", "6"])[donor % 4],
        },
        index=[f"n{i}" for i in range(len(donor))],
    )
    adata = ad.AnnData(counts.log1p(), obs, pd.DataFrame(index=list(layouts.GENES)))
    adata.layers["counts"] = counts
    adata.write_h5ad(tmp_path / "lab.h5ad")

    assert example in sources.names()
    assert sources.input_files("auto", str(tmp_path / "lab.h5ad")) == [str(tmp_path / "lab.h5ad")]
    settings = section_settings("preprocess", layouts.SETTINGS)
    preprocess(tmp_path / "lab.h5ad", tmp_path / "out", cohort="lab", settings=settings)
    made = read_cohort(tmp_path / "out" / "cohort.h5ad")
    assert cohort_facts(tmp_path / "out" / "cohort.h5ad")["source"] == example
    assert made.X.sum() == counts.sum()
    assert sorted(set(made.obs["braak"])) == [0, 2, 4, 6]
    assert set(made.obs["sex"]) == {"female", "male"}
