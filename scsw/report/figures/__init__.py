"""One module per figure; each has ``draw(tables)``, which returns a figure."""

from collections.abc import Callable
from importlib import import_module

from matplotlib.figure import Figure

from scsw.report.names import FIGURES
from scsw.report.tables import Tables

DRAW: dict[str, Callable[[Tables], Figure]] = {
    name: import_module(f"{__name__}.{name}").draw for name in FIGURES
}
