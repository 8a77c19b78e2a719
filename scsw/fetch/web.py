"""Files and JSON from a web server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scsw.errors import ScswError
from scsw.fetch.remote import Interrupted
from scsw.fetch.retry import with_retries

_TIMEOUT = (20, 60)  # seconds, to connect and between two bytes
_BLOCK = 1 << 16  # bytes; what a broken connection can lose
_LATER = {408, 425, 429, 500, 502, 503, 504}  # statuses that may pass


def get_json(url: str) -> Any | None:
    """Return the JSON at an address, or None where there is none (404)."""
    import requests

    def attempt() -> Any | None:
        with _answer("GET", url, {"Accept": "application/json"}, missing=True) as answer:
            if answer.status_code == 404:
                return None
            try:
                return answer.json()
            except requests.exceptions.JSONDecodeError as error:
                raise Interrupted(f"{url} sent no JSON") from error
            except requests.RequestException as error:
                raise Interrupted(f"{url}: {error}") from error

    return with_retries(attempt)


def head(url: str) -> dict[str, str]:
    """Return the size (``size``, decimal text) and the ETag (``etag``) of a file."""

    def attempt() -> dict[str, str]:
        with _answer("HEAD", url, {"Accept-Encoding": "identity"}) as answer:
            etag = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
            return {"size": answer.headers.get("Content-Length", ""), "etag": etag}

    return with_retries(attempt)


def blocks(url: str, etag: str, start: int) -> Iterator[bytes]:
    """Yield the bytes of a file from byte `start` on.

    Raises
    ------
    ScswError
        If the file is gone, closed, or its ETag is no longer `etag`.
    Interrupted
        If the connection breaks.
    """
    import requests

    headers = {"Range": f"bytes={start}-", "Accept-Encoding": "identity"}
    with _answer("GET", url, headers) as answer:
        if etag and answer.headers.get("ETag", etag).removeprefix("W/").strip('"') != etag:
            raise ScswError(
                f"{url} was replaced at its source while it was downloaded",
                fix="give the same command again; it starts with the new file",
            )
        skip = start if answer.status_code == 200 else 0  # a server that knows no ranges
        try:
            for block in answer.iter_content(_BLOCK):
                kept, skip = block[skip:], max(0, skip - len(block))
                if kept:
                    yield kept
        except requests.RequestException as error:
            raise Interrupted(f"{url}: the connection broke") from error


def _answer(method: str, url: str, headers: dict[str, str], missing: bool = False) -> Any:
    """Ask a server; with `missing` a 404 is an answer, not an error."""
    import requests

    try:
        answer = requests.request(
            method, url, headers=headers, stream=True, timeout=_TIMEOUT, allow_redirects=True
        )
    except (requests.ConnectionError, requests.Timeout) as error:
        raise Interrupted(f"{url} cannot be reached") from error
    except requests.RequestException as error:
        raise ScswError(f"{url} cannot be asked: {error}") from error
    status = answer.status_code
    if status < 400 or (missing and status == 404):
        return answer
    answer.close()
    if status in _LATER:
        raise Interrupted(f"{url} answered {status} {answer.reason}")
    raise ScswError(
        f"{url} answered {status} {answer.reason}",
        expected="a public file",
        fix="check the address" if status == 404 else "check whether the file is public",
    )
