"""CELLxGENE files, and with them how any download goes on, gives up, or refuses."""

import contextlib
import errno
import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from scsw.errors import ScswError
from scsw.fetch import cellxgene
from scsw.fetch import download as download_module
from scsw.fetch.fetch import fetch
from tests.fetch.file_server import Files, serve_files

DATASET = "0c2f6a1e-52f0-4b6c-9d8e-3f6a7b8c9d0e"
VERSION = "7a1b2c3d-0000-4b6c-9d8e-3f6a7b8c9d0e"
OLDER = "11111111-0000-4b6c-9d8e-3f6a7b8c9d0e"
CONTENT = np.random.default_rng(1).bytes(3_000_000)
SIZE = len(CONTENT)
CUT = 15 << 16  # whole blocks arrive; of a broken one nothing is kept


def metadata(url, version=VERSION, size=SIZE, kind="H5AD"):
    """What the API tells of one version, as far as it is read here, in the API's own words."""
    assets = [
        {"filesize": 5, "filetype": "RDS", "url": f"{url}/{version}.rds"},
        {"filesize": size, "filetype": kind, "url": f"{url}/{version}.h5ad"},
    ]
    found = {"dataset_id": DATASET, "dataset_version_id": version, "title": "Cortex"}
    return found | {"assets": assets, "schema_version": "7.1.0", "cell_count": 9}


@pytest.fixture
def portal(monkeypatch):
    """A server of the API and the files; call it with what it holds beside one good dataset."""
    with contextlib.ExitStack() as stack:

        def start(**told):
            size = told.pop("size", SIZE)
            kind = told.pop("kind", "H5AD")
            files = Files({f"/{VERSION}.h5ad": CONTENT, f"/{OLDER}.h5ad": b"old"}, **told)
            url = stack.enter_context(serve_files(files))
            newest, older = metadata(url, size=size, kind=kind), metadata(url, OLDER, 3)
            answers = {
                f"/api/datasets/{DATASET}/versions": [newest, older],
                f"/api/dataset_versions/{OLDER}": older,
            }
            files.files |= {path: json.dumps(value).encode() for path, value in answers.items()}
            files.asked.clear()
            monkeypatch.setenv("CELLXGENE_API_URL", f"{url}/api")
            return files

        yield start


def after_lookup(*faults):
    """Faults of the file itself: the first answer is that of the API."""
    return (None, *faults)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_version_comes_whole_with_its_record(portal, tmp_path):
    portal()
    (path,) = fetch(f"cellxgene:{DATASET}", f"{tmp_path}/new/")
    assert path == tmp_path / "new" / f"{VERSION}.h5ad" and path.read_bytes() == CONTENT
    assert names(path.parent) == [f"{VERSION}.h5ad", f"{VERSION}.h5ad.fetch.json"]
    record = json.loads((path.parent / f"{VERSION}.h5ad.fetch.json").read_text())
    assert record["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert (record["uri"], record["size"]) == (f"cellxgene:{DATASET}", len(CONTENT))
    assert record["about"]["dataset_version_id"] == VERSION
    assert record["source_checksum"]["verified"] is False  # nothing told, nothing claimed
    assert "only the size" in record["source_checksum"]["how"]


def test_an_older_version_comes_by_its_own_id(portal, tmp_path):
    portal()
    (path,) = fetch(OLDER, tmp_path / "a.h5ad")
    assert path.read_bytes() == b"old"


def test_broken_connections_and_busy_answers_are_gone_on_with(portal, tmp_path, capsys):
    files = portal(faults=after_lookup(503, ("cut", CUT), 502, ("cut", CUT)))
    (path,) = fetch(DATASET, tmp_path / "a.h5ad")
    assert path.read_bytes() == CONTENT
    assert files.started_at()[-3:] == [CUT, CUT, 2 * CUT]
    assert capsys.readouterr().err.count("trying again") == 4


def test_a_line_that_breaks_often_but_brings_bytes_is_not_given_up(portal, tmp_path):
    portal(faults=after_lookup(*[("cut", 3 << 16)] * 9))
    (path,) = fetch(DATASET, tmp_path / "a.h5ad")
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_is_read_again_from_the_start(portal, tmp_path):
    portal(faults=after_lookup(("cut", CUT)), ranges=False)
    (path,) = fetch(DATASET, tmp_path / "a.h5ad")
    assert path.read_bytes() == CONTENT


def test_the_next_call_goes_on_where_this_one_gave_up(portal, tmp_path):
    files = portal(faults=after_lookup(("cut", CUT), *[503] * 5))
    with pytest.raises(ScswError, match=r"503.*tried 6 times.*goes on from the bytes"):
        fetch(DATASET, tmp_path / "a.h5ad")
    (part,) = tmp_path.iterdir()
    assert part.name.startswith(".a.h5ad.") and part.stat().st_size == CUT
    files.asked.clear()
    fetch(DATASET, tmp_path / "a.h5ad")
    assert files.started_at() == [0, CUT]  # the API, the rest of the file
    assert names(tmp_path) == ["a.h5ad", "a.h5ad.fetch.json"]
    assert (tmp_path / "a.h5ad").read_bytes() == CONTENT


def test_the_beginning_of_an_older_state_is_not_gone_on_with(portal, tmp_path):
    files = portal(faults=after_lookup(("cut", CUT), *[503] * 5))
    with pytest.raises(ScswError):
        fetch(DATASET, tmp_path / "a.h5ad")
    assert len(names(tmp_path)) == 1
    files.etags[f"/{VERSION}.h5ad"] = "another"
    files.asked.clear()
    fetch(DATASET, tmp_path / "a.h5ad")
    assert files.started_at() == [0, 0]
    assert names(tmp_path) == ["a.h5ad", "a.h5ad.fetch.json"]
    assert (tmp_path / "a.h5ad").read_bytes() == CONTENT


def test_a_file_replaced_meanwhile_is_refused(portal, tmp_path, monkeypatch):
    files = portal(etags={f"/{VERSION}.h5ad": "first"})
    fill = download_module._fill

    def replace_then_fill(*arguments):
        files.etags[f"/{VERSION}.h5ad"] = "second"
        fill(*arguments)

    monkeypatch.setattr(download_module, "_fill", replace_then_fill)
    with pytest.raises(ScswError, match="was replaced at its source"):
        fetch(DATASET, tmp_path / "a.h5ad")
    assert names(tmp_path) == []


def test_a_complete_file_is_not_downloaded_again(portal, tmp_path, capsys):
    files = portal()
    fetch(DATASET, tmp_path / "a.h5ad")
    files.asked.clear()
    before = (tmp_path / "a.h5ad").stat().st_mtime_ns
    fetch(DATASET, tmp_path / "a.h5ad")
    assert files.started_at() == [0] and files.asked[0][0] == "GET"  # the API alone
    assert (tmp_path / "a.h5ad").stat().st_mtime_ns == before
    assert "nothing was downloaded" in capsys.readouterr().err


@pytest.mark.parametrize("there", [b"mine", bytes(len(CONTENT))])
def test_another_file_is_never_overwritten(portal, tmp_path, there):
    portal()
    path = tmp_path / "a.h5ad"
    path.write_bytes(there)
    with pytest.raises(ScswError, match="is not known to be"):
        fetch(DATASET, path)
    assert path.read_bytes() == there and names(tmp_path) == ["a.h5ad"]


def test_a_file_changed_after_it_came_is_noticed(portal, tmp_path):
    portal()
    fetch(DATASET, tmp_path / "a.h5ad")
    (tmp_path / "a.h5ad").write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(ScswError, match="is not known to be"):
        fetch(DATASET, tmp_path / "a.h5ad")


def test_a_file_of_the_users_own_is_accepted_by_its_sum(portal, tmp_path):
    portal()
    path = tmp_path / "a.h5ad"
    path.write_bytes(CONTENT)
    fetch(DATASET, path, hashlib.sha256(CONTENT).hexdigest().upper())
    assert json.loads((tmp_path / "a.h5ad.fetch.json").read_text())["sha256_required"] is True


def test_a_wrong_sum_leaves_nothing(portal, tmp_path):
    portal()
    with pytest.raises(ScswError, match=r"has the sha256 .* as --sha256 asks"):
        fetch(DATASET, tmp_path / "a.h5ad", "0" * 64)
    assert names(tmp_path) == []
    with pytest.raises(ScswError, match="64 hexadecimal digits"):
        fetch(DATASET, tmp_path / "a.h5ad", "abc")


def test_too_little_space_is_told_before_anything_comes(portal, tmp_path, monkeypatch):
    files = portal()
    usage = SimpleNamespace(total=10, used=9, free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    files.asked.clear()
    with pytest.raises(ScswError, match=r"has 0\.0 GB free.*GB for what is still to come"):
        fetch(DATASET, tmp_path / "a.h5ad")
    assert files.started_at() == [0] and names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_told(portal, tmp_path):
    portal()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ScswError, match="cannot be written or read"):
        fetch(DATASET, tmp_path / "file" / "a.h5ad")


def test_a_full_disk_is_told_and_what_came_stays(portal, tmp_path, monkeypatch):
    def full(*_):
        yield b"begin"
        raise OSError(errno.ENOSPC, "No space left on device")

    portal()
    monkeypatch.setattr(cellxgene, "blocks", full)
    with pytest.raises(ScswError, match=r"No space left on device.*make room"):
        fetch(DATASET, tmp_path / "a.h5ad")
    (part,) = tmp_path.iterdir()
    assert part.read_bytes() == b"begin"


def test_more_bytes_than_told_are_refused(portal, tmp_path, monkeypatch):
    portal()
    monkeypatch.setattr(cellxgene, "blocks", lambda *_: [CONTENT, b"more"])
    with pytest.raises(ScswError, match=r"sent 3000004 bytes.*3000000"):
        fetch(DATASET, tmp_path / "a.h5ad")
    assert names(tmp_path) == []


def test_a_second_process_is_kept_off(portal, tmp_path, monkeypatch):
    portal()
    fill = download_module._fill

    def twice(*arguments):
        with pytest.raises(ScswError, match="another scsw fetch"):
            fetch(DATASET, tmp_path / "a.h5ad")
        fill(*arguments)

    monkeypatch.setattr(download_module, "_fill", twice)
    fetch(DATASET, tmp_path / "a.h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"size": len(CONTENT) + 1}, r"has 3000000 bytes.*3000001, as the CELLxGENE API"),
        ({"kind": "RAW_H5AD"}, r"has no h5ad file \(its files: RAW_H5AD, RDS\)"),
    ],
)
def test_what_the_api_tells_must_fit(portal, tmp_path, told, text):
    portal(**told)
    with pytest.raises(ScswError, match=text):
        fetch(DATASET, tmp_path / "a.h5ad")
    assert names(tmp_path) == []


@pytest.mark.parametrize(("status", "times"), [(404, 1), (403, 1)])
def test_gone_and_closed_files_are_not_asked_for_again(portal, tmp_path, status, times):
    files = portal()
    files.files[f"/{VERSION}.h5ad"] = status
    with pytest.raises(ScswError, match=f"answered {status}"):
        fetch(DATASET, tmp_path / "a.h5ad")
    assert [method for method, _ in files.asked].count("HEAD") == times
    assert names(tmp_path) == []


def test_an_unknown_dataset_is_told(portal, tmp_path):
    portal()
    unknown = "99999999-52f0-4b6c-9d8e-3f6a7b8c9d0e"
    with pytest.raises(ScswError, match="knows no published dataset"):
        fetch(unknown, tmp_path / "a.h5ad")


def test_a_log_file_gets_a_line_every_tenth(portal, tmp_path, capsys, monkeypatch):
    from scsw.fetch import web

    monkeypatch.setattr(web, "_BLOCK", 10_000)
    portal()
    fetch(DATASET, tmp_path / "a.h5ad")
    lines = [line for line in capsys.readouterr().err.splitlines() if "%" in line]
    assert 10 <= len(lines) <= 11 and lines[5].endswith("of 3.0 MB (50 %)")
