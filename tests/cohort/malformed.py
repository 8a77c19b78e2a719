"""Broken inputs: how each comes about, and what is asked of the message that it ends in."""

import re
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
import pytest

from scsw.cohort.preprocess import preprocess
from scsw.cohort.request import Request
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts

ROSMAP = "rosmap_mathys_2019"
CELLS = "filtered_column_metadata.txt"
MTX = "filtered_count_matrix.mtx"


@dataclass
class Case:
    """One broken input: how it comes about and what the message must say."""

    name: str
    layout: str
    message: str
    edit: Any = None  # of the AnnData before it is written
    damage: Any = None  # of the file or folder after it is written
    source: str = ""  # by default the layout's
    settings: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)  # of the user's request
    options: dict[str, Any] = field(default_factory=dict)


def check_refusal(case, tmp_path):
    """Check that `preprocess` says what is wrong and how to mend it, and writes nothing."""
    path, source, settings, request, options = prepared(case, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ScswError) as caught:
        preprocess(
            path,
            tmp_path / "out",
            cohort="c",
            source=source,
            settings=section_settings("preprocess", settings),
            request=request,
            **options,
        )
    message = str(caught.value)
    assert re.search(case.message, message, flags=re.DOTALL), message
    assert "Expected: " in message or "To mend it: " in message, message
    assert contents(tmp_path) == before


def drop_obs(*names):
    return lambda a: a.obs.drop(columns=list(names), inplace=True)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def not_hdf5(path):
    path.write_text("This is no h5ad.")


def legacy_obs(path):
    with h5py.File(path, "a") as file:
        del file["obs"]
        file["obs"] = np.zeros(3, dtype=[("index", "S4"), ("Subclass", "i1")])


def bad_text(key):
    def damage(path):
        with h5py.File(path, "a") as file:
            name = file[key].attrs["_index"]
            n = file[key][name].shape[0]
            del file[key][name]
            file[key][name] = np.array([b"\xff\xfe"] * n)

    return damage


def prepared(case, folder):
    """Write the input; return what `preprocess` is to be called with."""
    options = dict(case.options)
    path = _written(case, folder)
    if "path" in options:
        path = folder / options.pop("path")
    if options.get("checkpoint") == "other_species":
        options["checkpoint"] = _checkpoint(folder / "other_species")
    asked = dict(case.asked)
    tables = {role: str(folder / name) for role, name in asked.pop("tables", {}).items()}
    request = Request(path, tables=tables, **asked)
    return path, case.source or case.layout, layouts.SETTINGS | case.settings, request, options


def contents(folder):
    """List all that stands in a folder, the empty folder of results aside."""
    return {entry for entry in folder.rglob("*") if entry != folder / "out"}


def _written(case, folder):
    if case.layout == ROSMAP:
        path = layouts.write_rosmap(folder / "rosmap")
    elif case.layout == "cellxgene":
        path = layouts.write_cellxgene(folder / "c.h5ad", edit=case.edit)
    else:
        path = layouts.write_sea_ad(folder / "s.h5ad", edit=case.edit)
    if case.damage == "transpose":
        with h5py.File(path, "a") as file:
            file.move("obs", "was_obs")
            file.move("var", "obs")
            file.move("was_obs", "var")
    elif case.damage:
        case.damage(path)
    return path


def _checkpoint(folder):
    folder.mkdir()
    (folder / "vocab.json").write_text('{"<pad>": 0, "<cls>": 1, "<eoc>": 2, "SST": 3}')
    return folder
