from __future__ import annotations

import json
from math import inf, nan

import numpy as np

from forestgaps_core.output.json_values import replace_nonfinite


def test_values_that_json_cannot_hold_become_null_at_any_depth():
    values = {"a": nan, "b": [1, (inf, -inf)], "c": {"d": np.float64("nan"), "e": 0.5}, "f": True, "g": "nan", "h": None}
    replaced = replace_nonfinite(values)
    assert replaced == {"a": None, "b": [1, [None, None]], "c": {"d": None, "e": 0.5}, "f": True, "g": "nan", "h": None}
    assert json.loads(json.dumps(replaced, allow_nan=False)) == replaced
