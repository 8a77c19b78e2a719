"""Files of S3: through s3fs from moto's server, and from a server that fails as told."""

import hashlib
import json

import numpy as np
import pytest

from scsw.errors import ScswError
from scsw.fetch import s3
from scsw.fetch.fetch import fetch
from tests.fetch.file_server import Files, serve_files

pytest.importorskip("moto.server", reason="moto is not installed (pip install -e '.[test]')")

BUCKET = "sea-ad-single-cell-profiling"
SMALL = b"counts" * 1000
LARGE = np.random.default_rng(2).bytes(11 << 20)  # two parts of 8 MiB


@pytest.fixture(scope="module")
def moto_address():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    fill_bucket(address)
    yield address
    server.stop()


def fill_bucket(address):
    import boto3
    from boto3.s3.transfer import TransferConfig

    account = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=address, **account)
    client.create_bucket(Bucket=BUCKET, ACL="public-read")
    client.put_object(Bucket=BUCKET, Key="MTG/RNAseq/small one.h5ad", Body=SMALL)
    with_parts = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20)
    import io

    client.upload_fileobj(io.BytesIO(LARGE), BUCKET, "MTG/RNAseq/large.h5ad", Config=with_parts)


@pytest.fixture
def bucket(moto_address, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_address)
    return f"s3://{BUCKET}/MTG/RNAseq"


def record_of(path):
    return json.loads(path.with_name(f"{path.name}.fetch.json").read_text())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_in_one_part_is_checked_by_its_md5(bucket, tmp_path):
    (path,) = fetch(f"{bucket}/small one.h5ad", tmp_path)
    assert path == tmp_path / "small one.h5ad" and path.read_bytes() == SMALL
    record = record_of(path)
    assert record["uri"] == f"{bucket}/small one.h5ad"
    assert record["source_checksum"]["etag"] == hashlib.md5(SMALL).hexdigest()
    assert record["source_checksum"]["how"] == "the md5 of the source is that of the file"
    assert record["source_checksum"]["verified"] is True
    assert record["sha256"] == hashlib.sha256(SMALL).hexdigest()


def test_a_file_in_several_parts_is_checked_by_its_parts(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "_BLOCK", 3 << 20)
    (path,) = fetch(f"{bucket}/large.h5ad", tmp_path / "here.h5ad")
    assert path.read_bytes() == LARGE
    checksum = record_of(path)["source_checksum"]
    assert checksum["etag"].endswith("-2") and checksum["verified"] is True
    assert checksum["how"] == "the ETag fits an upload in parts of 8 MiB"


def test_a_complete_file_without_a_record_is_known_by_its_etag(bucket, tmp_path, capsys):
    path = tmp_path / "large.h5ad"
    path.write_bytes(LARGE)
    fetch(f"{bucket}/large.h5ad", path)
    assert "nothing was downloaded" in capsys.readouterr().err
    assert record_of(path)["source_checksum"]["verified"] is True


def test_a_missing_file_is_told(bucket, tmp_path):
    with pytest.raises(ScswError, match=r"there is no s3://.*/missing\.h5ad"):
        fetch(f"{bucket}/missing.h5ad", tmp_path / "a")
    with pytest.raises(ScswError, match="there is no s3://no-such-bucket"):
        fetch("s3://no-such-bucket/a.h5ad", tmp_path / "a")
    assert names(tmp_path) == []


def test_a_folder_is_told_with_its_files(bucket, tmp_path):
    with pytest.raises(ScswError, match=r"is a folder.*large\.h5ad, small one\.h5ad"):
        fetch(bucket, tmp_path / "a")


@pytest.fixture
def failing(monkeypatch):
    """A bucket on a server that fails as told; its files come by plain HTTP, as S3 sends them."""
    files = Files({"/b/x.h5ad": LARGE}, etags={"/b/x.h5ad": hashlib.md5(LARGE).hexdigest()})
    monkeypatch.setattr(s3, "_BLOCK", 4 << 20)
    with serve_files(files) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield files


def test_broken_connections_are_gone_on_with(failing, tmp_path, capsys):
    failing.faults.entries = [None, ("cut", 1000), 503]
    (path,) = fetch("s3://b/x.h5ad", tmp_path / "x.h5ad")
    assert path.read_bytes() == LARGE
    # The first block came; only what was missing was asked for again.
    assert failing.started_at() == [0, 4 << 20, 4 << 20, 4 << 20, 8 << 20]
    assert capsys.readouterr().err.count("trying again") == 2


def test_the_next_call_goes_on(failing, tmp_path):
    failing.faults.entries = [None, *[500] * 6]
    with pytest.raises(ScswError, match="tried 6 times"):
        fetch("s3://b/x.h5ad", tmp_path / "x.h5ad")
    assert names(tmp_path)[0].endswith(".part") and len(names(tmp_path)) == 1
    failing.asked.clear()
    failing.faults.entries = []
    fetch("s3://b/x.h5ad", tmp_path / "x.h5ad")
    assert failing.started_at() == [4 << 20, 8 << 20]
    assert (tmp_path / "x.h5ad").read_bytes() == LARGE
    assert names(tmp_path) == ["x.h5ad", "x.h5ad.fetch.json"]


def test_a_damaged_file_is_refused_and_removed(failing, tmp_path):
    failing.etags["/b/x.h5ad"] = "0" * 32
    with pytest.raises(ScswError, match="arrived damaged"):
        fetch("s3://b/x.h5ad", tmp_path / "x.h5ad")
    assert names(tmp_path) == []


@pytest.mark.parametrize(("status", "text"), [(403, "without an account"), (404, "there is no")])
def test_closed_and_missing_files_are_asked_for_once(failing, tmp_path, status, text, capsys):
    failing.files["/b/x.h5ad"] = status
    with pytest.raises(ScswError, match=text):
        fetch("s3://b/x.h5ad", tmp_path / "x.h5ad")
    assert "trying again" not in capsys.readouterr().err and names(tmp_path) == []


def test_a_server_out_of_reach_is_told(monkeypatch, tmp_path):
    with serve_files(Files({})) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(ScswError, match="tried 6 times"):
        fetch("s3://b/x.h5ad", tmp_path / "x.h5ad")
