from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_callbacks import checkpoints as module
from forestgaps_callbacks.checkpoints import Checkpoints, CheckpointsConfig
from forestgaps_core import ConfigError, hookimpl
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.testing import check_callback

NAME = "validation/gaps/gap_iou"


def names(trainer: Any) -> list[str]:
    found = [path.name for path in trainer.written]
    trainer.written.clear()
    return found


def test_contract(tmp_path: Path) -> None:
    check_callback(CheckpointsConfig(every_epochs=2, every_steps=10, every_minutes=5.0, score=NAME, mode="min", best=3), tmp_path)


def test_the_last_state_is_kept_every_so_many_epochs_and_after_the_last_one(tmp_path: Path, trainer: Any) -> None:
    make_hook = Checkpoints(tmp_path, every_epochs=2)
    trainer.epochs = 5
    asked = []
    for trainer.epoch in range(1, 6):
        make_hook.epoch_end(trainer, {})
        asked.append(names(trainer))
    assert asked == [[], ["last.safetensors"], [], ["last.safetensors"], ["last.safetensors"]]


def test_without_epochs_the_last_state_is_kept_at_the_end_only(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"keep": Checkpoints(tmp_path, every_epochs=0)}, epochs=2)
    assert load_checkpoint(tmp_path / "last.safetensors")["position"]["epoch"] == 2


def test_a_run_stopped_in_the_middle_of_an_epoch_keeps_where_it_was(tmp_path: Path, train: Callable[..., Any]) -> None:
    """Also where the callback that stops it comes later in the run file."""

    class StopAtThree:
        @hookimpl
        def step_end(self, trainer: Any) -> None:
            if trainer.step == 3:
                trainer.stop("enough", final=False)

    train({"keep": Checkpoints(tmp_path, every_epochs=5), "stop": StopAtThree()})
    assert load_checkpoint(tmp_path / "last.safetensors")["position"]["step"] == 3


def test_the_last_state_is_kept_every_so_many_steps(tmp_path: Path, trainer: Any) -> None:
    make_hook = Checkpoints(tmp_path, every_steps=3)
    steps = []
    for trainer.step in range(1, 8):
        make_hook.step_end(trainer)
        steps += [trainer.step] * len(names(trainer))
    assert steps == [3, 6]


def test_the_last_state_is_kept_every_so_many_minutes(tmp_path: Path, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    make_hook = Checkpoints(tmp_path, every_minutes=2.0)
    make_hook.fit_start()
    minutes = []
    for minute in range(1, 6):
        now = 1000.0 + 60 * minute
        make_hook.step_end(trainer)
        minutes += [minute] * len(names(trainer))
    assert minutes == [2, 4]


def test_the_best_is_written_before_the_last_so_that_the_last_never_speaks_of_a_missing_best(tmp_path: Path, trainer: Any) -> None:
    trainer.epoch = 1
    Checkpoints(tmp_path, score=NAME).epoch_end(trainer, {NAME: 0.5})
    assert names(trainer) == ["best.safetensors", "last.safetensors"]


def told(make_hook: Checkpoints, values: list[float]) -> None:
    """Write what is asked, as the trainer would."""

    class Writes:
        epoch, step, epochs, stopped, unwritten = 0, 0, 99, None, frozenset[Path]()

        def checkpoint(self, path: Path) -> None:
            path.write_text(str(self.epoch))

    trainer: Any = Writes()
    for trainer.epoch, value in enumerate(values, start=1):
        make_hook.epoch_end(trainer, {NAME: value})
    make_hook.fit_end()


@given(
    values=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan]), max_size=10),
    best=st.integers(1, 4),
    mode=st.sampled_from(["max", "min"]),
)
def test_the_best_k_are_those_a_sort_finds(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], best: int, mode: Any
) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    told(Checkpoints(folder, score=NAME, best=best, mode=mode, every_epochs=0), values)
    finite = [(epoch, value) for epoch, value in enumerate(values, start=1) if not math.isnan(value)]
    order = sorted(finite, key=lambda entry: (-entry[1] if mode == "max" else entry[1], entry[0]))  # of equals the earlier
    expected = {"best.safetensors": order[0][0]} if order else {}
    if best > 1:
        expected |= {f"best-epoch-{epoch:04d}.safetensors": epoch for epoch, _ in order[:best]}
    assert {path.name: int(path.read_text()) for path in folder.iterdir()} == expected


def test_only_files_it_made_are_deleted(tmp_path: Path) -> None:
    mine = tmp_path / "best-epoch-0099.safetensors"
    mine.write_text("mine")
    told(Checkpoints(tmp_path, score=NAME, best=2), [0.1, 0.2, 0.3, 0.4])
    assert mine.read_text() == "mine"
    assert not (tmp_path / "best-epoch-0001.safetensors").exists()


def test_a_misspelled_score_is_reported_with_its_place(tmp_path: Path, trainer: Any) -> None:
    make_hook = Checkpoints(tmp_path, score="validation/gaps/iou", label="keep")
    with pytest.raises(ConfigError, match=r"callbacks\.keep\.score"):
        make_hook.epoch_end(trainer, {NAME: 0.5})


def test_a_resumed_run_ends_with_the_same_weights_and_the_same_files(tmp_path: Path, train: Callable[..., Any]) -> None:
    def keep(folder: Path) -> dict[str, object]:
        return {"keep": Checkpoints(folder, score="validation/loss", mode="min", best=2)}

    train(keep(tmp_path / "a"), epochs=4)
    train(keep(tmp_path / "b"), epochs=2)
    train(keep(tmp_path / "b"), epochs=4, resume=tmp_path / "b" / "last.safetensors")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in files:
        one, other = (load_checkpoint(tmp_path / run / name) for run in "ab")
        assert all(torch.equal(one["model"][key], other["model"][key]) for key in one["model"]), name
        assert one["callbacks"] == other["callbacks"]


class FullDisk:
    """A trainer of whose checkpoints the disk does not take some."""

    step, epochs, stopped = 0, 99, None

    def __init__(self, refused: set[tuple[int, str]]) -> None:
        self.refused, self.unwritten, self.epoch = refused, set[Path](), 0

    def checkpoint(self, path: Path) -> None:
        if (self.epoch, path.name) in self.refused:
            self.unwritten.add(path)
        else:
            path.write_text(str(self.epoch))
            self.unwritten.discard(path)


def kept(folder: Path, values: list[float], refused: set[tuple[int, str]]) -> tuple[dict[str, int], Checkpoints]:
    make_hook = Checkpoints(folder, score=NAME, best=2, every_epochs=0)
    trainer: Any = FullDisk(refused)
    for trainer.epoch, value in enumerate(values, start=1):
        make_hook.epoch_end(trainer, {NAME: value})
    make_hook.fit_end()
    return {path.name: int(path.read_text()) for path in folder.iterdir()}, make_hook


def test_a_best_state_the_disk_refused_does_not_displace_the_one_before(tmp_path: Path) -> None:
    files, make_hook = kept(tmp_path, [0.1, 0.5, 0.9], {(3, "best.safetensors"), (3, "best-epoch-0003.safetensors")})
    assert files == {"best.safetensors": 2, "best-epoch-0001.safetensors": 1, "best-epoch-0002.safetensors": 2}
    assert make_hook.state_dict() == {"ranking": [[0.5, 2], [0.1, 1]]}


def test_after_a_refusal_the_next_best_is_measured_by_what_is_on_disk(tmp_path: Path) -> None:
    files, make_hook = kept(tmp_path, [0.1, 0.9, 0.5], {(2, "best.safetensors"), (2, "best-epoch-0002.safetensors")})
    assert files == {"best.safetensors": 3, "best-epoch-0001.safetensors": 1, "best-epoch-0003.safetensors": 3}
    assert make_hook.state_dict() == {"ranking": [[0.5, 3], [0.1, 1]]}
