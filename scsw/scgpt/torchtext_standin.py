"""A stand-in for the two names of torchtext that the scgpt package imports.

torchtext is discontinued and its compiled library does not load with any current torch, so that
``import scgpt`` fails. scgpt asks for ``torchtext.vocab.Vocab`` and ``torchtext.vocab.vocab`` when
it is imported, and calls them in its own tokenizer alone, which scsw does not use.
"""

from __future__ import annotations

import sys
import types
import warnings


class Vocab:
    """Stands where scgpt's `GeneVocab` takes its base class; scsw reads ``vocab.json`` itself."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError(
            "scgpt's GeneVocab needs torchtext, for which scsw has only a stand-in"
        )


def vocab(*_: object, **__: object) -> Vocab:
    """Stand for the function by which scgpt makes a `Vocab`."""
    return Vocab()


def ensure_torchtext() -> None:
    """Put the stand-in into ``sys.modules`` if, and only if, the real torchtext cannot load."""
    # scgpt warns at import that flash_attn is missing; scsw never uses it.
    warnings.filterwarnings("ignore", message="flash_attn is not installed")
    try:
        # Old releases import but lack this function.
        from torchtext.vocab import vocab as _  # noqa: F401
    except (ImportError, OSError):
        for name in [n for n in sys.modules if n.split(".")[0] == "torchtext"]:
            del sys.modules[name]
        package, module = types.ModuleType("torchtext"), types.ModuleType("torchtext.vocab")
        module.Vocab, module.vocab, package.vocab = Vocab, vocab, module
        sys.modules["torchtext"], sys.modules["torchtext.vocab"] = package, module
