import json
import os
import subprocess

import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.files import read_json, read_table, require, sha256, whole, write_table
from scsw.provenance import recorded


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "x"
    with pytest.raises(ValueError, match="stop"), whole(tmp_path / "b.txt") as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_replaces_the_old_one_only_when_it_is_complete(tmp_path):
    out = tmp_path / "model"
    for text in ("old", "new"):
        with whole(out) as folder:
            folder.mkdir()
            (folder / text).write_text(text)
    assert [p.name for p in out.iterdir()] == ["new"]
    with pytest.raises(ValueError, match="stop"), whole(out) as folder:
        folder.mkdir()
        raise ValueError("stop")
    assert [p.name for p in out.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_and_never_used(tmp_path, kind):
    """The second has the id of this process, as in a container that was started again."""
    out = tmp_path / "out"
    ended = subprocess.Popen(["true"])
    ended.wait()
    for number in (ended.pid, os.getpid()):
        left = tmp_path / f".out.{number}.part"
        left.mkdir() if kind == "folder" else left.write_text("half")
    # Of a running process, and of another file.
    others = [tmp_path / f".out.{os.getppid()}.part", tmp_path / f".out.more.{ended.pid}.part"]
    for other in others:
        other.write_text("half")
    with whole(out) as temporary:
        assert not temporary.exists()
        temporary.mkdir() if kind == "folder" else temporary.write_text("x")
    assert sorted(tmp_path.iterdir()) == sorted([out, *others])


@pytest.mark.parametrize("name", ["t.parquet", "t.tsv"])
def test_tables_come_back(tmp_path, name):
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    write_table(table, tmp_path / name)
    assert read_table(tmp_path / name).equals(table)
    write_table(table, tmp_path / name, {"cohort": "c", "seed": 3})
    assert list(table.columns) == ["a", "b"]
    keyed = pd.DataFrame({"cohort": ["c", "c"], "seed": [3, 3], **table})
    pd.testing.assert_frame_equal(read_table(tmp_path / name), keyed)


def test_missing_and_broken_files_are_clear_errors(tmp_path):
    with pytest.raises(ScswError, match=r"on this machine.*download the file first .*scsw fetch"):
        require("s3://bucket/key.h5ad")
    with pytest.raises(ScswError, match="does not exist"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "broken.parquet").write_text("no")
    with pytest.raises(ScswError, match="cannot be read as a table"):
        read_table(tmp_path / "broken.parquet")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ScswError, match="not JSON"):
        read_json(tmp_path / "broken.json")


def test_a_folders_hash_is_of_names_and_contents(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("x")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    (tmp_path / "b" / ".snakemake_timestamp").touch()
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    (tmp_path / "b" / "f").rename(tmp_path / "b" / "g")
    assert sha256(tmp_path / "a") != sha256(tmp_path / "b")


def test_provenance_says_what_was_done(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("x")
    with recorded(
        "step", tmp_path, inputs={"in": source}, parameters={"k": 1}, seed=3, simulated=True
    ) as record:
        record["device"] = "some card"
    found = json.loads((tmp_path / "step.provenance.json").read_text())
    assert found["inputs"]["in"]["sha256"] == sha256(source)
    assert (found["seed"], found["parameters"], found["simulated"]) == (3, {"k": 1}, True)
    assert found["device"] == "some card" and found["peak_rss_bytes"] > 1e6
    assert {"scsw", "python", "torch", "anndata"} <= set(found["versions"])


def test_a_failed_step_leaves_no_provenance(tmp_path):
    with (
        pytest.raises(ValueError, match="stop"),
        recorded("step", tmp_path, inputs={}, parameters={}),
    ):
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_git_has_provenance_without_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with recorded("step", tmp_path, inputs={}, parameters={}):
        pass
    assert read_json(tmp_path / "step.provenance.json")["commit"] is None


def test_a_step_that_cannot_write_says_so_before_it_works(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(ScswError, match=r"cannot be a folder: .*file is a file"),
            recorded("step", out, inputs={}, parameters={}),
        ):
            pytest.fail("the step began")
    with recorded("step", tmp_path / "new" / "deep", inputs={}, parameters={}):
        assert not (tmp_path / "new").exists()  # looking writes nothing


def test_a_table_that_lacks_what_is_read_is_told_apart(tmp_path):
    write_table(pd.DataFrame({"donor": ["a"]}), tmp_path / "t.tsv")
    assert len(read_table(tmp_path / "t.tsv", ["donor"]))
    with pytest.raises(ScswError, match=r"t.tsv lacks the columns \['candidate_id'\]"):
        read_table(tmp_path / "t.tsv", ["donor", "candidate_id"])
