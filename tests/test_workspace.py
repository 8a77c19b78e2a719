"""Temporary files: kept when a run is killed, thrown away when they do not fit, else removed."""

import os

import pytest

from scsw.errors import ScswError
from scsw.workspace import file_state, workspace


class Killed(BaseException):
    """Stands for a kill: no handler of errors sees it."""


def interrupted(folder, key, error=Killed):
    with pytest.raises(error), workspace(folder, key) as given:
        (given / "half.npy").write_bytes(b"half")
        raise error("stop")


def test_it_is_removed_at_the_end(tmp_path):
    with workspace(tmp_path / ".work" / "preprocess", {"a": 1}) as folder:
        (folder / "block.npy").write_bytes(b"x")
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_after_a_users_mistake(tmp_path):
    interrupted(tmp_path / ".work" / "preprocess", {"a": 1}, ScswError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt, MemoryError, OSError])
def test_what_a_killed_run_left_is_used_again(tmp_path, error):
    interrupted(tmp_path / ".work" / "p", {"a": 1, "b": [2, "x"]}, error)
    with workspace(tmp_path / ".work" / "p", {"b": [2, "x"], "a": 1}) as folder:
        assert (folder / "half.npy").read_bytes() == b"half"


@pytest.mark.parametrize("key", [{"a": 2}, {"a": 1, "b": 1}, {}])
def test_files_of_another_key_are_thrown_away(tmp_path, key):
    interrupted(tmp_path / "work", {"a": 1})
    with workspace(tmp_path / "work", key) as folder:
        assert not (folder / "half.npy").exists()
    assert not (tmp_path / "work").exists()


def test_files_without_a_key_are_thrown_away(tmp_path):
    """The run was killed before it could say what they depend on."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "half.npy").write_bytes(b"half")
    with workspace(tmp_path / "work", {"a": 1}) as folder:
        assert not (folder / "half.npy").exists()


@pytest.mark.parametrize("key", [{"a": 1}, {"a": 2}])
def test_two_processes_do_not_share_it(tmp_path, monkeypatch, key):
    """A job goes on when Snakemake alone is killed, and the same command starts another."""
    monkeypatch.setattr("scsw.workspace._PATIENCE", 0)
    with workspace(tmp_path / "work", {"a": 1}) as folder:
        (folder / "half.npy").write_bytes(b"half")
        with pytest.raises(ScswError, match="another process works in"), workspace(folder, key):
            pass
        assert (folder / "half.npy").exists()
    with workspace(folder, key):
        pass


def test_folders_of_others_stay(tmp_path):
    (tmp_path / ".work" / "other").mkdir(parents=True)
    with workspace(tmp_path / ".work" / "preprocess", {}):
        pass
    assert [path.name for path in (tmp_path / ".work").iterdir()] == ["other"]


def test_a_file_is_told_from_a_later_one_of_its_name(tmp_path):
    file = tmp_path / "x"
    file.write_text("abc")
    before = file_state(file)
    assert file_state(file) == before
    file.write_text("abcd")
    assert file_state(file) != before
    file.write_text("abc")
    os.utime(file, ns=(0, 10**9))
    assert file_state(file) != before
    assert file_state(tmp_path / ".." / tmp_path.name / "x")[0] == before[0]
