from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from forestgaps_callbacks import remote_control as module
from forestgaps_callbacks.remote_control import RemoteControl, RemoteControlConfig
from forestgaps_core import ConfigError
from forestgaps_core.config.converter import structure
from forestgaps_core.testing import build_component, check_callback


@pytest.fixture
def control(tmp_path: Path) -> RemoteControl:
    made: RemoteControl = build_component("callbacks", RemoteControlConfig(seconds=1e-9), run_folder=tmp_path, label="control")
    return made


def test_contract(tmp_path: Path) -> None:
    check_callback(RemoteControlConfig(seconds=2.0, signals=("SIGTERM",)), tmp_path)


def test_an_unknown_signal_is_reported_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no signal 'SIGTREM' .did you mean 'SIGTERM'"):
        structure({"signals": ["SIGTREM"]}, RemoteControlConfig)


def test_without_a_file_training_continues(control: RemoteControl, trainer: Any) -> None:
    control.step_end(trainer)
    assert trainer.stopped is None
    assert trainer.written == []


@pytest.mark.parametrize(("word", "final"), [("stop", False), (" FINISH\n", True)])
def test_stop_can_be_resumed_and_finish_is_for_good(control: RemoteControl, trainer: Any, word: str, final: bool) -> None:
    control.file.write_text(word)
    control.step_end(trainer)
    assert trainer.final is final
    assert trainer.written == [control.last]
    assert not control.file.exists(), "a resumed run would stop at once"


def test_checkpoint_writes_one_and_continues(control: RemoteControl, trainer: Any) -> None:
    control.file.write_text("checkpoint")
    control.step_end(trainer)
    control.step_end(trainer)
    assert trainer.written == [control.last]
    assert trainer.stopped is None


def test_another_word_is_left_alone(control: RemoteControl, trainer: Any) -> None:
    control.file.write_text("sto")  # being written
    control.step_end(trainer)
    assert trainer.stopped is None
    assert control.file.exists()


@pytest.mark.parametrize(("then", "stopped"), [("go", None), ("stop", "control: stop")])
def test_a_pause_lasts_as_long_as_the_file_requests_it(
    control: RemoteControl, trainer: Any, monkeypatch: pytest.MonkeyPatch, then: str, stopped: str | None
) -> None:
    control.file.write_text("pause")
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            control.file.write_text(then)

    monkeypatch.setattr(module.time, "sleep", nap)
    control.step_end(trainer)
    assert len(naps) == 3
    assert trainer.stopped == stopped


def test_a_pause_ends_when_the_run_is_stopped_otherwise(
    control: RemoteControl, trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.file.write_text("pause")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: trainer.stop("interrupted by SIGTERM", final=False))
    control.step_end(trainer)
    assert trainer.stopped == "interrupted by SIGTERM"


def test_the_file_is_not_read_at_every_step(tmp_path: Path, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    control = RemoteControl(tmp_path / "control", tmp_path / "last.safetensors", seconds=5.0)
    control.step_end(trainer)
    control.file.write_text("stop")
    now = 4.0
    control.step_end(trainer)
    assert trainer.stopped is None
    now = 5.0
    control.step_end(trainer)
    assert trainer.stopped == "control: stop"


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="a signal of Unix")
def test_a_signal_stops_after_the_step_and_the_handler_before_comes_back(control: RemoteControl, trainer: Any) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    control.fit_start()
    assert signal.getsignal(signal.SIGUSR1) != before
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == before, "a second one is not ours"
    assert trainer.stopped is None
    control.step_end(trainer)
    assert trainer.stopped == "received SIGUSR1"
    assert trainer.final is False


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="a signal of Unix")
def test_handlers_are_given_back_at_the_end(control: RemoteControl) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    control.fit_start()
    control.fit_end()
    assert signal.getsignal(signal.SIGUSR1) == before
