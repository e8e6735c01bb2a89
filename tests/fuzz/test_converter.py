"""The strict converter over classes made at random: it takes what is exactly right, and nothing else, and tells every mistake."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from forestgaps_core.config.converter import structure, structure_config, unstructure
from forestgaps_core.config.mistakes import format_key

from .conftest import case, fuzzing
from .hostile import scalars, values

LONGEST_SENTENCE = 2_000  # characters


class Color(Enum):
    RED = "red"
    ONE = 1


LITERALS = [Literal["auto", "cpu"], Literal[1, "1", True], Literal[0, 2.5]]
LEAVES = [int, float, bool, str, Path, Color, *LITERALS]
HUGE = 10**5000  # more digits than Python writes


def composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Types around types."""
    return st.one_of(
        inner.map(lambda kind: tuple[kind, ...]),
        inner.map(lambda kind: list[kind]),
        inner.map(lambda kind: Sequence[kind]),
        inner.map(lambda kind: Mapping[str, kind]),
        inner.map(lambda kind: dict[str, kind]),
        inner.map(lambda kind: Union[kind, None]),  # noqa: UP007, the types are values here
        st.lists(inner, min_size=2, max_size=3).map(lambda kinds: Union[tuple(kinds)]),  # noqa: UP007
        st.lists(inner, min_size=1, max_size=3).map(made_class),
    )


def made_class(kinds: list[Any]) -> type:
    fields = {f"field_{place}": attrs.field(type=kind) for place, kind in enumerate(kinds)}
    return attrs.make_class("Made", fields, frozen=True, kw_only=True)


types = st.recursive(st.sampled_from(LEAVES), composed, max_leaves=5)
classes = st.lists(types, min_size=1, max_size=4).map(made_class)


def fits(value: Any, kind: Any) -> bool:
    """What the converter should take, in plain lines: the value is exactly of the type, as TOML has it."""
    origin = get_origin(kind)
    if attrs.has(kind):
        fields = {attribute.name: attribute.type for attribute in attrs.fields(kind)}
        if not isinstance(value, dict) or set(value) - set(fields):
            return False
        return all(name in value and fits(value[name], inner) for name, inner in fields.items())
    if origin is Literal:
        return any(type(value) is type(known) and value == known for known in get_args(kind))
    if origin is Union:
        return any(fits(value, inner) for inner in get_args(kind) if inner is not type(None))
    if origin in (tuple, list, Sequence) or getattr(origin, "__name__", "") == "Sequence":
        return isinstance(value, (list, tuple)) and all(fits(item, get_args(kind)[0]) for item in value)
    if origin is dict or getattr(origin, "__name__", "") == "Mapping":
        return isinstance(value, dict) and all(fits(item, get_args(kind)[1]) for item in value.values())
    if kind is Color:
        return any(type(value) is type(member.value) and value == member.value for member in Color)
    if kind is Path:
        return type(value) is str and value != "" and usable(value)
    if kind is float:
        return (type(value) is float and value == value) or fits(value, int)
    return type(value) is kind and (kind is not int or abs(value) < 2**63)


def usable(path: str) -> bool:
    plain = all(character.isprintable() or not ("\x00" <= character < " " or "\x7f" <= character < "\xa0") for character in path)
    return (
        plain
        and len(path.encode("utf-8", "surrogatepass")) <= 4095
        and all(len(p.encode("utf-8", "surrogatepass")) <= 255 for p in path.split("/"))
    )


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type, as they stand in a table."""
    origin = get_origin(kind)
    if attrs.has(kind):
        return st.fixed_dictionaries({attribute.name: of_type(attribute.type) for attribute in attrs.fields(kind)})
    if origin is Literal:
        return st.sampled_from(get_args(kind))
    if origin is Union:
        return st.one_of([of_type(inner) for inner in get_args(kind) if inner is not type(None)])
    if origin is dict or getattr(origin, "__name__", "") == "Mapping":
        return st.dictionaries(st.text(max_size=3), of_type(get_args(kind)[1]), max_size=2)
    if origin is not None:
        return st.lists(of_type(get_args(kind)[0]), max_size=3)
    leaves = {
        int: st.integers(-(2**63) + 1, 2**63 - 1),
        float: st.floats(allow_nan=False) | st.integers(-(2**53), 2**53),
        bool: st.booleans(),
        str: st.text(max_size=5),
        Path: st.sampled_from(["a", "a/b", "/", "../x", "é", "~"]),
        Color: st.sampled_from(["red", 1]),
    }
    return leaves[kind]


def checked(value: Any, kind: type) -> Any:
    """The config, or None; and nothing else may happen."""
    config, problems = structure_config(value, kind)
    assert (config is None) == bool(problems)
    assert all(0 < len(sentence) < LONGEST_SENTENCE and sentence.partition("\n")[0] == sentence for sentence in problems)
    return config


@st.composite
def class_and_value(draw: Any) -> tuple[type, Any]:
    """A class and a table for it that is right, or nearly."""
    kind = draw(classes)
    table = draw(of_type(kind))
    for name in draw(st.lists(st.sampled_from(sorted(table)), max_size=2, unique=True)):
        table[name] = draw(
            st.one_of(values, st.sampled_from([None, HUGE, [HUGE], {"a": HUGE}, "\ud800", b"a", {1: 2}, float("nan")]))
        )
    if draw(st.integers(0, 5)) == 0:
        table[draw(st.text(max_size=5))] = draw(scalars)
    return kind, table


@fuzzing(0.2)
@given(class_and_value())
@example((made_class([int]), {"field_0": HUGE}))
@example((made_class([float]), {"field_0": HUGE}))
@example((made_class([float]), {"field_0": 10**400}))
@example((made_class([Color]), {"field_0": True}))
@example((made_class([Literal["a"]]), {"field_0": [HUGE]}))
@example((made_class([Path]), {"field_0": "\ud800"}))
@example((made_class([str]), {"field_0": datetime.date(1, 1, 1)}))
def test_exactly_what_fits_is_taken_and_it_survives_the_way_back(pair):
    kind, table = pair
    with case("converter") as outcome:
        config = checked(table, kind)
        assert (config is not None) == fits(table, kind)
        if config is not None:
            outcome.accepted = True
            assert structure(unstructure(config), kind) == config


@st.composite
def class_and_mistakes(draw: Any) -> tuple[type, Any, set[str]]:
    """A class, a table for it with some mistakes at its top, and their places."""
    kind = draw(classes)
    table = draw(of_type(kind))
    fields = sorted(table)
    wrong = set(draw(st.lists(st.sampled_from(fields), min_size=1, unique=True)))
    for name in wrong:
        if draw(st.booleans()):
            table[name] = None
        else:
            del table[name]
    unknown = set(draw(st.lists(st.text(max_size=4), max_size=3, unique=True)))
    table |= dict.fromkeys(unknown, 1)
    return kind, table, wrong | unknown


@fuzzing(0.05)
@given(class_and_mistakes())
def test_every_mistake_is_reported_at_once(made):
    kind, table, wrong = made
    with case("converter, many mistakes"):
        _, problems = structure_config(table, kind)
        places = {sentence.partition(": ")[0] for sentence in problems}
        assert len(problems) == len(wrong)
        for name in wrong:
            assert any(sentence.startswith(f"{format_key(name)}:") for sentence in problems), (name, places)


def test_lists_in_lists_beyond_what_python_can_show_are_a_mistake():
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for kind in (int, str, tuple[int, ...], Literal["a"], Color, Path):
        assert checked({"field_0": deep}, made_class([kind])) is None
    while isinstance(deep, list):  # from the outside in, or freeing it would take as much of the stack
        deep = deep.pop()
