"""Files of a public S3 bucket, such as SEA-AD's, read without an account."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from scsw.errors import ScswError
from scsw.fetch.download import appending
from scsw.fetch.remote import Interrupted, Remote
from scsw.fetch.retry import with_retries

_BLOCK = 32 << 20  # bytes of one request: few enough requests, little to lose when one breaks


def s3_file(uri: str) -> Remote:
    """Look up a file of a public bucket.

    Parameters
    ----------
    uri
        ``s3://bucket/key``. The environment variable ``AWS_ENDPOINT_URL`` names another server
        than Amazon's.

    Raises
    ------
    ScswError
        If there is no such file, or it is not public.
    """
    system = _file_system()
    info = with_retries(lambda: _asked(uri, lambda: system.info(uri)))
    if info["type"] != "file":
        listed = _asked(uri, lambda: system.ls(uri, detail=False))
        names = [path.rpartition("/")[2] for path in listed]
        raise ScswError(
            f"{uri} is a folder",
            expected="one file of it: " + ", ".join(sorted(filter(None, names))[:20]),
            fix="give the full address of one file",
        )
    name, size, etag = uri.rpartition("/")[2], int(info["size"]), info["ETag"].strip('"')
    return Remote(
        uri=uri,
        name=name,
        size=size,
        etag=etag,
        # Objects encrypted with a key of the owner's are the exception, and are never public.
        etag_binds=True,
        transfer=appending(name, size, lambda start: _blocks(system, uri, size, etag, start)),
        about={"last_modified": str(info.get("LastModified", ""))},
    )


def _file_system() -> Any:
    from s3fs import S3FileSystem

    system = S3FileSystem(
        anon=True,
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or None,
        config_kwargs={"retries": {"max_attempts": 0}, "connect_timeout": 20, "read_timeout": 60},
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    system.retries = 1  # one place tries again: scsw.fetch.retry, which says so
    return system


def _blocks(system: Any, uri: str, size: int, etag: str, start: int) -> Iterator[bytes]:
    # s3fs asks for the file only as long as its ETag is the one at opening.
    with _asked(uri, lambda: system.open(uri, "rb", cache_type="none")) as handle:
        if handle.details["ETag"].strip('"') != etag:
            raise _changed(uri)
        handle.seek(start)
        while start < size:
            block = _asked(uri, lambda: handle.read(_BLOCK))
            if not block:
                raise Interrupted(f"{uri} sent nothing more")
            start += len(block)
            yield block


def _asked(uri: str, question: Callable[[], Any]) -> Any:
    """Call s3fs and sort its errors: final ones are the user's, the others a later try's."""
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError
    from s3fs.utils import FileExpired

    try:
        return question()
    except FileNotFoundError as error:
        raise ScswError(
            f"there is no {uri}",
            expected="an address such as s3://sea-ad-single-cell-profiling/MTG/RNAseq/<file>.h5ad",
            fix="look at the folder: aws s3 ls --no-sign-request, or scsw fetch with the folder",
        ) from error
    except PermissionError as error:
        raise ScswError(
            f"{uri} may not be read without an account, or does not exist",
            expected="a file of a public bucket",
            fix="check the address; S3 gives this answer for a misspelt name as well",
        ) from error
    except FileExpired as error:
        raise _changed(uri) from error
    except (OSError, BotoCoreError, ClientError) as error:
        raise Interrupted(f"{uri}: {error or type(error).__name__}") from error


def _changed(uri: str) -> ScswError:
    return ScswError(
        f"{uri} was replaced at its source while it was downloaded",
        fix="give the same command again; it starts with the new file",
    )
