import hashlib

import numpy as np
import pytest

from scsw.errors import ScswError
from scsw.fetch.checksums import compare, part_sizes, sums
from scsw.fetch.remote import Remote

MIB = 1 << 20


@pytest.fixture(scope="module")
def content():
    return np.random.default_rng(0).bytes(19 * MIB + 5)


def multipart_etag(content, size):
    """The rule of S3, in its own words: the md5 of the joined md5s, and the number of parts."""
    parts = [content[i : i + size] for i in range(0, len(content), size)]
    joined = b"".join(hashlib.md5(part).digest() for part in parts)
    return f"{hashlib.md5(joined).hexdigest()}-{len(parts)}"


def remote(**told):
    return Remote(uri="x", name="x", size=1, transfer=lambda part: None, **told)


@pytest.mark.parametrize("mib", [5, 8, 16, 7])
def test_an_etag_of_parts_is_recomputed(tmp_path, content, mib):
    path = tmp_path / "f"
    path.write_bytes(content)
    etag = multipart_etag(content, mib * MIB)
    found = sums(path, etag)
    verdict = compare(remote(etag=etag), found)
    assert verdict == {"verified": True, "how": f"the ETag fits an upload in parts of {mib} MiB"}
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.md5 == hashlib.md5(content).hexdigest()


def test_an_etag_of_other_parts_is_told_as_unverified(tmp_path, content):
    path = tmp_path / "f"
    path.write_bytes(content)
    etag = multipart_etag(content[::-1], 8 * MIB)
    verdict = compare(remote(etag=etag), sums(path, etag))
    assert not verdict["verified"] and "only the size was checked" in verdict["how"]


def test_whole_parts_end_without_an_empty_one(tmp_path):
    content = bytes(16 * MIB)
    path = tmp_path / "f"
    path.write_bytes(content)
    etag = multipart_etag(content, 8 * MIB)
    assert etag.endswith("-2")
    assert compare(remote(etag=etag), sums(path, etag))["verified"]


def test_part_sizes_fit_the_number_of_parts():
    size = 36 * 10**9
    assert part_sizes(size, "0" * 32 + "-4292") == [8 * MIB]
    assert part_sizes(size, "0" * 32) == [] and part_sizes(0, "0" * 32 + "-1") == []


def test_an_md5_binds_and_an_etag_only_where_it_is_one(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    right, wrong = hashlib.md5(b"abc").hexdigest(), "0" * 32
    found = sums(path, wrong)
    assert compare(remote(md5=right), found)["verified"]
    assert compare(remote(etag=right, etag_binds=True), found)["verified"]
    assert compare(remote(etag=right), found)["verified"]
    assert not compare(remote(etag=wrong), found)["verified"]
    assert not compare(remote(), found)["verified"]
    for told in (remote(md5=wrong), remote(etag=wrong, etag_binds=True)):
        with pytest.raises(ScswError, match="arrived damaged"):
            compare(told, found)
