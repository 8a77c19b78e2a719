"""h5ad files of CELLxGENE Discover, by dataset id."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from scsw.errors import ScswError
from scsw.fetch.download import appending
from scsw.fetch.remote import Remote
from scsw.fetch.web import blocks, get_json, head

# The Discover API, https://api.cellxgene.cziscience.com/curation/ui/
_API = "https://api.cellxgene.cziscience.com/curation/v1"


def cellxgene_file(dataset: str) -> Remote:
    """Look up the h5ad file of a dataset.

    Parameters
    ----------
    dataset
        Id of a dataset, of which the newest published version is taken, or of one of its versions.
        The environment variable ``CELLXGENE_API_URL`` names another server of the same interface.

    Raises
    ------
    ScswError
        If there is no such dataset, it has no h5ad, or API and file server disagree on its size.
    """
    version = _version(dataset)
    asset = _h5ad(dataset, version)
    url, size = asset["url"], int(asset["filesize"])
    served = head(url)
    if served["size"] not in ("", str(size)):
        raise ScswError(
            f"the file of {dataset} has {served['size']} bytes",
            expected=f"{size}, as the CELLxGENE API states",
            fix="try again later: a new version may be on its way; nothing was downloaded",
        )
    name = PurePosixPath(urlsplit(url).path).name
    return Remote(
        uri=f"cellxgene:{dataset}",
        name=name,
        size=size,
        etag=served["etag"],
        transfer=appending(name, size, lambda start: blocks(url, served["etag"], start)),
        about={
            "dataset_id": str(version.get("dataset_id", "")),
            "dataset_version_id": str(version.get("dataset_version_id", "")),
            "title": str(version.get("title", "")),
            "schema_version": str(version.get("schema_version", "")),
            "url": url,
        },
    )


def _version(dataset: str) -> dict[str, Any]:
    """Return the metadata of a dataset's newest version, or of the version that is asked for."""
    api = (os.environ.get("CELLXGENE_API_URL") or _API).rstrip("/")
    if found := get_json(f"{api}/datasets/{dataset}/versions"):
        return found[0]  # newest first
    if found := get_json(f"{api}/dataset_versions/{dataset}"):
        return found
    raise ScswError(
        f"CELLxGENE knows no published dataset {dataset}",
        expected="the id of a dataset or of a dataset version",
        fix="take it from the dataset's page or its explorer address (…/e/<id>.cxg/); "
        "the id of a collection does not do",
    )


def _h5ad(dataset: str, version: dict[str, Any]) -> dict[str, Any]:
    assets = version.get("assets") or []
    for asset in assets:
        if asset.get("filetype") == "H5AD" and asset.get("url") and asset.get("filesize"):
            return asset
    kinds = ", ".join(sorted({str(a.get("filetype")) for a in assets})) or "none"
    raise ScswError(
        f"the CELLxGENE dataset {dataset} has no h5ad file (its files: {kinds})",
        expected="an asset H5AD with address and size",
        fix="choose another dataset of the collection",
    )
