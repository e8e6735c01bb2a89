from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.data.stratified import Strata, classify, make_strata

EVENLY = [(n + 0.5) / 400 for n in range(400)]


def often(strata: Strata) -> dict[int, float]:
    """How often each place is drawn, by going evenly through both numbers."""
    count: Counter[int] = Counter()
    kinds = Counter(strata.stratum(number) for number in EVENLY)
    for stratum, times in kinds.items():
        for number in EVENLY:
            count[strata.place(stratum, number)] += times
    return {place: times / len(EVENLY) ** 2 for place, times in count.items()}


def test_two_classes_worked_by_hand() -> None:
    strata = make_strata(torch.tensor([[0, 2, 0, -1]]), torch.tensor([1.0, 2.0, 3.0, 5.0]), count=3)
    assert strata.numbers.tolist() == [[0, -1, 1]]
    assert strata.share == (0.5, 0.5)
    assert often(strata) == pytest.approx({0: 0.125, 1: 0.5, 2: 0.375})


def test_each_criterion_gives_an_equal_part() -> None:
    # The first criterion tells place 0 from the others, the second finds them all alike.
    strata = make_strata(torch.tensor([[1, 0, 0], [0, 0, 0]]), torch.ones(3), count=2)
    assert strata.share == (0.25, 0.25, 0.5)
    assert often(strata) == pytest.approx({0: 0.25 + 1 / 6, 1: 0.125 + 1 / 6, 2: 0.125 + 1 / 6}, abs=0.004)


tables = st.integers(1, 3).flatmap(
    lambda criteria: st.lists(
        st.tuples(st.lists(st.integers(-1, 3), min_size=criteria, max_size=criteria), st.integers(0, 5)), min_size=1, max_size=12
    )
)


@settings(max_examples=25, deadline=None)
@given(tables, st.sampled_from([0.0, 0.5, 1.0]))
def test_places_are_sampled_as_often_as_in_a_slow_reference(table, evenness) -> None:
    classes, weights = torch.tensor([row for row, _ in table]).T, torch.tensor([float(weight) for _, weight in table])
    expected: Counter[int] = Counter()
    for row in classes.tolist():
        totals: Counter[int] = Counter()
        for kind, weight in zip(row, weights.tolist(), strict=True):
            if kind >= 0 and weight:
                totals[kind] += weight
        powers = {kind: (total / sum(totals.values())) ** (1 - evenness) for kind, total in totals.items()}
        for place, (kind, weight) in enumerate(zip(row, weights.tolist(), strict=True)):
            if kind in totals and weight:
                expected[place] += powers[kind] / sum(powers.values()) * weight / totals[kind]
    if not expected:
        with pytest.raises(ValueError, match="no place has a class"):
            make_strata(classes, weights, count=4, evenness=evenness)
        return
    whole = sum(expected.values())
    found = often(make_strata(classes, weights, count=4, evenness=evenness))
    assert found.keys() == expected.keys()
    assert found == pytest.approx({place: value / whole for place, value in expected.items()}, abs=0.02)


@given(st.integers(1, 30), st.floats(0, 1, exclude_max=True))
def test_a_place_is_of_the_stratum_requested_even_at_its_ends(count, number) -> None:
    classes = torch.arange(count).repeat(7)[None]
    strata = make_strata(classes, torch.rand(7 * count, generator=torch.Generator().manual_seed(0)) + 0.01, count=count)
    for stratum in range(count):
        for near in (number, 0.0, 1 - 2**-53):
            assert classes[0, strata.place(stratum, near)] == stratum


def test_emphasis_makes_a_stratum_come_more_often() -> None:
    strata = make_strata(torch.tensor([[0, 1, 2, 2]]), torch.ones(4), count=3)
    strata.emphasize([1.0, 3.0, 1.0])
    kinds = Counter(strata.stratum(number) for number in EVENLY)
    assert [kinds[kind] / len(EVENLY) for kind in range(3)] == pytest.approx([0.2, 0.6, 0.2])
    with pytest.raises(ValueError, match="2 factors for 3 strata"):
        strata.emphasize([1.0, 1.0])


def test_other_places_are_found_by_their_classes() -> None:
    strata = make_strata(torch.tensor([[0, 2], [1, 1]]), torch.ones(2), count=3)
    assert strata.of(torch.tensor([[0, 1, 2, -1], [0, 1, 2, 1]])).tolist() == [[0, -1, 1, -1], [-1, 2, -1, 2]]


def test_a_value_on_a_border_belongs_above_it_and_nan_nowhere() -> None:
    values = torch.tensor([[0.0, 4.999, 5.0, 30.0, 80.0, torch.nan]], dtype=torch.float64)
    assert classify(values, (5.0, 15.0, 30.0)).tolist() == [[0, 0, 1, 3, 3, -1]]
