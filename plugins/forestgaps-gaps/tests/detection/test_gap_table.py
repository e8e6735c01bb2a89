from __future__ import annotations

import numpy as np
import pytest

from forestgaps_gaps.detection.gap_table import GapTable, get_column_dtype, list_column_names


def table(count: int, **changed: object) -> GapTable:
    columns = {name: np.arange(count).astype(get_column_dtype(name)) for name in list_column_names()}
    return GapTable(threshold_m=5.0, **columns | changed)


def test_rows_are_picked_by_flags_and_by_index() -> None:
    whole = table(5)
    assert whole.select(whole.area_m2 > 2).number.tolist() == [3, 4]
    assert whole.select(np.array([4, 0])).height_mean.tolist() == [4, 0]
    assert len(whole.select(np.zeros(5, bool))) == 0
    assert whole.select(np.array([1])).threshold_m == 5.0


def test_columns_of_unequal_length_are_no_table() -> None:
    with pytest.raises(ValueError, match="columns differ in length"):
        table(5, area_m2=np.zeros(4))


def test_tables_are_joined_in_order() -> None:
    joined = GapTable.concatenate([table(2), table(3)], 5.0)
    assert joined.pixels.tolist() == [0, 1, 0, 1, 2]
    none = GapTable.concatenate([], 2.0)
    assert len(none) == 0
    assert {name: values.dtype for name, values in none.columns().items()} == {
        n: np.dtype(get_column_dtype(n)) for n in list_column_names()
    }
    assert none.threshold_m == 2.0
