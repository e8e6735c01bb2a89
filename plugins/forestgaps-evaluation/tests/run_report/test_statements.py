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


def list_sentences(tile_counts: TileCounts, main: float = 5.0) -> list[str]:
    return [
        statement.text.replace("\u202f", " ") for statement in write_statements(evaluate_counts([tile_counts]), tile_counts, main)
    ]


def with_counts(tile_counts: TileCounts, *rows: tuple[int, int, int, int]) -> TileCounts:
    """The same counts in each tile, by threshold."""
    return evolve(tile_counts, counts=np.broadcast_to(np.array(rows), (len(tile_counts), len(rows), 4)).copy())


PERFECT, HALF, SKILLESS = (400, 0, 0, 600), (400, 100, 100, 400), (10, 490, 490, 10)


def test_statements_contain_best_and_worst_threshold(tile_counts):
    sentences = list_sentences(with_counts(tile_counts, PERFECT, HALF, (300, 50, 50, 600), (300, 100, 100, 500)))
    assert sentences[0].startswith(
        "Map and reference agree best at 2 m: mean IoU 1.00 (95 % interval 1.00 to 1.00). There, gaps cover 40.0 %"
    )
    assert "a map without skill, scores 0.30." in sentences[0]
    assert sentences[1].startswith("They agree least at 20 m: mean IoU 0.66")  # (300/500 + 500/700) / 2


def test_statements_with_score_near_baseline_contain_warning(tile_counts):
    sentences = list_sentences(with_counts(tile_counts, PERFECT, SKILLESS, HALF, HALF))
    assert "At 5 m, the score is not clearly better than the baseline. Do not use the map at this threshold." in sentences


def test_statements_with_scores_above_baseline_contain_no_warning(tile_counts):
    assert not any(
        "Do not use the map" in sentence for sentence in list_sentences(with_counts(tile_counts, PERFECT, HALF, HALF, HALF))
    )


def test_statements_compare_area_at_largest_error(tile_counts):
    found = with_counts(tile_counts, PERFECT, (400, 150, 0, 450), HALF, HALF)
    assert compute_mapped_fractions(found) == pytest.approx([0.4, 0.55, 0.5, 0.5])
    assert any("at 5 m: 55.0 % instead of 40.0 %, 15.0 percentage points more." in words for words in list_sentences(found))


def test_statements_report_extreme_prevalence_without_evaluation(tile_counts):
    sentences = list_sentences(with_counts(tile_counts, HALF, HALF, (980, 10, 0, 10), (990, 5, 0, 5)))
    assert any(
        words.startswith("At 10 and 20 m, the gap fraction of the reference is below 1 % or above 95 %") for words in sentences
    )
    assert not any(re.search(r"best at (10|20) m|least at (10|20) m", words) for words in sentences)


def test_statements_with_only_extreme_prevalence_contain_no_agreement(tile_counts):
    sentences = list_sentences(with_counts(tile_counts, *[(1000, 0, 0, 0)] * 4))
    assert sentences[0].startswith("At every threshold, the gap fraction of the reference is below 1 % or above 95 %")
    assert not any("agree" in words for words in sentences)


def test_statements_on_validation_split_contain_caution(trained):
    found = count_split(trained, "validation", [2, 5, 10, 20])
    cautions = [statement.text for statement in write_statements(evaluate_counts([found]), found, 5.0) if statement.caution]
    assert any("tiles are in the validation split" in words for words in cautions)


def test_statements_on_untrained_thresholds_contain_caution(trained):
    found = count_split(trained, "test", [5, 40])
    assert any("not trained for 40 m" in words for words in list_sentences(found))


def test_format_with_interval_unknown_interval_is_omitted(tile_counts):
    one = evolve(evaluate_counts([tile_counts]).rows[0].scores["mean_iou"], mean=0.5, low=float("nan"), high=float("nan"))
    assert format_with_interval(one) == "0.50"


def test_format_thresholds_lists_with_and(tile_counts):
    rows = [row for row in evaluate_counts([tile_counts]).rows if row.by == "all"]
    assert format_thresholds(rows[:1]) == "2\u202fm"
    assert format_thresholds(rows) == "2, 5, 10 and 20\u202fm"
