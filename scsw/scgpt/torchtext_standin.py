"""A stand-in for the two names of torchtext that the scgpt package imports.

torchtext is discontinued and its compiled library does not load with any current torch, so that
``import scgpt`` fails. scgpt uses only ``torchtext.vocab.Vocab`` and ``torchtext.vocab.vocab``.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Iterable, Mapping


class Vocab:
    """A token table with the methods of ``torchtext.vocab.Vocab`` that scgpt calls.

    Parameters
    ----------
    tokens
        Tokens in index order, or another `Vocab` to copy.
    """

    def __init__(self, tokens: Iterable[str] | Vocab = ()) -> None:
        self._itos = list(tokens._itos if isinstance(tokens, Vocab) else tokens)
        self._stoi = {token: index for index, token in enumerate(self._itos)}
        self._default: int | None = None

    @property
    def vocab(self) -> Vocab:
        """The table itself; scgpt copies one vocabulary from another through this name."""
        return self

    def __len__(self) -> int:
        return len(self._itos)

    def __contains__(self, token: str) -> bool:
        return token in self._stoi

    def __getitem__(self, token: str) -> int:
        if token in self._stoi:
            return self._stoi[token]
        if self._default is None:
            raise RuntimeError(f"Token {token} not found and default index is not set")
        return self._default

    def __call__(self, tokens: Iterable[str]) -> list[int]:
        """Return the indices of some tokens."""
        return [self[token] for token in tokens]

    lookup_indices = __call__

    def insert_token(self, token: str, index: int) -> None:
        """Insert a token; constant time at the end, which is how scgpt loads 60,000 of them."""
        if token in self._stoi or not 0 <= index <= len(self._itos):
            raise RuntimeError(f"Cannot insert token {token!r} at index {index}")
        self._itos.insert(index, token)
        for position in range(index, len(self._itos)):
            self._stoi[self._itos[position]] = position

    def append_token(self, token: str) -> None:
        """Add a token at the end."""
        self.insert_token(token, len(self))

    def lookup_token(self, index: int) -> str:
        """Return the token at an index."""
        return self._itos[index]

    def get_stoi(self) -> dict[str, int]:
        """Return a copy of the token-to-index table."""
        return dict(self._stoi)

    def get_itos(self) -> list[str]:
        """Return a copy of the index-to-token list."""
        return list(self._itos)

    def set_default_index(self, index: int | None) -> None:
        """Set the index of unknown tokens."""
        self._default = index

    def get_default_index(self) -> int | None:
        """Return the index of unknown tokens."""
        return self._default


def vocab(ordered: Mapping[str, int], min_freq: int = 1) -> Vocab:
    """Build a `Vocab` of the tokens counted at least `min_freq` times, in the mapping's order."""
    return Vocab(token for token, count in ordered.items() if count >= min_freq)


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
