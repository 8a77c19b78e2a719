"""Checkpoints in repositories of Hugging Face, through huggingface_hub."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from scsw.errors import ScswError
from scsw.fetch.checkpoint.address import FILES, Address
from scsw.fetch.checkpoint.source import RemoteFile, Source
from scsw.fetch.remote import size_of

_TIMEOUT = 30  # seconds, for the list of files
_AGAIN = "check the connection and give the same command again; it goes on with what has come"


def hugging_face_source(address: Address) -> Source:
    """Look up the three files of a repository at one commit.

    Raises
    ------
    ScswError
        If the repository, revision or a file is not there, is closed, or the server fails.
    """
    import huggingface_hub

    with _explained(address):
        info = huggingface_hub.HfApi().model_info(
            address.place,
            revision=address.revision or None,
            files_metadata=True,
            timeout=_TIMEOUT,
        )
    listed = {sibling.rfilename: sibling for sibling in info.siblings or []}
    folder = f"{address.subfolder}/" if address.subfolder else ""
    _require_files(address, folder, sorted(listed))
    about = {
        "server": huggingface_hub.constants.ENDPOINT,
        "revision": info.sha or "",
        "client": f"huggingface_hub {huggingface_hub.__version__}",
    }
    files = tuple(_file(address, info.sha, name, listed[folder + name]) for name in FILES)
    return Source("Hugging Face", about, files)


def _require_files(address: Address, folder: str, names: list[str]) -> None:
    missing = [name for name in FILES if folder + name not in names]
    if not missing:
        return
    weights = [name for name in names if name.endswith("/best_model.pt")]
    others = ", ".join(names[:20]) or "nothing"
    raise ScswError(
        f"{address.uri} has no {', '.join(missing)}; it holds {others}",
        expected=f"a repository with {', '.join(FILES)} in one folder",
        fix=f"name the folder, such as hf:{address.place}/{Path(weights[0]).parent}"
        if weights
        else "choose another repository; docs/checkpoints.md names some",
    )


def _file(address: Address, commit: str | None, name: str, told: Any) -> RemoteFile:
    # Large files lie outside git: the repository states their sha256, and git's id is another.
    sha256 = told.lfs.sha256 if told.lfs else ""
    git_id = "" if told.lfs else told.blob_id or ""
    return RemoteFile(
        name=name,
        state=f"{commit} {sha256 or git_id}",
        transfer=partial(_transfer, address, commit, told.rfilename, told.size or 0),
        size=told.size or 0,
        sha256=sha256,
        git_id=git_id,
    )


def _transfer(address: Address, commit: str | None, name: str, size: int, path: Path) -> None:
    """Bring one file, going on with the bytes that an earlier call has left.

    `hf_hub_download` throws them away, so its inner function is called, which can go on.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part = path.with_name(f"{path.name}.part")
    if size_of(part) > size:
        part.unlink()
    # Compressed on the way, a byte range would be one of other bytes.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    with _explained(address), part.open("ab") as handle:
        http_get(
            hf_hub_url(address.place, name, revision=commit),
            handle,
            resume_size=handle.tell(),
            headers=headers,
            expected_size=size,
            displayed_filename=path.name,
        )
    os.replace(part, path)


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turn the client's errors into one message each; those of the local disk pass."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ScswError(
            f"{address.place} on Hugging Face is open only to those who accepted its terms",
            fix="accept them on its page, then give your token in the variable HF_TOKEN",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ScswError(
            f"{address.place} on Hugging Face has no revision {address.revision!r}",
            expected="a branch, tag or commit of the repository",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ScswError(
            f"{address.place} is not on Hugging Face, or is private",
            expected="hf:<owner>/<repository> of a public repository",
            fix="check the name; for a private repository give your token in HF_TOKEN",
        ) from error
    except errors.HFValidationError as error:
        raise ScswError(f"{address.uri} is no address on Hugging Face: {error}") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ScswError(f"Hugging Face did not send {address.uri}: {why}", fix=_AGAIN) from error
