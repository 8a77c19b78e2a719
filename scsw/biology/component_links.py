"""Step `link-components`: heads and MLPs against pathways and stages of disease."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from scsw.biology import over_representation as ora
from scsw.biology.component_activity import MEASURES
from scsw.biology.gene_sets import Library, find_gmt, read_libraries, within_background
from scsw.biology.stage_slope import stage_slope
from scsw.biology.stages import STAGE_VARIABLES
from scsw.biology.tables import (
    AS_MEASURED,
    COMPONENT_PATHWAYS,
    COMPONENT_STAGES,
    benjamini_hochberg,
    one_model,
    read_columns,
    typed,
)
from scsw.files import read_table, write_table
from scsw.provenance import recorded

PRIMARY_VIEW, PRIMARY_LIBRARY, PRIMARY_MEASURE = "contribution", "ad_axes", "contribution"
_GENES = "cohort arm seed block component view gene z".split()
_COMPONENT = ["block", "component"]
_DONOR = ["donor_id", "cell_class"]
_OF_CANDIDATE = ["candidate_id", "contribution", "spike", "n_cells", "cell_type"]


def link_components(
    components: str | Path,
    component_donors: str | Path,
    donor_scores: str | Path,
    out: str | Path,
    *,
    enrich: SimpleNamespace,
    stages: SimpleNamespace,
    min_test_donors: int = 10,
    simulated: bool = False,
) -> None:
    """Write ``component_pathways`` and ``component_stages`` of one model.

    Pathways by over-representation and stages by regression, with the functions that test the
    candidates. q of a pathway is Benjamini–Hochberg over all components and all sets of one view
    and library, q of a stage over all components and cell classes of one stage and measure.

    Parameters
    ----------
    components, component_donors
        Tables of the step `components`.
    donor_scores
        ``map/donor_scores.parquet`` of the same model, of which the donors' data are taken.
    out
        Folder for the two tables.
    enrich, stages
        These sections of the config.
    min_test_donors
        Fewest donors of a regression (``statistics.min_test_donors``).
    simulated
        Whether the cohort is simulated; kept in the provenance.

    Raises
    ------
    ScswError
        If a GMT file or a table is not as described.
    """
    libraries = read_libraries(enrich.gene_sets)
    gmt_files = {Path(path).stem: find_gmt(path) for path in enrich.gene_sets}
    with recorded(
        "link_components",
        out,
        inputs={"components": components, "component_donors": component_donors}
        | {"donor_scores": donor_scores, **gmt_files},
        parameters={"enrich": vars(enrich), "stages": vars(stages)}
        | {"min_test_donors": min_test_donors},
        simulated=simulated,
    ):
        genes = read_columns(components, _GENES)
        activity, data = read_table(component_donors), read_table(donor_scores)
        model = one_model(genes, activity, data)
        tables = {
            "component_pathways": (pathways(genes, libraries, enrich), COMPONENT_PATHWAYS),
            "component_stages": (
                stage_tests(activity, data, stages, min_test_donors),
                COMPONENT_STAGES,
            ),
        }
        for name, (table, columns) in tables.items():
            write_table(typed(table.assign(**model), columns), Path(out) / f"{name}.parquet")


def pathways(
    genes: pd.DataFrame, libraries: dict[str, Library], settings: SimpleNamespace
) -> pd.DataFrame:
    """Test the leading genes of every component and view for over-representation.

    Leading are the `settings.top_genes` of largest z above 0; the background is every gene with
    a z. A component whose genes do not differ (a head that is off) leads with none and has no row.
    """
    parts = []
    for (view, block, component), own in genes.dropna(subset="z").groupby(["view", *_COMPONENT]):
        order = own.sort_values(["z", "gene"], ascending=[False, True], kind="stable")
        query = order.loc[order["z"].gt(0), "gene"].head(settings.top_genes).tolist()
        if query:
            background = order["gene"].tolist()
            limits = {"min_size": settings.min_size, "max_size": settings.max_size}
            sets = {n: within_background(s, background, **limits) for n, s in libraries.items()}
            found = ora.over_representation(query, background, sets)
            parts.append(found.assign(view=view, block=block, component=component))
    if not any(len(part) for part in parts):
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True).assign(null=ora.NULL)
    table["q"] = table.groupby(["view", "library"])["p"].transform(benjamini_hochberg)
    # A set that leads everywhere tells nothing of one component.
    of_set = table.groupby(["view", "library", "gene_set"])["p"]
    table["share_of_components"] = of_set.rank(method="max") / of_set.transform("size")
    table["primary"] = table["view"].eq(PRIMARY_VIEW) & table["library"].eq(PRIMARY_LIBRARY)
    return table.sort_values(["view", *_COMPONENT, "library", "p", "gene_set"], kind="stable")


def stage_tests(
    activity: pd.DataFrame, data: pd.DataFrame, settings: SimpleNamespace, min_donors: int
) -> pd.DataFrame:
    """Regress the measures of every component on the stages, donors as units.

    Parameters
    ----------
    activity
        Table ``component_donors.parquet``.
    data
        Table ``donor_scores.parquet``; used are the donors' stages and covariates, as measured
        and over all regions. Reference donors are left out.
    """
    whole_class = data[
        data["depth"].eq(AS_MEASURED)
        & data["cell_type"].eq("all")
        & data["region"].eq("all")
        & ~data["is_reference"].astype(bool)
    ]
    facts = whole_class.drop(columns=_OF_CANDIDATE).drop_duplicates(_DONOR)
    keys = [name for name in ("cohort", "arm", "seed") if name in facts]
    donors = activity.merge(facts.drop(columns=keys), on=_DONOR, validate="many_to_one")
    table = pd.DataFrame(_stage_rows(donors, settings, min_donors))
    if len(table):
        table["q"] = table.groupby(["stage", "measure"])["p"].transform(benjamini_hochberg)
    return table


def _stage_rows(
    donors: pd.DataFrame, settings: SimpleNamespace, min_donors: int
) -> Iterator[dict[str, Any]]:
    primary_stage = "adnc" if donors["adnc"].ge(0).any() else "braak"
    groups = donors.groupby([*_COMPONENT, "cell_class"], observed=True)
    for (block, component, cell_class), group in groups:
        for measure, stage in product(MEASURES, STAGE_VARIABLES):
            cells = group["effect_cells" if measure == "effect_nll" else "n_cells"]
            yield {
                **{"block": block, "component": component, "cell_class": cell_class},
                **{"measure": measure, "stage": stage},
                "primary": (measure, stage) == (PRIMARY_MEASURE, primary_stage),
                **stage_slope(
                    group[cells.ge(settings.min_cells)],
                    measure,
                    stage,
                    settings.covariates,
                    donors_per_term=settings.donors_per_term,
                    min_donors=min_donors,
                ),
            }
