from __future__ import annotations

import re

import numpy as np
import pytest
from attrs import evolve

from forestgaps_evaluation.counting.tile_counts import TileCounts, count_split
from forestgaps_evaluation.protocol.evaluation import evaluate_counts
from forestgaps_evaluation.run_report.statements import (
    compute_mapped_fractions,
    format_thresholds,
    format_with_interval,
    write_statements,
)


@pytest.fixture
def tile_counts(trained) -> TileCounts:
    return count_split(trained, "test", [2, 5, 10, 20])


def said(tile_counts: TileCounts, main: float = 5.0) -> list[str]:
    return [finding.words.replace("\u202f", " ") for finding in write_statements(evaluate_counts([tile_counts]), tile_counts, main)]


def with_counts(tile_counts: TileCounts, *rows: tuple[int, int, int, int]) -> TileCounts:
    """The same counts in each tile, by threshold."""
    return evolve(tile_counts, counts=np.broadcast_to(np.array(rows), (len(tile_counts), len(rows), 4)).copy())


PERFECT, HALF, SKILLESS = (400, 0, 0, 600), (400, 100, 100, 400), (10, 490, 490, 10)


def test_the_best_and_the_worst_threshold_are_named_with_their_numbers(tile_counts):
    sentences = said(with_counts(tile_counts, PERFECT, HALF, (300, 50, 50, 600), (300, 100, 100, 500)))
    assert sentences[0].startswith(
        "Map and reference agree best at 2 m: mean IoU 1.00 (95 % interval 1.00 to 1.00), where gap covers 40.0 %"
    )
    assert "would score 0.30." in sentences[0]
    assert sentences[1].startswith("They agree least at 20 m: mean IoU 0.66")  # (300/500 + 500/700) / 2


def test_a_score_without_skill_is_warned_of(tile_counts):
    sentences = said(with_counts(tile_counts, PERFECT, SKILLESS, HALF, HALF))
    assert "At 5 m the score is not clearly better than that of a map without skill: do not use the map there." in sentences


def test_without_such_a_score_nobody_is_warned(tile_counts):
    assert not any("without skill: do not" in sentence for sentence in said(with_counts(tile_counts, PERFECT, HALF, HALF, HALF)))


def test_area_is_compared_where_it_is_furthest_off(tile_counts):
    found = with_counts(tile_counts, PERFECT, (400, 150, 0, 450), HALF, HALF)
    assert compute_mapped_fractions(found) == pytest.approx([0.4, 0.55, 0.5, 0.5])
    assert any("at 5 m: 55.0 % of the area instead of 40.0 %, 15.0 percentage points more." in words for words in said(found))


def test_one_sided_thresholds_are_told_and_never_judged(tile_counts):
    sentences = said(with_counts(tile_counts, HALF, HALF, (980, 10, 0, 10), (990, 5, 0, 5)))
    assert any(words.startswith("At 10 and 20 m gap covers under 1 % or over 95 %") for words in sentences)
    assert not any(re.search(r"best at (10|20) m|least at (10|20) m", words) for words in sentences)


def test_where_nothing_can_be_judged_it_says_only_that(tile_counts):
    sentences = said(with_counts(tile_counts, *[(1000, 0, 0, 0)] * 4))
    assert sentences[0].startswith("Gap covers under 1 % or over 95 % of the reference at every threshold")
    assert not any("agree" in words for words in sentences)


def test_tiles_it_learned_from_are_a_caution(trained):
    found = count_split(trained, "validation", [2, 5, 10, 20])
    cautions = [finding.words for finding in write_statements(evaluate_counts([found]), found, 5.0) if finding.caution]
    assert any("tiles of the validation split" in words for words in cautions)


def test_thresholds_it_was_not_trained_for_are_a_caution(trained):
    found = count_split(trained, "test", [5, 40])
    assert any("not trained for 40 m" in words for words in said(found))


def test_intervals_that_are_unknown_are_left_out(tile_counts):
    one = evolve(evaluate_counts([tile_counts]).rows[0].scores["mean_iou"], mean=0.5, low=float("nan"), high=float("nan"))
    assert format_with_interval(one) == "0.50"


def test_levels_are_listed_as_people_do(tile_counts):
    rows = [row for row in evaluate_counts([tile_counts]).rows if row.by == "all"]
    assert format_thresholds(rows[:1]) == "2\u202fm"
    assert format_thresholds(rows) == "2, 5, 10 and 20\u202fm"
