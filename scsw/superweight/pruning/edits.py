"""What is done to which weights: the unit of every ablation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

SCALARS = ("ffn_down", "attn_out")
NORMS = ("norm1_gamma", "norm1_beta", "norm2_gamma", "norm2_beta")
FAMILIES = (*SCALARS, "row", "column", *NORMS)

GROUP = 16  # edits that are computed side by side


@dataclass(frozen=True)
class Edit:
    """A change of weights, of which the contribution w·h turns into w·(scale·h + offset).

    Attributes
    ----------
    name
        The weight itself, as a ``candidate_id``.
    weight_set
        What it is here for: ``candidate``, ``family`` (one of the families that are no single
        weight of linear2), ``random`` and ``family_random`` (drawn to compare these with), or
        another set of controls.
    mode
        ``zero``; ``mean`` (`offset` is the mean of h); ``scale``; ``shuffled`` (h permuted over the
        cell's tokens, `<cls>` among them); ``noise`` (the change of zeroing it is made to output
        channel `channel` instead); ``restored`` (zeroed but at the tokens where its output channel
        spikes).
    family
        ``ffn_down`` and ``attn_out`` (one weight of linear2 or of attention's out_proj), ``row``
        and ``column`` (of linear2), ``norm1_gamma, norm1_beta, norm2_gamma, norm2_beta`` (`row` is
        the channel).
    block, row, column
        0-based; None where a family has no such coordinate.
    of
        The candidate that a control belongs to.
    scale, offset
        See above.
    channel
        Of the mode ``noise``.
    threshold
        Of the mode ``restored``: |channel| before norm2 from which on a token counts as a spike.
    others
        ``(block, row, column)`` of further weights of linear2 that are treated alike at the same
        time; their offset is 0.
    draw
        Tells apart edits that differ in nothing else: number of a draw, or size of a set.
    """

    name: str
    weight_set: str
    mode: str
    family: str
    block: int
    row: int | None
    column: int | None
    of: str = ""
    scale: float = 0.0
    offset: float = 0.0
    channel: int | None = None
    threshold: float = math.inf
    others: tuple[tuple[int, int, int], ...] = ()
    draw: int = 0

    def __post_init__(self) -> None:
        own = (self.block, self.row, self.column)
        twice = len({own, *self.others}) < 1 + len(self.others)
        if self.others and (twice or self.family != "ffn_down"):
            raise ValueError(
                f"{self.name}: further weights must be other single weights, each once"
            )

    @property
    def before_mlp(self) -> bool:
        """Whether it changes the block before its linear1."""
        return self.family in ("attn_out", "norm1_gamma", "norm1_beta")

    @property
    def detailed(self) -> bool:
        """Whether every metric is wanted of it, and reconstruction; of others the NLL alone."""
        alone = self.weight_set == "candidate" and self.mode in ("zero", "mean")
        return alone or self.weight_set in ("cumulative", "family")

    @property
    def exact(self) -> bool:
        """Whether it is always computed in the model's own precision.

        Others are ranked and compared, which an error of a hundredth of the effect does not change;
        from pairs the effects of their weights alone are subtracted.
        """
        return self.detailed or self.weight_set == "pair"

    @property
    def start(self) -> int:
        """First block that it changes."""
        return min([self.block, *(block for block, _, _ in self.others)])


def groups_of_edits(edits: Iterable[Edit]) -> list[list[Edit]]:
    """Split edits into groups that are computed alike, at most `GROUP` each, in a fixed order.

    The last digits of a matrix product depend on its shape. The groups hang on the edits alone, so
    that on CPU no digit depends on how they are divided into shards.
    """

    def place(edit: Edit) -> tuple:
        return edit.start, not edit.before_mlp, not edit.detailed, not edit.exact

    def identity(edit: Edit) -> tuple:
        return edit.weight_set, edit.of, edit.name, edit.mode, edit.scale, edit.draw

    groups: list[list[Edit]] = []
    for edit in sorted(edits, key=lambda e: (place(e), identity(e))):
        if not groups or place(groups[-1][0]) != place(edit) or len(groups[-1]) == GROUP:
            groups.append([])
        groups[-1].append(edit)
    return groups


def shard_of(groups: list[list[Edit]], shard: int, n_shards: int) -> list[list[Edit]]:
    """Return the groups of one shard; whole groups, so that shards cannot change a digit."""
    return groups[shard::n_shards]
