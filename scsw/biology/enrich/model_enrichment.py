"""What the enrichment of one model is made of, and the tests of any part of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.biology.enrich.calibration_controls import Controls
from scsw.biology.enrich.candidate_pathways import Libraries, Query, candidate_pathways
from scsw.biology.enrich.set_overlaps import set_overlaps
from scsw.biology.gene_sets import within_background
from scsw.biology.ranking import VIEWS, orientation, view_scores
from scsw.biology.tables import GENE_SCORES, PATHWAYS, SET_OVERLAPS, one_model, typed
from scsw.errors import ScswError
from scsw.files import read_columns, stacked


class ModelEnrichment:
    """The gene scores, candidates, libraries and controls of one model.

    Parameters
    ----------
    gene_scores, candidates
        Files, as for `scsw.biology.enrich.enrich.enrich`.
    libraries
        Library → set → genes, of all libraries that the settings name.
    settings
        Section ``enrich`` of the config.
    controls
        The controls of the candidates; None for none.

    Attributes
    ----------
    queries
        Candidate and view of every test, best candidate first.

    Raises
    ------
    ScswError
        If a table is not as described, or they are of more than one model.
    """

    def __init__(
        self,
        gene_scores: str | Path,
        candidates: str | Path,
        libraries: Libraries,
        settings: SimpleNamespace,
        controls: Controls | None,
    ) -> None:
        self.scores = read_columns(gene_scores, GENE_SCORES, cell_type="all", view=VIEWS)
        listed = read_columns(candidates, ["cohort", "arm", "seed", "rank", "candidate_id"])
        units = [controls.units] if controls else []
        self.model = one_model(self.scores, listed, *units)
        self.libraries, self.settings, self.controls = libraries, settings, controls
        self.best = listed.sort_values("rank")["candidate_id"].head(settings.max_candidates)
        self.queries = [(candidate, view) for candidate in self.best for view in VIEWS]

    def tested(self, places: Iterable[int]) -> pd.DataFrame:
        """Test the candidates and views at these places of `queries`."""
        return stacked([self._one(*self.queries[place]) for place in places])

    def _one(self, candidate: str, view: str) -> pd.DataFrame:
        scores = view_scores(self.scores, view, candidate)
        if scores.empty:
            return scores
        read_in = view_scores(self.scores, "read_in", candidate)
        query = Query(
            scores,
            view,
            sign=orientation(read_in) if len(read_in) else 1.0,
            large=candidate in set(self.best.head(self.settings.prerank_large_candidates)),
            controls=partial(self.controls.z if self.controls else _no_controls, candidate, view),
        )
        table = candidate_pathways(query, self.libraries, self.settings)
        return table.assign(**self.model, candidate_id=candidate, view=view)

    def joined(self, tables: list[pd.DataFrame]) -> pd.DataFrame:
        """Return the rows of all tables, candidate by candidate and view by view."""
        table = stacked(tables)
        if table.empty:
            return typed([], PATHWAYS)
        place = {query: position for position, query in enumerate(self.queries)}
        keys = list(zip(table["candidate_id"], table["view"], strict=True))
        if strange := sorted(set(keys) - set(place)):
            raise ScswError(
                f"a shard tested {' '.join(strange[0])}, which is not among the best candidates",
                expected="shards of the same candidates and config",
                fix="run all shards again",
            )
        table = table.assign(_place=[place[key] for key in keys])
        return typed(table.sort_values("_place", kind="stable"), PATHWAYS)

    def overlaps(self) -> pd.DataFrame:
        """Return the overlaps of the primary libraries' sets, cut to the genes scored."""
        genes = self.scores.loc[self.scores["z"].notna(), "gene"].astype(str).unique()
        stems = [Path(path).stem for path in self.settings.primary_gene_sets]
        whole = {"min_size": 1, "max_size": len(genes) + 1}
        cut = {stem: within_background(self.libraries[stem], genes, **whole) for stem in stems}
        return typed(set_overlaps(cut), SET_OVERLAPS)


def _no_controls(candidate: str, view: str, genes: list[str]) -> np.ndarray:
    return np.empty((0, len(genes)))
