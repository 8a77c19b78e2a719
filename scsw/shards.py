"""Steps whose work is divided into shards."""

from __future__ import annotations

from scsw.errors import ScswError


def check_shard(section: str, shard: int, n_shards: int) -> None:
    """Raise a `ScswError` unless there is such a shard of a section's ``shards``."""
    if not 0 <= shard < n_shards:
        raise ScswError(
            f"there is no shard {shard} of {n_shards}",
            expected=f"a shard from 0 to {n_shards - 1}",
            fix=f"raise {section}.shards or correct --shard",
        )
