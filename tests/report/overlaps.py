"""Finds texts of a figure that overlap, leave the page or are too small to read."""

from __future__ import annotations

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text


def drawn_texts(fig: Figure) -> list[Text]:
    """Return every text that is drawn; call it after `Figure.draw_without_rendering`."""
    texts = [*fig.texts, *[t for part in fig.subfigs for t in part.texts]]
    texts += [*[t for legend in fig.legends for t in _of_legend(legend)]]
    for axes in fig.axes:
        for ax in [axes, *axes.child_axes]:
            texts += [*ax.texts, ax.title, ax._left_title, ax._right_title]
            if ax.get_legend() is not None:
                texts += _of_legend(ax.get_legend())
            if ax.axison:
                texts += [t for axis in (ax.xaxis, ax.yaxis) for t in _of_axis(axis)]
    return [t for t in texts if t.get_visible() and t.get_text().strip()]


def overlapping(fig: Figure, slack: float = 0.6) -> list[tuple[str, str]]:
    """Return pairs of texts whose boxes share more than `slack` points in both directions."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in drawn_texts(fig)]
    room = slack * fig.dpi / 72
    return [
        (a, b)
        for (a, first), (b, second) in combinations(boxes, 2)
        if min(first.x1, second.x1) - max(first.x0, second.x0) > room
        and min(first.y1, second.y1) - max(first.y0, second.y0) > room
    ]


def outside(fig: Figure) -> list[str]:
    """Return texts that leave the page by more than a point."""
    page, room = fig.bbox, fig.dpi / 72
    return [
        t.get_text()
        for t in drawn_texts(fig)
        for box in [t.get_window_extent()]
        if box.x0 < page.x0 - room
        or box.y0 < page.y0 - room
        or box.x1 > page.x1 + room
        or box.y1 > page.y1 + room
    ]


def too_small(fig: Figure, points: float = 7) -> list[str]:
    """Return texts below the smallest size, and those with raised parts, which would be."""
    return [t.get_text() for t in drawn_texts(fig) if t.get_size() < points or "$" in t.get_text()]


def _of_legend(legend) -> list[Text]:
    return [*legend.get_texts(), legend.get_title()]


def _of_axis(axis) -> list[Text]:
    low, high = sorted(axis.get_view_interval())
    labels = [
        label
        for tick, place in zip(axis.get_major_ticks(), axis.get_majorticklocs(), strict=False)
        if low <= place <= high
        for label in (tick.label1, tick.label2)
    ]
    return [*labels, axis.label]
