"""Published checkpoints, fetched by the real clients from servers on this machine."""

import fcntl
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from scsw.errors import ScswError
from scsw.fetch.checkpoint import get as get_module
from scsw.fetch.checkpoint.address import (
    FILES,
    PUBLISHED_SUMS,
    SHORT_NAMES,
    Address,
    parse_address,
)
from scsw.fetch.checkpoint.check import git_id, require_form
from scsw.fetch.checkpoint.get import get
from tests.fetch.drive_server import FOLDER, Drive, serve_drive
from tests.fetch.file_server import Faults
from tests.fetch.hub_server import COMMIT, Repository, serve_repository

ROOT = Path(__file__).parents[2]


def weights(size=200_000, seed=b"weights"):
    """Return a zip archive, as torch.save writes one."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        blocks = [hashlib.sha256(seed + b"%d" % i).digest() for i in range(size // 32)]
        archive.writestr("archive/data/0", b"".join(blocks))
    return content.getvalue()


FOLDER_FILES = {
    "args.json": b'{"embsize": 512}',
    "vocab.json": b'{"<pad>": 0, "APP": 1}',
    "best_model.pt": weights(),
}
OTHERS = {"README.md": b"# a model\n", "run.log": b"epoch 1"}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in FOLDER_FILES.items()}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    proxies = [f"{name}_proxy" for name in ("http", "https", "all", "no")]
    for name in ["HF_TOKEN", "REQUESTS_CA_BUNDLE", *proxies, *map(str.upper, proxies)]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=int))


def use_server(monkeypatch, address):
    """Do what HF_ENDPOINT does, which huggingface_hub reads but once; and write small blocks."""
    constants = "huggingface_hub.constants."
    monkeypatch.setattr(f"{constants}ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(f"{constants}HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(f"{constants}DOWNLOAD_CHUNK_SIZE", 10_000)


@pytest.fixture
def hub(monkeypatch):
    """Serve a repository that a test may still change, and point huggingface_hub to it."""
    repository = Repository({**FOLDER_FILES, **OTHERS})
    with serve_repository(repository) as address:
        use_server(monkeypatch, address)
        yield repository


@pytest.fixture
def drive(monkeypatch, tmp_path):
    served = Drive({**FOLDER_FILES, **OTHERS})
    folder = tmp_path / "server"
    folder.mkdir()
    with serve_drive(served, folder) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield served


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def record(out):
    return json.loads(out.with_name(f"{out.name}.fetch.json").read_text())


def test_a_repository_comes_whole_by_the_command_line(tmp_path):
    repository = Repository({**FOLDER_FILES, **OTHERS})
    with serve_repository(repository) as address:
        program = "from scsw.cli import main; main()"
        arguments = ["checkpoint", "get", "hf:lab/scGPT", "--out", "model"]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, "--sha256", SHA256["best_model.pt"]],
            env={**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")},
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "model") == FOLDER_FILES
    told = record(tmp_path / "model")
    assert told["uri"] == "hf:lab/scGPT"
    assert (told["revision"], told["server"]) == (COMMIT, address)
    assert {name: file["sha256"] for name, file in told["files"].items()} == SHA256
    assert all(file["verified"] for file in told["files"].values())
    assert "sha256 that Hugging Face states" in told["files"]["best_model.pt"]["how"]
    assert "git id that Hugging Face states" in told["files"]["vocab.json"]["how"]
    assert told["sha256_required"] is True
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "home") == [
        "model", "model.fetch.json",
    ]  # fmt: skip


def test_neither_torch_nor_scgpt_is_imported():
    program = (
        "import sys, scsw.cli, scsw.fetch.checkpoint.get as g;"
        "import scsw.fetch.checkpoint.hugging_face, scsw.fetch.checkpoint.google_drive;"
        "import huggingface_hub.file_download, gdown;"
        "assert not {'torch', 'scgpt'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_a_folder_inside_a_repository_at_a_revision(hub, tmp_path):
    hub.files = {f"models/human/{name}": content for name, content in FOLDER_FILES.items()}
    get(f"hf:lab/scGPT@{COMMIT}/models/human", tmp_path / "model")
    assert contents(tmp_path / "model") == FOLDER_FILES
    with pytest.raises(ScswError, match=r"hf:lab/scGPT/models/human"):
        get("hf:lab/scGPT", tmp_path / "other")


def test_a_broken_connection_is_gone_on_with(hub, tmp_path):
    hub.faults = Faults(None, None, ("cut", 70_000), ("cut", 30_000))
    get("hf:lab/scGPT", tmp_path / "model")
    assert hub.started_at("best_model.pt") == [0, 70_000, 100_000]
    assert contents(tmp_path / "model") == FOLDER_FILES


def test_a_later_call_goes_on_with_what_has_come(hub, tmp_path):
    hub.faults = Faults(None, None, ("cut", 70_000), 503)
    with pytest.raises(ScswError, match="did not send"):
        get("hf:lab/scGPT", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert (tmp_path / ".model.part" / "best_model.pt.part").stat().st_size == 70_000
    get("hf:lab/scGPT", tmp_path / "model")
    assert hub.started_at("best_model.pt") == [0, 70_000, 70_000]
    assert hub.started_at("vocab.json") == [0]
    assert contents(tmp_path / "model") == FOLDER_FILES
    assert not (tmp_path / ".model.part").exists()


def test_a_call_that_is_killed_is_gone_on_with(tmp_path, monkeypatch):
    block = 10 * 1024 * 1024  # huggingface_hub writes blocks of this size
    files = {**FOLDER_FILES, "best_model.pt": weights(block + 500_000)}
    repository = Repository(files, hold_at=block + 100_000)
    out = tmp_path / "model"
    with serve_repository(repository) as address:
        program = "from scsw.cli import main; main()"
        arguments = ["checkpoint", "get", "hf:lab/scGPT", "--out", str(out)]
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")}
        running = subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment)
        part = tmp_path / ".model.part" / "best_model.pt.part"
        try:
            assert repository.reached.wait(60)
            deadline = time.monotonic() + 60
            while part.stat().st_size < block and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            running.kill()
            running.wait()
            repository.released.set()
        assert part.stat().st_size == block and not out.exists()
        repository.hold_at = None
        use_server(monkeypatch, address)
        get("hf:lab/scGPT", out)
    assert repository.started_at("best_model.pt") == [0, block]
    assert contents(out) == files


def test_what_came_of_an_older_revision_is_thrown_away(hub, tmp_path):
    hub.faults = Faults(None, None, ("cut", 70_000), 503)
    with pytest.raises(ScswError):
        get("hf:lab/scGPT", tmp_path / "model")
    newer = {**FOLDER_FILES, "best_model.pt": weights(seed=b"newer")}
    hub.files, hub.commit = newer, "f" * 40
    get("hf:lab/scGPT", tmp_path / "model")
    assert hub.started_at("best_model.pt")[-1] == 0
    assert contents(tmp_path / "model") == newer


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_and_fetched_anew(hub, tmp_path, name):
    damaged = bytearray(FOLDER_FILES[name])
    damaged[len(damaged) // 2] ^= 1
    hub.sent = {name: bytes(damaged)}
    with pytest.raises(ScswError, match=rf"{re.escape(name)} has the .* states"):
        get("hf:lab/scGPT", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    hub.sent = {}
    get("hf:lab/scGPT", tmp_path / "model")
    assert contents(tmp_path / "model") == FOLDER_FILES


def test_published_sums_are_asked_for(hub, tmp_path, monkeypatch):
    sums = {"hf:lab/scGPT": {**SHA256, "vocab.json": "0" * 64}}
    monkeypatch.setattr(get_module, "PUBLISHED_SUMS", sums)
    with pytest.raises(ScswError, match=r"docs/checkpoints\.md"):
        get("hf:lab/scGPT", tmp_path / "model")
    sums["hf:lab/scGPT"] = SHA256
    get("hf:lab/scGPT", tmp_path / "model")
    assert "docs/checkpoints.md" in record(tmp_path / "model")["files"]["args.json"]["how"]


def test_a_sum_that_the_user_gives_must_fit(hub, tmp_path):
    with pytest.raises(ScswError, match="--sha256 asks for"):
        get("hf:lab/scGPT", tmp_path / "model", "0" * 64)
    with pytest.raises(ScswError, match="64 hexadecimal digits"):
        get("hf:lab/scGPT", tmp_path / "model", "abc")
    assert not (tmp_path / "model").exists()


def test_a_folder_that_is_there_is_accepted_or_left_alone(hub, tmp_path):
    out = tmp_path / "model"
    get("hf:lab/scGPT", out)
    asked = len(hub.asked)
    get("hf:lab/scGPT", out, SHA256["best_model.pt"])
    assert len(hub.asked) == asked
    (out / "vocab.json").write_bytes(b'{"<pad>": 0, "MAPT": 1}')
    with pytest.raises(ScswError, match=r"not known to be hf:lab/scGPT.*vocab\.json"):
        get("hf:lab/scGPT", out)
    assert (out / "vocab.json").read_bytes() == b'{"<pad>": 0, "MAPT": 1}'
    (out / "vocab.json").unlink()
    with pytest.raises(ScswError, match=r"has no vocab\.json"):
        get("hf:lab/scGPT", out)


@pytest.mark.parametrize(
    ("address", "gated", "text"),
    [
        ("hf:lab/none", False, "is not on Hugging Face"),
        ("hf:lab/scGPT@v9", False, "no revision 'v9'"),
        ("hf:lab/scGPT", True, "accepted its terms"),
        ("hf:lab/scGPT/elsewhere", False, r"has no args\.json.*it holds README\.md"),
    ],
)
def test_what_hugging_face_refuses_is_one_message_and_no_output(
    hub, tmp_path, address, gated, text
):
    hub.gated = gated
    with pytest.raises(ScswError, match=text):
        get(address, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    use_server(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(ScswError, match=r"did not send.*give the same command again"):
        get("hf:lab/scGPT", tmp_path / "model")


def test_two_calls_do_not_write_one_folder(hub, tmp_path):
    other = tmp_path / ".model.part"
    other.mkdir()
    descriptor = os.open(other, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(ScswError, match="another scsw checkpoint get"):
            get("hf:lab/scGPT", tmp_path / "model")
        assert other.exists()
    finally:
        os.close(descriptor)


def test_a_full_disk_or_a_closed_folder_is_one_message(hub, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScswError, match="cannot be written"):
        get("hf:lab/scGPT", tmp_path / "file" / "model")
    with pytest.raises(ScswError, match="is a file"):
        get("hf:lab/scGPT", tmp_path / "file")


def test_a_drive_folder_comes_whole(drive, tmp_path):
    out = tmp_path / "model"
    get(f"gdrive:{FOLDER}", out, SHA256["best_model.pt"])
    assert contents(out) == FOLDER_FILES
    told = record(out)
    assert told["server"] == "drive.google.com" and told["client"].startswith("gdown ")
    assert told["files"]["best_model.pt"]["verified"] is True
    # Drive states no checksum: what came is written down, and nothing more is claimed.
    assert told["files"]["vocab.json"]["verified"] is False
    assert told["files"]["vocab.json"]["sha256"] == SHA256["vocab.json"]


def test_a_drive_download_is_gone_on_with(drive, tmp_path, monkeypatch):
    monkeypatch.setattr("scsw.fetch.checkpoint.google_drive._RETRIES", 0)
    block = sys.modules["gdown.download"].CHUNK_SIZE
    drive.files["best_model.pt"] = weights(3 * block)
    drive.faults = Faults(None, None, ("cut", 2 * block + 1))
    with pytest.raises(ScswError, match="Google Drive did not send"):
        get(f"gdrive:{FOLDER}", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    get(f"gdrive:{FOLDER}", tmp_path / "model")
    assert 2 * block in drive.started_at("best_model.pt")
    assert len(drive.started_at("vocab.json")) == 1
    assert contents(tmp_path / "model") == {name: drive.files[name] for name in FILES}


def test_a_drive_folder_that_is_there_is_known_by_its_record(drive, tmp_path):
    out = tmp_path / "model"
    get(f"gdrive:{FOLDER}", out)
    asked = len(drive.asked)
    get(f"gdrive:{FOLDER}", out)
    assert len(drive.asked) == asked
    out.with_name("model.fetch.json").unlink()
    with pytest.raises(ScswError, match="nothing shows that its files are the same"):
        get(f"gdrive:{FOLDER}", out)


def test_a_drive_folder_that_is_closed_or_lacks_a_file(drive, tmp_path):
    del drive.files["vocab.json"]
    with pytest.raises(ScswError, match=r"does not hold vocab\.json once; it holds README"):
        get(f"gdrive:{FOLDER}", tmp_path / "model")
    drive.closed = True
    with pytest.raises(ScswError, match="Google Drive did not send"):
        get(f"gdrive:{FOLDER}", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", b"<html>too many downloads</html>"),
        ("args.json", b"[1, 2]"),
        ("best_model.pt", b"<html>too many downloads</html>"),
        ("best_model.pt", FOLDER_FILES["best_model.pt"][:-30]),
    ],
)
def test_a_file_of_another_kind_is_refused(drive, tmp_path, name, content):
    drive.files[name] = content
    with pytest.raises(ScswError, match=rf"{re.escape(name)} came as .* of another kind"):
        get(f"gdrive:{FOLDER}", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_weights_of_an_old_torch_have_their_form(tmp_path):
    (tmp_path / "best_model.pt").write_bytes(b"\x80\x02\x8a")
    require_form(tmp_path / "best_model.pt")


def test_the_git_id_is_that_of_git(tmp_path):
    (tmp_path / "f").write_bytes(b"hello\n")
    assert git_id(tmp_path / "f") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_the_forms_of_an_address():
    assert parse_address("hf:a/b-c.d") == Address("hf:a/b-c.d", "hf", "a/b-c.d")
    assert parse_address("hf:a/b@v1/x/y/") == Address("hf:a/b@v1/x/y/", "hf", "a/b", "v1", "x/y")
    assert parse_address(f"gdrive:{FOLDER}").place == FOLDER


@pytest.mark.parametrize(
    "text", ["", "human", "hf:a", "hf:a/b/../c", "hf:a/b@", "gdrive:", "gdrive:x/y", "s3://a/b"]
)
def test_other_addresses_are_refused(text):
    with pytest.raises(ScswError, match="whole-human, brain, hf:"):
        parse_address(text)


def test_short_names_and_sums_stand_in_the_docs():
    page = (ROOT / "docs/checkpoints.md").read_text()
    for name, uri in SHORT_NAMES.items():
        assert parse_address(name).uri == uri
        assert f"| `{name}` | `{uri}` |" in page
    for uri, sums in PUBLISHED_SUMS.items():
        assert f"`{uri}`" in page and set(sums) == set(FILES)
        assert all(
            re.fullmatch(r"[0-9a-f]{64}", value) and value in page for value in sums.values()
        )
