"""A cohort and models that the tests of fine-tuning share."""

import pytest

from scsw.scgpt.init import init
from tests.scgpt.training.small_runs import DONORS, run
from tests.tiny import model_settings, write_cohort


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A cohort, a starting model without dropout, and a run with no option set."""
    folder = tmp_path_factory.mktemp("run")
    cohort = write_cohort(folder, split=DONORS)
    init(cohort, folder / "init", model=model_settings(dropout=0.0), seed=0)
    run((folder / "init", cohort), folder / "plain")
    return folder / "init", cohort, folder / "plain"
