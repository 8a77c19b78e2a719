"""Step `link-components`: heads and MLPs against pathways and stages of disease."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from scsw.biology.components.component_activity import MEASURES
from scsw.biology.enrich import over_representation as ora
from scsw.biology.gene_sets import Library, find_gmt, read_libraries, testable_sets
from scsw.biology.stages.donor_measures import held_out
from scsw.biology.stages.stages import stage_tests
from scsw.biology.tables import (
    AS_MEASURED,
    COMPONENT_PATHWAYS,
    COMPONENT_STAGES,
    THINNED,
    benjamini_hochberg,
    one_model,
    typed,
)
from scsw.files import read_columns, read_table, write_table
from scsw.provenance import recorded

PRIMARY_VIEW, PRIMARY_LIBRARY = "contribution", "ad_axes"
_GENES = "cohort arm seed block component view gene z".split()
_COMPONENT = ["block", "component"]
_MODEL = ["cohort", "arm", "seed"]
_PLACE = ["depth", "donor_id", "cell_class", "region"]
_OF_CANDIDATE = ["candidate_id", "contribution", "spike", "n_cells", "cell_type"]


def link_components(
    components: str | Path,
    component_donors: str | Path,
    donor_scores: str | Path,
    out: str | Path,
    *,
    enrich: SimpleNamespace,
    stages: SimpleNamespace,
    statistics: SimpleNamespace,
    simulated: bool = False,
) -> None:
    """Write ``component_pathways`` and ``component_stages`` of one model.

    Pathways by over-representation and stages by regression, with the functions that test the
    candidates. q of a pathway is Benjamini–Hochberg over all components and all sets of one view
    and library, q of a stage over all components and cell classes of one depth, stage and measure.

    Parameters
    ----------
    components, component_donors
        Tables of the step `components`.
    donor_scores
        ``map/donor_scores.parquet`` of the same model, of which the donors' data are taken.
    out
        Folder for the two tables.
    enrich, stages, statistics
        These sections of the config.
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
        parameters={"enrich": vars(enrich), "stages": vars(stages), **vars(statistics)},
        simulated=simulated,
    ):
        genes = read_columns(components, _GENES)
        activity, data = read_table(component_donors), read_table(donor_scores)
        model = one_model(genes, activity, data)
        tables = {
            "component_pathways": (pathways(genes, libraries, enrich), COMPONENT_PATHWAYS),
            "component_stages": (
                component_stages(activity, data, stages, statistics),
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
            sets = testable_sets(libraries, background, settings)
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


def component_stages(
    activity: pd.DataFrame,
    data: pd.DataFrame,
    settings: SimpleNamespace,
    statistics: SimpleNamespace,
) -> pd.DataFrame:
    """Regress the measures of every component on the stages, as those of candidates are.

    Parameters
    ----------
    activity
        Table ``component_donors.parquet``.
    data
        Table ``donor_scores.parquet``; used are the donors' stages and covariates.
    settings, statistics
        Sections ``stages`` and ``statistics`` of the config.
    """
    used = held_out(data[data["cell_type"].eq("all")])
    facts = used.drop(columns=[*_MODEL, *_OF_CANDIDATE]).drop_duplicates(_PLACE)
    names = activity[_COMPONENT].drop_duplicates()
    number = names.assign(candidate_id=range(len(names)))  # the components' own identifier
    donors = (
        activity.merge(number, on=_COMPONENT)
        .merge(facts, on=_PLACE, validate="many_to_one")
        .assign(cell_type="all")
    )
    by_depth = {depth: donors[donors["depth"].eq(depth)] for depth in (AS_MEASURED, THINNED)}
    order = list(number["candidate_id"])
    table = stage_tests(by_depth, order, settings, statistics, MEASURES)
    return table.merge(number, on="candidate_id").drop(columns="candidate_id")
