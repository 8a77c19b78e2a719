"""A parked table comes back as it went."""

import numpy as np
import pandas as pd

from scsw.cohort.parked import ParkedTable


def test_types_and_values_survive(tmp_path):
    table = pd.DataFrame(
        {
            "text": pd.Categorical(["b", "a", "b"]),
            "n": np.array([1, 2, 3], np.int64),
            "x": [0.1, np.nan, 2.0],
            "flag": [True, False, True],
        },
        index=pd.Index(["c1", "c2", "c3"], dtype=object),
    )
    parked = ParkedTable(table, tmp_path / "t.pickle")
    pd.testing.assert_frame_equal(parked.read(), table, check_exact=True)
    parked.replace(table[:1])
    assert parked.read().index.tolist() == ["c1"]
