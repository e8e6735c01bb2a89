from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
from attrs import field, frozen
from attrs.validators import ge, lt
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.config.converter import structure, structure_config, unstructure
from forestgaps_core.errors import ConfigError


@frozen(kw_only=True)
class Inner:
    share: float = field(default=0.5, validator=[ge(0), lt(1)])


@frozen(kw_only=True)
class Settings:
    focus: float = field(default=2.0, validator=ge(0))
    count: int = 3
    on: bool = False
    mode: Literal["auto", "cpu"] = "auto"
    workers: int | Literal["auto"] = "auto"
    values: tuple[float, ...] = (1.0, 2.0)
    inner: Inner | None = None
    weights: Mapping[str, float] = field(factory=dict)
    folder: Path | None = None
    low: float = 0.0
    high: float = field(default=1.0)

    @high.validator
    def _above_low(self, attribute, value):
        if value <= self.low:
            raise ValueError("must be above low")


@frozen(kw_only=True)
class Demanding:
    folder: Path = field(metadata={"help": "Where the data is."})


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"count": 7.9}, "count: found 7.9, expected a whole number"),
        ({"count": True}, "count: found true, expected a whole number"),
        ({"on": "false"}, "on: found 'false', expected true or false"),
        ({"on": 1}, "on: found 1, expected true or false"),
        ({"focus": "1e-3"}, "focus: found '1e-3', expected a number"),
        ({"focus": -1}, "focus: found -1.0; must be >= 0"),
        ({"foucs": 1}, "foucs: unknown key (did you mean 'focus'?)"),
        ({"mode": "cup"}, "mode: found 'cup', expected one of 'auto', 'cpu' (did you mean 'cpu'?)"),
        ({"values": 3}, "values: found 3, expected a list"),
        ({"values": "23"}, "values: found '23', expected a list"),
        ({"values": [1, "a"]}, "values[1]: found 'a', expected a number"),
        ({"inner": {"share": 5}}, "inner.share: found 5.0; must be < 1"),
        ({"inner": 3}, "inner: found 3, expected a table"),
        ({"weights": {"2": "x"}}, "weights.2: found 'x', expected a number"),
        ({"folder": 3}, "folder: found 3, expected a path"),
        ({"low": 2.0, "high": 1.0}, "high: found 1.0; must be above low"),
    ],
)
def test_a_mistake_is_reported_with_its_place_what_was_found_and_what_would_do(table, sentence):
    _, problems = structure_config(table, Settings)
    assert len(problems) == 1
    assert problems[0].startswith(sentence)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        structure({"focus": -1, "count": 1.5, "inner": {"share": 2, "shore": 1}, "fokus": 1}, Settings)
    assert len(caught.value.problems) == 5


def test_a_missing_setting_is_reported_with_its_help():
    _, problems = structure_config({}, Demanding)
    assert problems == ["folder: is missing: Where the data is."]


def test_a_whole_number_is_a_number():
    assert structure({"focus": 1}, Settings).focus == 1.0
    assert isinstance(structure({"focus": 1}, Settings).focus, float)


settings = st.builds(
    Settings,
    focus=st.floats(0, 1e6),
    count=st.integers(-(2**63) + 1, 2**63 - 1),
    on=st.booleans(),
    mode=st.sampled_from(["auto", "cpu"]),
    workers=st.one_of(st.integers(0, 64), st.just("auto")),
    values=st.lists(st.floats(allow_nan=False), max_size=4).map(tuple),
    inner=st.one_of(st.none(), st.builds(Inner, share=st.floats(0, 0.99))),
    weights=st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=3),
    folder=st.one_of(st.none(), st.just(Path("a/b"))),
)


@given(settings)
def test_a_config_survives_the_way_through_a_table(config):
    assert structure(unstructure(config), Settings) == config


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["focus", "count", "on", "mode", "workers", "values", "inner", "weights", "folder", "x"]), plain
    )
)
def test_anything_at_all_is_a_config_or_a_list_of_mistakes(table):
    config, problems = structure_config(table, Settings)
    assert (config is None) == bool(problems)
