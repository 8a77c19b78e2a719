"""What `preprocess` refuses whatever the source, and how its command ends."""

import json
import re
import subprocess
import sys

import pytest

from tests.cohort.malformed import Case, check_refusal, contents, prepared
from tests.cohort.test_malformed_h5ad import CASES as H5AD
from tests.cohort.test_malformed_rosmap import CASES as OF_ROSMAP
from tests.cohort.test_unknown_layouts import CASES as UNKNOWN

CASES = [
    Case("unknown source", "geo", "the source 'geo' is unknown"),
    Case("no checkpoint", "sea_ad", "no checkpoint is named",
         settings={"vocabulary": "checkpoint"}),
    Case("missing checkpoint", "sea_ad", "vocab.json does not exist",
         settings={"vocabulary": "checkpoint"}, options={"checkpoint": "nowhere"}),
    Case(
        "checkpoint is looked for before the cohort is read",
        "sea_ad",
        "vocab.json does not exist",
        settings={"vocabulary": "checkpoint"},
        options={"checkpoint": "nowhere", "path": "nowhere"},
    ),
    Case("shares", "sea_ad", "add up to 1.5", settings={"train": 0.9}),
    Case("little matched", "sea_ad", "of the counts belong to genes of the vocabulary",
         settings={"vocabulary": "checkpoint"}, options={"checkpoint": "other_species"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.layout}: {case.name}")
def test_message_helps_and_nothing_stays(case, tmp_path):
    check_refusal(case, tmp_path)


# Enough for the way from an error to the terminal; that a case is refused is tested above.
COMMANDS = (
    "truncated", "log values in layer", "bad chunk", "no known columns", "clinical rows missing",
    "damaged gzip", "not enough memory", "unknown source",
)  # fmt: skip
BY_NAME = {case.name: case for case in [*H5AD, *OF_ROSMAP, *UNKNOWN, *CASES]}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_ends_in_one_message(name, tmp_path):
    case = BY_NAME[name]
    path, source, settings, _, _ = prepared(case, tmp_path)
    before = contents(tmp_path)
    given = ["--out", tmp_path / "out", "--source", source]
    given += ["--config", json.dumps({"preprocess": settings})]
    command = [sys.executable, "-m", "scsw.cli", "preprocess", path, *given]
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""
    (message,) = re.findall(r"^Error: .*", result.stderr, flags=re.MULTILINE | re.DOTALL)
    assert re.search(case.message, message, flags=re.DOTALL), message
    assert contents(tmp_path) == before
