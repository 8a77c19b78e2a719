import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from scsw.biology.tables import (
    benjamini_hochberg,
    benjamini_hochberg_once,
    measured_unit,
    one_model,
    typed,
)
from scsw.errors import ScswError
from scsw.files import read_columns


def test_only_the_rows_and_columns_asked_for_are_read(write):
    table = pd.DataFrame({"a": list("xyzx"), "b": list("pppq"), "c": range(4)})
    path = write(t=table)
    assert read_columns(path, ["c"], a=["x", "y"], b="p")["c"].tolist() == [0, 1]
    assert len(read_columns(path, ["c", "a"])) == 4
    as_categories = write(t=table.astype({"a": "category"}))
    assert read_columns(as_categories, ["c"], a="x")["c"].tolist() == [0, 3]
    assert len(read_columns(write(t=table.iloc[:0]), ["c"], a="x")) == 0


def test_a_file_that_is_no_such_table_is_refused(tmp_path, write):
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(ScswError, match="cannot be read as a table"):
        read_columns(tmp_path / "text.parquet", ["a"])
    with pytest.raises(ScswError, match="does not exist"):
        read_columns(tmp_path / "none.parquet", ["a"])
    with pytest.raises(ScswError, match=r"lacks the columns \['b'\]"):
        read_columns(write(t=pd.DataFrame({"a": [1]})), ["a", "b"])


def test_q_is_scipys_and_a_missing_p_takes_no_part():
    p = np.random.default_rng(0).random(30)
    with_gaps = pd.Series(np.insert(p, [3, 17], np.nan), index=range(100, 132))
    q = benjamini_hochberg(with_gaps)
    np.testing.assert_allclose(q.dropna(), false_discovery_control(p))
    assert q.index[q.isna()].tolist() == [103, 118]
    assert benjamini_hochberg(pd.Series([np.nan])).isna().all()


def test_typed_keeps_columns_types_and_order(write):
    columns = {"name": "text", "n": "int64", "rank": "Int64", "yes": "bool"}
    table = typed([{"n": 1.0, "name": "a", "yes": 1, "rank": None, "more": 2}], columns)
    assert list(table.columns) == list(columns)
    assert table.dtypes.astype(str).tolist() == ["object", "int64", "Int64", "bool"]
    empty = pd.read_parquet(write(t=typed([], columns)))
    assert empty.dtypes.astype(str).tolist() == ["string", "int64", "Int64", "bool"]
    with pytest.raises(KeyError):
        typed([{"name": "a"}], columns)


def test_tables_must_be_of_one_model():
    table = pd.DataFrame({"cohort": ["one"] * 2, "arm": "real", "seed": 3})
    assert one_model(table, table.iloc[:0]) == {"cohort": "one", "arm": "real", "seed": 3}
    assert one_model(table.iloc[:0]) == {}
    with pytest.raises(ScswError, match="more than one model"):
        one_model(table, table.assign(seed=4))


def test_rows_of_one_test_count_once_in_its_family():
    p = pd.Series([0.01, np.nan, 0.2, 0.01, 0.04], index=list("vwxyz"))
    test = pd.Series(["a", "n", "b", "a", "c"], index=p.index)
    q = benjamini_hochberg_once(p, test)
    a, b, c = false_discovery_control([0.01, 0.2, 0.04])
    np.testing.assert_allclose(q, [a, np.nan, b, a, c])
    assert benjamini_hochberg_once(p[["w"]], test[["w"]]).isna().all()


def test_weights_of_a_column_share_a_contribution_and_those_of_a_row_a_spike():
    names = pd.Series([f"ffn_down.b1.r{row}.c{column}" for row, column in ((7, 2), (9, 2), (7, 3))])
    for measure, distinct in (("contribution", 2), ("spike", 2), ("effect_nll", 3)):
        assert measured_unit(names, measure).nunique() == distinct
    measures = pd.Series(["contribution", "spike", "effect_nll"])
    assert measured_unit(names, measures).tolist() == [
        "ffn_down.b1.c2", "ffn_down.b1.r9", "ffn_down.b1.r7.c3",
    ]  # fmt: skip
