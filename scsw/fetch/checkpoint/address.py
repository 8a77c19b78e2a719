"""Where scGPT checkpoints lie: the short names, and the forms of an address."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scsw.errors import ScswError

# What a scGPT folder needs; nothing else is taken.
FILES = ("args.json", "vocab.json", "best_model.pt")

# Google Drive folders: the model zoo in the README of github.com/bowang-lab/scGPT.
_WHOLE_HUMAN_DRIVE = "gdrive:1oWh_-ZRdhtoGQ2Fw24HP41FgLoomVo-y"
_BRAIN_DRIVE = "gdrive:1vf1ijfQSk7rGdDGpBntR5bi5g6gNt-Gx"
# wanglab is the organisation of scGPT's authors on Hugging Face. Repository and revision as in
# benchmarks/setup_resources.py of github.com/GoyalLab/CIPHER and in
# configs/scgpt_backbone.lock.json of github.com/wangherm/Virtual_Cell.
_WHOLE_HUMAN_HUB = "hf:wanglab/scGPT-human@a24c237737a40f3720f75abb555489e9fe753be6"

SHORT_NAMES = {"whole-human": _WHOLE_HUMAN_HUB, "brain": _BRAIN_DRIVE}

# sha256 by file, of the lock file above for Hugging Face, and of the model card
# huggingface.co/u-cellm/scGPT-whole-human for the Drive folder; they are the same files. None were
# found for the brain checkpoint.
_WHOLE_HUMAN = {
    "args.json": "c18e075e018140cb8b2d9029387b9de26607a5ce6a8ccabd6ead70cd76b95d60",
    "vocab.json": "acca93d114ca62c3f0f50debbd23e8c87f0714f4737764454f6b2b13f2e8580f",
    "best_model.pt": "6cb5d451ab5c4b33eb673adbe4fddc61d2389df1b89b7651a9fe2e557572b922",
}
PUBLISHED_SUMS = {_WHOLE_HUMAN_HUB: _WHOLE_HUMAN, _WHOLE_HUMAN_DRIVE: _WHOLE_HUMAN}

_HUB = re.compile(
    r"hf:(?P<place>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@\s]+))?(?:/(?P<subfolder>[^@\s]+?))?/?"
)
_DRIVE = re.compile(r"gdrive:(?P<place>[\w-]{10,})")


@dataclass(frozen=True)
class Address:
    """One address.

    Attributes
    ----------
    uri
        The address in full; a short name is replaced by what it stands for.
    kind
        ``hf`` or ``gdrive``.
    place
        Repository (``owner/name``) or id of the Drive folder.
    revision
        Branch, tag or commit of the repository, "" for the newest.
    subfolder
        Folder inside the repository, "" for its top.
    """

    uri: str
    kind: str
    place: str
    revision: str = ""
    subfolder: str = ""


def parse_address(text: str) -> Address:
    """Return what an address or a short name stands for.

    Raises
    ------
    ScswError
        If it has none of the known forms.
    """
    uri = SHORT_NAMES.get(text, text)
    if found := _HUB.fullmatch(uri):
        parts = {name: value or "" for name, value in found.groupdict().items()}
        if ".." not in parts["subfolder"].split("/"):
            return Address(uri, "hf", **parts)
    if found := _DRIVE.fullmatch(uri):
        return Address(uri, "gdrive", found["place"])
    raise ScswError(
        f"{text!r} is no address of a checkpoint",
        expected=f"{', '.join(SHORT_NAMES)}, hf:<owner>/<repository>[@revision][/subfolder], or "
        "gdrive:<folder id>",
        fix="download other folders yourself and give their path in model.checkpoint",
    )
