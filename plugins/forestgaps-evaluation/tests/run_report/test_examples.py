from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_evaluation.counting.tile_counts import count_split
from forestgaps_evaluation.run_report.examples import choose_tiles, find_valid_window, make_examples, name_tile, score_each_tile


@pytest.fixture
def tile_counts(trained):
    return count_split(trained, "test", [2, 5, 10, 20])


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=14))
def test_each_tile_is_an_example_of_one_thing_and_best_beats_typical_beats_worst(values):
    scores = np.array(values)
    found = choose_tiles(scores)
    every = [n for places in found.values() for n in places]
    assert len(every) == len(set(every))
    assert len(every) >= min(3, np.isfinite(scores).sum())
    worst, typical, best = (scores[found[why]] for why in ("worst", "typical", "best"))
    assert np.isfinite(scores[every]).all()
    if len(typical) and len(best):
        assert worst.max() <= typical.min() <= typical.max() <= best.min()


def test_a_tile_is_scored_at_its_own_two_sided_thresholds(tile_counts):
    counts = np.zeros_like(tile_counts.counts)
    counts[:] = [[100, 0, 0, 900], [400, 0, 0, 600], [400, 100, 100, 400], [900, 10, 10, 80]]
    counts[0, 0] = [0, 0, 0, 1000]  # no gap here
    counts[1] = [1, 0, 0, 1]  # hardly a pixel
    found = score_each_tile(evolve(tile_counts, counts=counts))
    middle = (400 / 600 + 400 / 600) / 2
    last = (900 / 920 + 80 / 100) / 2
    assert found[0] == pytest.approx(np.mean([1, middle, last]))
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(np.mean([1, 1, middle, last]))


def test_pictures_show_the_tile_and_give_its_numbers(trained, tile_counts):
    found = make_examples(trained, tile_counts, 5.0)
    assert {example.why for example in found} == {"typical", "best", "worst"}
    for example in found:
        n = int(example.name.split()[1]) - 1
        tp, fp, fn, tn = tile_counts.counts[n, 1]
        total = tp + fp + fn + tn
        _, reference, mapped, agreed = example.maps
        assert f"{100 * (tp + fn) / total:.1f}\u202f%" in reference.caption
        assert f"{100 * (tp + fp) / total:.1f}\u202f%" in mapped.caption
        assert f"{(tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2:.2f}" in agreed.caption
        assert all(picture.alt.startswith(example.name) for picture in example.maps)
        assert example.maps[0].width == 40 * round(420 / 40)


def test_tiles_are_named_with_their_block(tile_counts):
    assert name_tile(tile_counts, 3) == "Tile 4 (1)"
    assert name_tile(evolve(tile_counts, blocks=tuple(f"tile {n}" for n in tile_counts.index)), 3) == "Tile 4"


def test_empty_margins_are_clipped():
    valid = np.zeros((6, 8), bool)
    valid[1:4, 2:7] = True
    valid[2, 4] = False
    assert find_valid_window(valid) == (slice(1, 4), slice(2, 7))
