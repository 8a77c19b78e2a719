"""Enrichment against control units: a bias that all units share is no finding."""

import time

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from scsw.biology.enrich.calibration import is_enriched
from scsw.biology.enrich.enrich import enrich, enrich_shard
from scsw.biology.gene_sets import read_libraries
from scsw.errors import ScswError
from scsw.settings import section_settings

pytestmark = pytest.mark.usefixtures("no_network")
GENES = [f"GENE{i:03d}" for i in range(400)]
N_CONTROLS = 399
VIEWS = ("read_in", "write_out")


def biased(rng, n):
    """Scores of units that all read GENE100 … GENE129, such as genes detected in most cells."""
    z = rng.normal(size=(n, 400))
    z[:, 100:130] += 2.5
    return z


@pytest.fixture
def controls(tmp_path):
    """Write the controls of c1 and c2; c3 has none."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "map"
    folder.mkdir()
    columns, units = {"gene": GENES}, []
    for view in VIEWS:
        place = "c{}" if view == "read_in" else "r{}.c7"
        names = [f"{view}.b1.{place.format(i)}" for i in range(N_CONTROLS)]
        z = biased(rng, N_CONTROLS).astype(np.float32)
        columns |= dict(zip(names, z, strict=True))
        units += [("one", "real", 0, c, view, n, 0.1) for c in ("c1", "c2") for n in names]
    pd.DataFrame(columns).to_parquet(folder / "control_scores.parquet", index=False)
    names = "cohort arm seed candidate_id view control distance".split()
    pd.DataFrame(units, columns=names).to_parquet(folder / "control_units.parquet", index=False)
    return folder


@pytest.fixture
def z():
    """A candidate with the bias of all units and a module of its own, GENE000 … GENE019."""
    z = {view: biased(np.random.default_rng(place), 1)[0] for place, view in enumerate(VIEWS)}
    for scores in z.values():
        scores[:20] += 4
    return z


@pytest.fixture
def settings(tmp_path):
    rng = np.random.default_rng(1)
    axes = {"MODULE": GENES[:20], "DETECTED": GENES[100:130]}
    axes |= {f"AXIS{k}": rng.choice(GENES[200:], 15, replace=False) for k in range(6)}
    others = {f"SET{k}": rng.choice(GENES[200:], 15, replace=False) for k in range(20)}
    more = {"DETECTED_TOO": GENES[102:130]} | {f"{name}_B": s for name, s in others.items()}
    others |= {"MODULE_TOO": GENES[:18]}
    paths = []
    for name, sets in {"axes": axes, "others": others, "more": more}.items():
        lines = ["\t".join([key, "about", *genes]) for key, genes in sets.items()]
        (tmp_path / f"{name}.gmt").write_text("\n".join(lines) + "\n")
        paths.append(str(tmp_path / f"{name}.gmt"))
    own = {"gene_sets": paths, "prerank_gene_sets": paths, "primary_gene_sets": paths[:1]}
    own |= {"top_genes": 60, "permutations": 499, "max_candidates": 3}
    return section_settings("enrich", own | {"prerank_large_candidates": 0})


@pytest.fixture
def run(tmp_path, settings, controls, write, make_verdicts, make_scores):
    def go(z_of, name="out", offset=100.0, **given):
        scores = make_scores(z_of, GENES, offset=offset)
        paths = write(scores=scores, verdicts=make_verdicts(dict.fromkeys(z_of, "not causal")))
        given = {"settings": settings, "controls": controls} | given
        enrich(*paths, tmp_path / name, **given)
        return pd.read_parquet(tmp_path / name / "pathways.parquet")

    return go


@pytest.mark.parametrize("method", ["ora", "prerank"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_set_that_all_units_are_enriched_for_passes_naively_and_not_after_calibration(
    run, z, method, view
):
    table = run({"c1": z})
    own = table[table["method"].eq(method) & table["view"].eq(view)].set_index("gene_set")
    planted, shared = ["MODULE", "MODULE_TOO"], ["DETECTED", "DETECTED_TOO"]
    assert (own.loc[planted + shared, "q"] < 0.05).all()
    assert (own.loc[planted, "calibrated_p"] < 0.01).all()
    assert (own.loc[shared, "calibrated_p"] > 0.05).all()
    assert own.loc["MODULE", "calibrated_q"] < 0.05 < own.loc["DETECTED", "calibrated_q"]
    assert own.loc["MODULE_TOO", "empirical_fdr"] < 0.05 < own.loc["DETECTED_TOO", "empirical_fdr"]
    assert own.index[is_enriched(own, 0.05)].sort_values().tolist() == planted


def test_calibrated_columns_follow_their_rules(run, z):
    table = run({"c1": z})
    assert table["n_controls"].eq(N_CONTROLS).all()
    floors = table.groupby("method")["calibrated_floor"].unique()
    assert floors["ora"] == [1 / 400] and floors["prerank"] == [2 / 400]
    assert (table["calibrated_p"] >= table["calibrated_floor"]).all()
    assert table["primary"].eq(table["library"].eq("axes")).all()
    for (_, _), family in table.groupby(["view", "method"]):
        axes = family[family["primary"]]
        expected = multipletests(axes["calibrated_p"], method="fdr_bh")[1]
        np.testing.assert_allclose(axes["calibrated_q"], expected)
        assert family.loc[~family["primary"], "calibrated_q"].isna().all()
    nulls = table.groupby("view")["calibrated_null"].unique()
    assert nulls["read_in"] == ["399 matched hidden units"]
    assert nulls["write_out"] == ["399 edits of equal size to other output channels"]


def test_the_naive_columns_do_not_depend_on_the_controls(run, z):
    with_controls, without = run({"c1": z}), run({"c1": z}, name="without", controls=None)
    naive = [name for name in without if not name.startswith(("calib", "empir", "n_controls"))]
    pd.testing.assert_frame_equal(with_controls[naive], without[naive])


def test_a_negative_weight_is_compared_like_a_positive_one(run, z):
    """Controls are scored as for a positive weight; the candidate is seen from its own side."""
    flipped = {view: -scores for view, scores in z.items()}
    positive, negative = run({"c1": z}), run({"c1": flipped}, name="negative", offset=-100.0)
    columns = ["gene_set", "method", "view", "calibrated_p", "calibrated_q"]
    order = ["view", "method", "gene_set"]
    a, b = (t[columns].sort_values(order, ignore_index=True) for t in (positive, negative))
    pd.testing.assert_frame_equal(a, b)


def test_a_candidate_without_controls_is_not_calibrated(run, z):
    table = run({"c1": z, "c3": z})
    by_candidate = table.groupby("candidate_id")["n_controls"].unique()
    assert by_candidate["c1"] == [N_CONTROLS] and by_candidate["c3"] == [0]
    assert table.loc[table["candidate_id"].eq("c3"), "calibrated_p"].isna().all()


@pytest.mark.parametrize("empty", ["no candidate", "no scored gene", "no testable set", "silent"])
def test_nothing_to_compare_gives_an_empty_table(run, z, settings, empty):
    z_of = {"c1": z}
    if empty == "no candidate":
        settings.max_candidates = 0
    if empty == "no scored gene":
        z_of = {"c1": {view: np.full(400, np.nan) for view in VIEWS}}
    if empty == "no testable set":
        settings.min_size = 300
    if empty == "silent":
        z_of = {"c1": {view: np.zeros(400) for view in VIEWS}}
    assert run(z_of).empty


def test_controls_that_are_not_scored_are_left_out(run, z, controls):
    table = pd.read_parquet(controls / "control_scores.parquet")
    table["read_in.b1.c0"] = np.float32("nan")
    table.to_parquet(controls / "control_scores.parquet", index=False)
    found = run({"c1": z})
    n = found.groupby("view")["n_controls"].unique()
    assert n["read_in"] == [N_CONTROLS - 1] and n["write_out"] == [N_CONTROLS]


@pytest.mark.parametrize("n", [2, 7])
def test_any_number_of_shards_gives_the_same_bytes(run, z, settings, controls, tmp_path, n):
    z_of = {"c1": z, "c2": {"write_out": z["read_in"]}, "c3": z}
    run(z_of, name="whole")
    paths = [tmp_path / "scores.parquet", tmp_path / "verdicts.parquet"]
    settings.shards = n
    folder = tmp_path / "shards"
    for shard in reversed(range(n)):
        enrich_shard(*paths, folder, settings=settings, shard=shard, controls=controls)
    run(z_of, name="joined", shards=folder)
    for name in ("pathways", "set_overlaps"):
        a, b = ((tmp_path / x / f"{name}.parquet").read_bytes() for x in ("whole", "joined"))
        assert a == b
    with pytest.raises(ScswError, match=f"no shard {n} of {n}"):
        enrich_shard(*paths, folder, settings=settings, shard=n, controls=controls)
    (folder / f"0-of-{n}.parquet").unlink()
    with pytest.raises(ScswError, match=rf"0-of-{n}.parquet does not exist"):
        run(z_of, name="again", shards=folder)


def test_shards_of_other_candidates_are_refused(run, z, settings, controls, tmp_path):
    run({"c1": z}, name="first")
    paths = [tmp_path / "scores.parquet", tmp_path / "verdicts.parquet"]
    given = {"settings": settings, "controls": controls}
    enrich_shard(*paths, tmp_path / "shards", shard=0, **given)
    with pytest.raises(ScswError, match="c1 read_in, which is not among the best"):
        run({"c2": z}, name="second", shards=tmp_path / "shards")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="read_in.b1.c3"), "no scores of 1 controls, such as read_in"),
        (lambda t: t.drop(columns="gene"), r"lacks the columns \['gene'\]"),
        (lambda t: pd.concat([t, t]), "two rows for a gene"),
    ],
)
def test_bad_control_tables_are_refused(run, z, controls, tmp_path, change, said):
    path = controls / "control_scores.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    with pytest.raises(ScswError, match=said):
        run({"c1": z})
    assert not (tmp_path / "out" / "pathways.parquet").exists()


def test_controls_of_another_model_are_refused(run, z, controls):
    path = controls / "control_units.parquet"
    pd.read_parquet(path).assign(seed=4).to_parquet(path, index=False)
    with pytest.raises(ScswError, match="more than one model"):
        run({"c1": z})


def test_missing_control_tables_are_named(run, z, tmp_path):
    with pytest.raises(ScswError, match=r"control_scores.parquet does not exist"):
        run({"c1": z}, controls=tmp_path)


@pytest.mark.slow
def test_a_thousand_controls_and_all_shipped_libraries_take_seconds(
    tmp_path, write, make_scores, make_verdicts
):
    settings = section_settings("enrich", {"permutations": 10, "prerank_large_candidates": 1})
    libraries = read_libraries(settings.gene_sets)
    genes = sorted({gene for sets in libraries.values() for own in sets.values() for gene in own})
    rng = np.random.default_rng(0)
    names = [f"read_in.b0.c{i}" for i in range(1000)]
    z = pd.DataFrame(rng.normal(size=(len(genes), 1000)).astype(np.float32), columns=names)
    z.insert(0, "gene", genes)
    units = pd.DataFrame({"control": names}).assign(
        cohort="one", arm="real", seed=0, candidate_id="c1", view="read_in", distance=0.0
    )
    z.to_parquet(tmp_path / "control_scores.parquet")
    units.to_parquet(tmp_path / "control_units.parquet")
    scores = make_scores({"c1": {"read_in": rng.normal(size=len(genes))}}, genes)
    paths = write(scores=scores, verdicts=make_verdicts({"c1": "not causal"}))
    started = time.perf_counter()
    enrich(*paths, tmp_path / "out", settings=settings, controls=tmp_path)
    assert time.perf_counter() - started < 120  # 20 s when it was written
    table = pd.read_parquet(tmp_path / "out" / "pathways.parquet")
    assert (table["n_controls"] == 1000).all() and table["primary"].sum() == 32
    assert table.loc[table["method"].eq("ora"), "calibrated_floor"].unique() == [1 / 1001]
