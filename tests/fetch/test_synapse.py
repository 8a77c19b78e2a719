"""Files of Synapse: with a stand-in of the program, and with the program where it is installed."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from scsw.errors import ScswError
from scsw.fetch.fetch import fetch
from tests.fetch.synapse_server import Synapse, serve

TOKEN = "eyJ0eXAiOiJKV1Qi.made-up-for-the-test.c2lnbmF0dXJl"
CONTENT = "projid,Study\n"
REAL = shutil.which("synapse")


def shown(name="clinical.csv", content=CONTENT, kind="FileEntity", size=None):
    """What ``synapse show`` prints (version 4.5.0)."""
    md5 = hashlib.md5(content.encode()).hexdigest()
    size = len(content) if size is None else size
    local = f"  md5={md5}\n  fileSize={size}\n  contentType=text/csv\n  path=None\n"
    return (
        f"File: {name} (syn7)\n{local if kind == 'FileEntity' else ''}properties:\n"
        f"  concreteType=org.sagebionetworks.repo.model.{kind}\n  id=syn7\n  name={name}\n"
        "  parentId=syn5\n  versionNumber=3\nannotations:\n  name=['not this']\n\nProvenance:\n\n"
    )


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put the stand-in on the PATH; call it with what it answers; it returns what it was given."""
    folder = tmp_path / "program"
    folder.mkdir()
    script = folder / "synapse"
    script.write_text(
        f"#!{sys.executable}\n{Path(__file__).with_name('fake_synapse.py').read_text()}"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SYNAPSE", str(folder))
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", TOKEN)

    def answers(**told):
        (folder / "answers.json").write_text(json.dumps(told))

    def calls():
        path = folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    answers.calls = calls
    return answers


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_no_token(*texts):
    """No piece of the token either: its first 12 letters would tell whose it is."""
    for text in texts:
        for piece in (TOKEN, TOKEN[:12], TOKEN[-12:]):
            assert piece not in text


def test_a_file_comes_by_name_and_is_checked(program, out):
    program(show=[{"out": shown()}], get=[{"files": {"other name.csv": CONTENT}}])
    (path,) = fetch("syn7", f"{out}/")
    assert path == out / "clinical.csv" and path.read_text() == CONTENT
    record = json.loads((out / "clinical.csv.fetch.json").read_text())
    assert record["uri"] == "syn7" and record["source_checksum"]["verified"] is True
    assert record["about"] == {"version": "3", "parent": "syn5"}
    assert names(out) == ["clinical.csv", "clinical.csv.fetch.json"]


def test_the_program_gets_the_token_by_its_environment_only(program, out, capfd):
    program(
        show=[{"out": shown(), "err": "debug: Bearer TOKEN\n"}],
        get=[
            {"code": 1, "err": "Bearer TOKEN\nReadTimeout for TOKEN\n"},
            {"files": {"clinical.csv": CONTENT}},
        ],
    )
    fetch("syn7", out / "clinical.csv")
    show, _, get = program.calls()
    assert show["argv"][-2:] == ["show", "syn7"] and show["token"] == get["token"] == TOKEN
    assert get["argv"][-4:-1] == ["get", "syn7", "--downloadLocation"]
    for call in (show, get):
        assert "-p" not in call["argv"] and call["stdin"] == ""
        assert_no_token(*call["argv"], call["config"])
        assert "auth" not in call["config"]  # no other account goes before the token
    printed = capfd.readouterr()
    assert "ReadTimeout for <token>" in printed.err
    written = [path.read_text() for path in out.iterdir()]
    assert_no_token(printed.err, printed.out, *written)


def test_a_failure_tells_no_token(program, out):
    program(show=[{"code": 1, "err": "TOKEN 403 Client Error: TOKEN\n"}])
    with pytest.raises(ScswError, match=r"<token>") as caught:
        fetch("syn7", out / "clinical.csv")
    assert_no_token(str(caught.value), repr(caught.value), str(caught.value.__cause__))


@pytest.mark.parametrize(
    ("err", "text"),
    [
        ("SynapseHTTPError: 403 Client Error: Forbidden\nYou lack READ", "conditions for use"),
        ("SynapseUnmetAccessRestrictions: unmet", "Data Use Certificate"),
        ("SynapseHTTPError: 404 Client Error: Not Found\nEntity", r"knows no syn7 .*check the id"),
        ("SynapseAuthenticationError: You are not logged in", "does not accept the token"),
    ],
)
def test_refusals_are_told_and_not_repeated(program, out, err, text):
    program(show=[{"code": 1, "err": err}])
    with pytest.raises(ScswError, match=text):
        fetch("syn7", out / "clinical.csv")
    assert len(program.calls()) == 1 and names(out) == []


def test_a_damaged_file_is_not_fetched_again_and_again(program, out):
    program(
        show=[{"out": shown()}], get=[{"code": 1, "err": "SynapseMd5MismatchError: Downloaded"}]
    )
    with pytest.raises(ScswError, match="arrived damaged"):
        fetch("syn7", out / "clinical.csv")
    assert len(program.calls()) == 2 and names(out) == []


def test_what_has_come_stays_for_the_next_call(program, out):
    piece = {"clinical.csv.synapse_download_9": CONTENT[:5]}
    program(show=[{"out": shown()}], get=[{"code": 1, "files": piece, "err": "reset"}] * 7)
    with pytest.raises(ScswError, match=r"reset.*tried 6 times"):
        fetch("syn7", out / "clinical.csv")
    assert names(out) == [".syn7.synapse.part"]
    assert names(out / ".syn7.synapse.part") == ["clinical.csv.synapse_download_9"]


def test_what_has_come_counts_as_space_that_is_not_needed(program, out, monkeypatch):
    work = out / ".syn7.synapse.part"
    work.mkdir()
    (work / "clinical.csv.synapse_download_9").write_text(CONTENT[:5])
    usage = SimpleNamespace(total=99, used=0, free=len(CONTENT) - 5)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    # A beginning of another version of the file is not taken for the file.
    program(show=[{"out": shown()}], get=[{"files": {"clinical.csv": CONTENT}}])
    (path,) = fetch("syn7", out / "clinical.csv")
    assert path.read_text() == CONTENT
    assert names(out) == ["clinical.csv", "clinical.csv.fetch.json"]


def test_the_program_is_given_no_input_to_ask_for(program, out, tmp_path):
    (tmp_path / "typed").write_text("somebody\n")
    before = os.dup(0)
    with (tmp_path / "typed").open() as typed:
        os.dup2(typed.fileno(), 0)
    try:
        program(show=[{"code": 1, "err": "404 Client Error"}])
        with pytest.raises(ScswError):
            fetch("syn7", out / "clinical.csv")
    finally:
        os.dup2(before, 0)
        os.close(before)
    assert program.calls()[0]["stdin"] == ""


def test_a_complete_file_is_only_looked_up(program, out):
    (out / "clinical.csv").write_text(CONTENT)
    program(show=[{"out": shown()}])
    fetch("syn7", out)
    assert len(program.calls()) == 1


def test_a_file_without_the_right_to_download_is_told(program, out):
    program(show=[{"out": shown(size="None")}])
    with pytest.raises(ScswError, match="the right to download it"):
        fetch("syn7", out / "clinical.csv")


def test_a_folder_gives_its_files(program, out, capsys):
    listed = "syn7  clinical.csv\nsyn8  inner/\nsyn9    deeper.csv\nsyn10  b.csv\n"
    program(
        show=[{"out": shown("set", kind="Folder")}, {"out": shown()}, {"out": shown("b.csv", "b")}],
        list=[{"out": listed}],
        get=[{"files": {"clinical.csv": CONTENT}}, {"files": {"b.csv": "b"}}],
    )
    assert [path.name for path in fetch("syn5", out)] == ["clinical.csv", "b.csv"]
    assert "the folder inner/ in it (syn8) is left out" in capsys.readouterr().err


def test_a_folder_needs_a_folder(program, out):
    folder = {"out": shown("set", kind="Folder")}
    program(show=[folder, {"out": shown()}], list=[{"out": "syn7  clinical.csv\n"}])
    with pytest.raises(ScswError, match=r"--out .*/file/"):
        fetch("syn5", out / "file")


@pytest.mark.parametrize(
    ("token", "text"), [("", "is not set"), (f"{TOKEN} {TOKEN}", "holds white space")]
)
def test_without_a_token_nothing_is_asked(program, out, monkeypatch, token, text):
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", token)
    with pytest.raises(ScswError, match=f"SYNAPSE_AUTH_TOKEN {text}") as caught:
        fetch("syn7", out / "clinical.csv")
    assert program.calls() == []
    assert_no_token(str(caught.value))


def test_without_the_program_its_environment_is_named(out, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", TOKEN)
    with pytest.raises(ScswError, match=r"not on the PATH.*envs/fetch\.txt"):
        fetch("syn7", out / "clinical.csv")


@pytest.fixture
def server(monkeypatch):
    if REAL is None:
        pytest.skip("synapseclient's program is not on the PATH (envs/fetch.txt)")
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", TOKEN)
    synapse = Synapse(TOKEN)
    with serve(synapse) as address:
        monkeypatch.setenv("SYNAPSE_SERVER_URL", address)
        yield synapse


LARGE = b"0123456789abcdef" * 200_000


def test_the_real_program_resumes_and_brings_a_folder(server, out, capfd):
    server.add_folder("syn5", "set")
    server.add_file("syn7", "counts.mtx", LARGE, parent="syn5")
    server.add_file("syn8", "names.txt", b"APOE\n", parent="syn5")
    server.faults.entries = [("cut", 1_000_000)]
    assert [path.name for path in fetch("syn5", out)] == ["counts.mtx", "names.txt"]
    assert (out / "counts.mtx").read_bytes() == LARGE
    assert server.ranges[0] is None and server.ranges[1].startswith("bytes=")
    assert len(server.ranges) == 3
    assert len(names(out)) == 4
    printed = capfd.readouterr()
    assert_no_token(printed.err, printed.out, *(p.read_text() for p in out.glob("*.json")))


def test_the_real_program_is_refused(server, out, monkeypatch):
    server.add_file("syn7", "a.csv", b"a")
    server.refused.add("syn7")
    with pytest.raises(ScswError, match=r"refuses syn7 .*You lack READ access"):
        fetch("syn7", out / "a.csv")
    with pytest.raises(ScswError, match=r"knows no syn9"):
        fetch("syn9", out / "a.csv")
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", "another")
    with pytest.raises(ScswError, match=r"does not accept the token"):
        fetch("syn7", out / "a.csv")
    assert names(out) == []


def test_the_real_program_notices_damage(server, out):
    server.add_file("syn7", "a.csv", b"a", md5="0" * 32)
    with pytest.raises(ScswError, match="arrived damaged"):
        fetch("syn7", out / "a.csv")
    assert names(out) == []
