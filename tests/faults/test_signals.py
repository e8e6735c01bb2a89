"""SIGTERM and SIGINT: the step is finished, its state saved, the status tells which; a second one leaves at once."""

from __future__ import annotations

import json
import os
import random
import signal

import pytest

from forestgaps_core.files.checkpoint import load_checkpoint

from .kill import Strike
from .trials import PREPARED, same_folder

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}

SLOW = '''
import time
from attrs import define, frozen
from forestgaps_core import hookimpl

@define(eq=False)
class Slow:
    folder: object

    @hookimpl
    def step_end(self, trainer):
        if trainer.step == 4 and not (self.folder / "slept").exists():
            (self.folder / "slept").touch()
            time.sleep(600)

@frozen(kw_only=True)
class SlowConfig:
    """A step that takes ten minutes, once."""

    def build(self, run_folder):
        return Slow(run_folder)

@hookimpl
def forestgaps_callbacks():
    return {"slow": SlowConfig}
'''


ALL = os.environ.get("FORESTGAPS_FAULTS") == "all"
SIGNALS = list(STATUS) if ALL else [signal.SIGTERM]


def asked_to_end(status: int, number: signal.Signals) -> bool:
    """By its own status, or by the signal itself before Python listens to it; shells report both alike."""
    return status in (STATUS[number], -number)


@pytest.mark.parametrize("changes", [(), PREPARED] if ALL else [PREPARED])
@pytest.mark.parametrize("number", STATUS)
def test_a_terminated_training_saves_its_state_and_continues_exactly(number, changes, workshop):
    trial = workshop.training(*changes)
    trial.place.mkdir(parents=True)
    moments = random.Random(int(number) + len(changes))
    met = 0
    for _ in range(2):
        strike = Strike(after=moments.uniform(0, 0.3 * trial.seconds), signal=number, since="run/log.jsonl")
        end = trial.start(strike)
        if end.status == 0:
            break
        assert end.status == STATUS[number], end.output
        assert "To resume: forestgaps train --resume run" in end.output
        done = [json.loads(line)["step"] for line in (trial.folder / "log.jsonl").read_text().splitlines()]
        kept = load_checkpoint(trial.folder / "checkpoints" / "last.safetensors")["position"]["step"]
        assert kept == max(done, default=0)  # nothing is done again
        met += 1
    assert met
    if end.status:
        assert trial.start(None).status == 0
    trial.compare()


@pytest.mark.parametrize("number", SIGNALS)
def test_in_validation_the_pass_is_left_and_begun_again(number, workshop):
    """The network then holds averaged weights: they must not be saved as those being trained."""
    for after in (0.0, 0.004, 0.02) if ALL else (0.004,):
        trial = workshop.training("training.epochs=1")
        trial.place.mkdir(parents=True)
        end = trial.start(Strike(after=after, signal=number, since="run/table_epochs.csv"))
        if end.status:
            assert end.status == STATUS[number], end.output
            assert trial.start(None).status == 0
        trial.compare()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_leaves_at_once(number, workshop, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    trial = workshop.training()
    train = [*trial.first, "--set", "callbacks.slow.name=slow"]
    strike = Strike(after=0.0, wait=0.3, signal=number, again=0.5, since="run/slept")
    end = workshop.zygote.run("-p", "slow.py", *train, cwd=tmp_path, strike=strike)
    assert asked_to_end(end.status, number), end.output
    assert end.left < 30  # of the 600 seconds that the step takes
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert state["position"]["step"] == 3
    assert workshop.zygote.run("-p", "slow.py", "train", "--resume", "run", cwd=tmp_path).status == 0


@pytest.mark.parametrize("make", ["training", "preparing", "predicting"])
@pytest.mark.parametrize("number", SIGNALS)
def test_any_command_ends_by_it_and_is_begun_again(number, make, workshop):
    trial = getattr(workshop, make)()
    trial.place.mkdir(parents=True)
    moments = random.Random(int(number))
    for share in (0.1, 0.5):
        end = trial.start(Strike(after=share * trial.seconds * moments.uniform(0.5, 1.0), signal=number))
        assert end.status == 0 or asked_to_end(end.status, number), end.output
        # Python drops an exception that a signal raises inside some calls of C libraries, and says so; the command then goes on.
        swallowed = end.status == 0 and "Exception ignored in" in end.output
        assert swallowed or "Traceback" not in end.output
        if trial.folder.exists() and (end.status == 0 or trial.command != "train"):
            break
    else:
        assert trial.start(None).status == 0
    same_folder(trial.folder, trial.reference)
