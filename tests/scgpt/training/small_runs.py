"""Short fine-tuning runs of a tiny model, and what is compared of them."""

import pandas as pd
import torch

from scsw.files import read_table
from scsw.scgpt.finetune import finetune
from scsw.settings import section_settings
from tests.tiny import COMPUTE

# Fewer test donors than elsewhere: how they are scored is tested with `evaluate`.
DONORS = {"train": 4, "validation": 1, "discovery": 2, "test": 3}
GIVEN = {"epochs": 10, "max_steps": 6, "lr": 0.003, "batch_size": 9, "evaluations": 3}


def run(start, out, *, compute=None, **changes):
    settings = section_settings("finetune", GIVEN | changes)
    compute = section_settings("compute", vars(COMPUTE) | (compute or {}))
    finetune(start[0], start[1], out, settings=settings, compute=compute)
    return out


def history(folder):
    return read_table(folder / "history.parquet")


def weights(folder):
    return torch.load(folder / "best_model.pt", weights_only=True)


def assert_same_curve(folder, other, rtol=2e-6):
    pd.testing.assert_frame_equal(history(folder), history(other), check_exact=False, rtol=rtol)


def moved(folder, other):
    """Which parts of the model differ."""
    ours, theirs = weights(folder), weights(other)
    return {name for name in theirs if not ours[name].equal(theirs[name])}
