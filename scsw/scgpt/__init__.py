"""scGPT: the package's own model, made importable, with encoder layers that can be looked into.

Importing this package makes ``import scgpt`` possible (see `scsw.scgpt.torchtext_standin`).
"""

from scsw.scgpt.torchtext_standin import ensure_torchtext

ensure_torchtext()
