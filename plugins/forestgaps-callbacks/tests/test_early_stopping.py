from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_callbacks.early_stopping import EarlyStopping, EarlyStoppingConfig
from forestgaps_core import ConfigError
from forestgaps_core.testing import check_callback

NAME = "validation/gaps/gap_iou"


def told(callback: EarlyStopping, trainer: Any, values: Iterable[float]) -> int | None:
    """The epoch in which training stops."""
    for value in values:
        trainer.epoch += 1
        callback.epoch_end(trainer, {NAME: value})
        if trainer.stopped is not None:
            return int(trainer.epoch)
    return None


def test_contract(tmp_path: Path) -> None:
    check_callback(EarlyStoppingConfig(score=NAME, patience=3, minimum_change=0.01, mode="min", limit=2.0), tmp_path)


def test_training_stops_when_patience_has_run_out_after_the_best(trainer: Any) -> None:
    assert told(EarlyStopping(NAME, patience=2), trainer, [0.1, 0.3, 0.2, 0.3, 0.9]) == 4
    assert trainer.stopped == f"{NAME} has not improved for 2 epochs (best: 0.3 after epoch 2)"
    assert trainer.final


def test_min_mode_waits_for_smaller_scores(trainer: Any) -> None:
    assert told(EarlyStopping(NAME, patience=2, mode="min"), trainer, [0.5, 0.4, 0.45, 0.41]) == 4


def test_changes_below_the_minimum_do_not_count(trainer: Any) -> None:
    assert told(EarlyStopping(NAME, patience=2, minimum_change=0.1), trainer, [0.5, 0.55, 0.59]) == 3


def test_nan_counts_as_no_improvement(trainer: Any) -> None:
    assert told(EarlyStopping(NAME, patience=2), trainer, [0.5, math.nan, math.nan]) == 3


def test_a_score_that_is_never_defined_stops_too(trainer: Any) -> None:
    assert told(EarlyStopping(NAME, patience=2), trainer, [math.nan, math.nan]) == 2
    assert trainer.stopped is not None and "never defined" in trainer.stopped


def test_a_score_beyond_the_limit_stops_at_once(trainer: Any) -> None:
    assert told(EarlyStopping(NAME, patience=9, mode="min", limit=2.0), trainer, [1.0, 2.0, 2.5]) == 3
    assert trainer.stopped == f"{NAME} is 2.5, worse than the limit of 2"


def test_a_misspelled_score_is_an_error_with_its_place(trainer: Any) -> None:
    callback = EarlyStopping("validation/gaps/gap_uoi", label="stop")
    with pytest.raises(ConfigError, match=r"callbacks\.stop\.score: found .*did you mean 'validation/gaps/gap_iou'"):
        told(callback, trainer, [0.5])


@given(values=st.lists(st.sampled_from([0.1, 0.2, 0.3, math.nan]), max_size=12), patience=st.integers(1, 4), cut=st.integers(0, 12))
def test_a_resumed_run_stops_in_the_same_epoch(values: list[float], patience: int, cut: int) -> None:
    def fresh(epoch: int = 0) -> Any:
        trainer = SimpleNamespace(epoch=epoch, stopped=None)
        trainer.stop = lambda reason: setattr(trainer, "stopped", reason)
        return trainer

    whole = told(EarlyStopping(NAME, patience=patience), fresh(), values)
    first = EarlyStopping(NAME, patience=patience)
    stopped = told(first, fresh(), values[:cut])
    if stopped is None:
        second = EarlyStopping(NAME, patience=patience)
        second.load_state_dict(first.state_dict())
        stopped = told(second, fresh(len(values[:cut])), values[cut:])
    assert stopped == whole


@given(values=st.lists(st.sampled_from([0.1, 0.2, 0.3, math.nan]), max_size=12), patience=st.integers(1, 4))
def test_it_agrees_with_ten_slow_lines(values: list[float], patience: int) -> None:
    expected = None
    for last in range(1, len(values) + 1):
        seen = values[:last]
        finite = [v for v in seen if not math.isnan(v)]
        epoch_of_best = seen.index(max(finite)) + 1 if finite else 0
        if last - epoch_of_best >= patience:
            expected = last
            break
    trainer: Any = SimpleNamespace(epoch=0, stopped=None)
    trainer.stop = lambda reason: setattr(trainer, "stopped", reason)
    assert told(EarlyStopping(NAME, patience=patience), trainer, values) == expected
