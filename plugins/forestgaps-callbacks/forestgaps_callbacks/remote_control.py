"""Control a run from outside, by a file or a signal."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import Attribute, define, field, frozen
from attrs.validators import gt

from forestgaps_core import hookimpl
from forestgaps_core.files.atomic import disk_errors
from forestgaps_core.files.safe_opening import read_text

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer

WORDS = ("checkpoint", "pause", "stop", "finish")
SIGNALS = tuple(number.name for number in signal.Signals)


def validate_signals(instance: Any, attribute: Attribute[Any], names: Sequence[str]) -> None:
    for name in names:
        if name not in SIGNALS:
            near = get_close_matches(name.upper(), SIGNALS, n=1)
            raise ValueError(f"this system has no signal {name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))


@frozen(kw_only=True)
class RemoteControlConfig:
    """Reads a command from the file `LABEL` of the run folder, such as `echo stop > RUN/control`.

    `checkpoint` writes `checkpoints/last.safetensors` and continues. `pause` waits after the step, as long as the file
    contains this word. `stop` saves the state and stops the run, which can then be resumed. `finish` ends the run
    permanently. The file is removed afterwards. `signals` have the effect of `stop`; a second signal has the effect that it
    had before. The command line itself handles Ctrl-C and SIGTERM in this way.
    """

    seconds: float = field(default=5.0, validator=gt(0), metadata={"help": "Time between two checks of the file, seconds."})
    signals: tuple[str, ...] = field(
        default=("SIGUSR1",) if "SIGUSR1" in SIGNALS else (),
        validator=validate_signals,
        metadata={"help": "Signals that stop the run to be resumed, such as SIGUSR1, which Slurm can send before the time is up."},
    )

    def build(self, run_folder: Path, label: str) -> RemoteControl:
        return RemoteControl(
            file=run_folder / label,
            last=run_folder / "checkpoints" / "last.safetensors",
            seconds=self.seconds,
            signals=self.signals,
        )


@define(eq=False)
class RemoteControl:
    file: Path
    last: Path
    seconds: float = 5.0
    signals: tuple[str, ...] = ()
    last_read_at: float = field(default=-inf, init=False)  # seconds
    stuck: str | None = field(default=None, init=False)  # a word that was obeyed, and whose file could not be removed
    received: str | None = field(default=None, init=False)  # a signal not yet obeyed
    handlers: dict[int, Any] = field(factory=dict, init=False)  # those before ours

    @hookimpl
    def fit_start(self) -> None:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for name in self.signals:
                number = signal.Signals[name]
                self.handlers[number] = signal.signal(number, self.receive)

    @hookimpl
    def step_end(self, trainer: Trainer) -> None:
        if self.received is not None:
            self.leave(trainer, f"received {self.received}", final=False)
            self.received = None
        elif time.monotonic() - self.last_read_at >= self.seconds:
            self.last_read_at = time.monotonic()
            self.obey(trainer)

    @hookimpl
    def fit_end(self) -> None:
        self.restore_handlers()

    def obey(self, trainer: Trainer) -> None:
        word = self.read()
        while word == "pause" and self.received is None and trainer.stopped is None:
            time.sleep(min(self.seconds, 1.0))
            word = self.read()
        if word == self.stuck:
            return
        if word == "checkpoint":
            trainer.checkpoint(self.last)
        elif word in ("stop", "finish"):
            self.leave(trainer, f"{self.file.name}: {word}", final=word == "finish")
        self.stuck = word
        if word is not None:
            with disk_errors(self.file, after=f"{word!r} is obeyed once only"):
                self.file.unlink(missing_ok=True)
            self.stuck = None

    def read(self) -> str | None:
        """Return the word in the file; None if there is no file or another word, as while it is being written."""
        try:
            word = read_text(self.file, 1000).strip().lower()
        except (OSError, UnicodeDecodeError):
            return None
        return word if word in WORDS else None

    def leave(self, trainer: Trainer, reason: str, *, final: bool) -> None:
        trainer.checkpoint(self.last)
        trainer.stop(reason, final=final)

    def receive(self, number: int, frame: object) -> None:
        self.received = signal.Signals(number).name
        self.restore_handlers()

    def restore_handlers(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers.clear()
