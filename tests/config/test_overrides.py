from __future__ import annotations

import pytest

from forestgaps_core.config.overrides import apply_overrides, parse_override
from forestgaps_core.errors import ConfigError


def test_overrides_reach_any_depth_and_are_read_as_toml():
    table = apply_overrides(
        {"loss": {"name": "focal", "focus": 2}}, ["loss.focus=1e-3", "metrics.a.b=[1, 2]", "data.folder=some/where"]
    )
    assert table == {"loss": {"name": "focal", "focus": 1e-3}, "metrics": {"a": {"b": [1, 2]}}, "data": {"folder": "some/where"}}


def test_another_name_starts_the_table_of_the_component_again():
    table = apply_overrides({"loss": {"name": "focal", "focus": 2}}, ["loss.smooth=1", "loss.name=dice"])
    assert table == {"loss": {"name": "dice", "smooth": 1}}


def test_the_same_name_leaves_the_table_as_it_is():
    assert apply_overrides({"loss": {"name": "focal", "focus": 2}}, ["loss.name=focal"]) == {"loss": {"name": "focal", "focus": 2}}


def test_overrides_leave_the_table_they_were_given_alone():
    table = {"loss": {"focus": 2}}
    apply_overrides(table, ["loss.focus=3"])
    assert table == {"loss": {"focus": 2}}


@pytest.mark.parametrize("change", ["focus", "focus=1", ".x=1", "loss.=1", "loss.focus.deep=1"])
def test_a_change_that_cannot_be_made_is_reported(change):
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({"loss": {"focus": 2}}, [change])


def test_values_of_overrides():
    assert [parse_override(text) for text in ("1", "1.5", "inf", "true", '"1"', "a-b", "[1, 2]")] == [
        1,
        1.5,
        float("inf"),
        True,
        "1",
        "a-b",
        [1, 2],
    ]
