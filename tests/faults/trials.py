"""What is killed: a training, a `prepare`, a `predict`; each started again until it ends, and compared with one left in peace."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from attrs import define, field

from forestgaps_core.files.checkpoint import load_checkpoint

from ..small_run import make_small_run
from .kill import End, Strike, Zygote

EVERY = 3  # optimizer steps from one last.safetensors to the next
FORGOTTEN = (".tmp", ".partial", ".draft", ".part")  # ends of the names of what is being written
NOT_COMPARED = ("lock",)  # says who works there

RUN = make_small_run(
    {
        "data": {"size_px": 64, "samples_per_epoch": 16},
        "thresholds": {"sampled": 2},
        "augmentations.stretch": {"name": "canopy_stretch", "factor": 1.3},
        "augmentations.mix": {"name": "canopy_mix", "swap": 0, "cutmix": 0.3},
        "augmentations.flips": {"name": "flip_rotate"},
        "augmentations.tilt": {"name": "tilt"},
        "model": {"dropout": 0.2, "drop_path": 0.2},
        "normalization": {"name": "batch"},
        "loss": {"name": "focal_dice"},
        "scheduler": {"name": "warmup_cosine"},
        "training": {"epochs": 3},
        "callbacks.log": {"name": "json_lines", "every": 1},
        "callbacks.table": {"name": "csv", "every": 2},
        "callbacks.average": {"name": "ema_weights"},
        "callbacks.checkpoints": {
            "name": "checkpoints",
            "every_steps": EVERY,
            "score": "validation/gaps/mean_iou",
            "best": 2,
        },
        "environment": {"workers": 0},
    }
)
SITE = """
[sites.{name}]
dsm = "{at}/dsm.tif"
chm = "{at}/chm.tif"
validation = "south 0.3"
test = "north 0.3"
"""
PREPARED = ["data.name=rasters", "training.accumulate=2", "environment.workers=2"]

# Where a process was, by the functions of its stack: the first line that fits.
PHASES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "train": (
        ("checkpoint", "checkpoint.py", "save_checkpoint"),
        ("checkpoint", "checkpoints.py", ""),
        ("log", "rows.py", ""),
        ("validation", "evaluator.py", "evaluate"),
        ("step", "trainer.py", "train_step"),
        ("between steps", "trainer.py", "fit"),
        ("run folder", "run.py", "write_run_folder"),
        ("resuming", "run.py", "resume_training"),
    ),
    "prepare": (
        ("result", "resuming.py", "complete"),
        ("layers", "preparing.py", "written"),
        ("work folder", "preparing.py", "finished"),
        ("work folder", "resuming.py", ""),
        ("checks", "preparing.py", "prepare_sites"),
    ),
    "predict": (
        ("result", "resuming.py", "complete"),
        ("blocks", "predicting.py", "compute"),
        ("maps", "predicting.py", "written"),
        ("work folder", "resuming.py", ""),
        ("checks", "predicting.py", "predict_raster"),
    ),
}


def phase(command: str, end: End) -> str:
    """Where the command was when it was struck."""
    for name, file, function in PHASES[command]:
        if any(path.endswith(f"/{file}") and function in ("", found) for path, found in end.stack):
            return name
    return "start and end"


@define
class Figures:
    """What happened in some trials."""

    kills: Counter[tuple[str, str]] = field(factory=Counter)  # (command, phase)
    ended: Counter[str] = field(factory=Counter)  # commands that came to their end, compared
    lost: Counter[int] = field(factory=Counter)  # steps done that the checkpoint did not have
    failed: int = 0  # trials that broke a promise
    forgotten: int = 0  # most files that killed writers had left at one time

    def table(self) -> dict[str, Any]:
        return {
            "kills": sum(self.kills.values()),
            "by phase": {f"{command}: {phase}": count for (command, phase), count in sorted(self.kills.items())},
            "ended as if undisturbed": dict(self.ended),
            "failed": self.failed,
            "steps done again": dict(sorted(self.lost.items())),
            "most unfinished files at a time": self.forgotten,
        }


@define(eq=False)
class Trial:
    """A command that makes a folder, killed at moments and started again until it has made it.

    Attributes:
        command: Its name.
        place: A folder for the trial's own files.
        first, again: Arguments of the first start, and of those that find what an earlier one left.
        out: The folder it makes, below `place`.
        reference: The same folder made undisturbed.
        seconds: Of computing, that took.
    """

    zygote: Zygote
    command: str
    place: Path
    first: list[str]
    again: list[str]
    out: str
    reference: Path
    seconds: float
    figures: Figures

    @property
    def folder(self) -> Path:
        return self.place / self.out

    def start(self, strike: Strike | None) -> End:
        resumed = self.folder.exists() and self.again != self.first
        return self.zygote.run(*(self.again if resumed else self.first), cwd=self.place, strike=strike)

    def until_it_ends(self, strikes: Iterator[Strike | None]) -> None:
        """Strike, look, start again; at its end the folder must be what it is undisturbed."""
        self.place.mkdir(parents=True)
        while not self.struck(next(strikes)):
            pass
        self.compare()

    def struck(self, strike: Strike | None) -> bool:
        """One start; whether it came to its end."""
        end = self.start(strike)
        assert end.status is not None, f"it hung: {end}"
        if end.struck and end.status == -signal.SIGKILL:
            self.figures.kills[self.command, phase(self.command, end)] += 1
            left = [path for path in self.place.rglob("*") if path.name.endswith(FORGOTTEN) and path.name.startswith(".")]
            self.figures.forgotten = max(self.figures.forgotten, len(left))
            if self.command == "train":
                self.look_at_training()
            return self.command != "train" and self.folder.exists()
        assert end.status == 0, f"status {end.status}: {end.output}"
        return True

    def look_at_training(self) -> None:
        """No more is lost than was agreed, and what has a checkpoint's name is one."""
        if not self.folder.exists():
            return
        assert (self.folder / "run.toml").is_file()
        assert (self.folder / "versions.json").is_file()
        states = {path.name: load_checkpoint(path) for path in (self.folder / "checkpoints").glob("[!.]*")}
        kept = states["last.safetensors"]["position"]["step"] if "last.safetensors" in states else 0
        lines = (self.folder / "log.jsonl").read_text().split("\n")[:-1] if (self.folder / "log.jsonl").exists() else []
        done = max((json.loads(line)["step"] for line in lines), default=0)
        assert 0 <= done - kept <= EVERY, f"{done - kept} steps are lost"
        self.figures.lost[done - kept] += 1

    def compare(self) -> None:
        same_folder(self.folder, self.reference)
        assert not [path for path in self.folder.rglob("*") if path.name.endswith(FORGOTTEN)]
        self.figures.ended[self.command] += 1


def same_folder(one: Path, other: Path) -> None:
    """The same files; checkpoints with equal states, all others with equal bytes."""
    names, others = files_of(one), files_of(other)
    assert names == others, f"files that only one has: {sorted(set(names) ^ set(others))}"
    for name in names:
        if name.endswith(".safetensors"):
            same_value(load_checkpoint(one / name), load_checkpoint(other / name), name)
        else:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name not in NOT_COMPARED)


def same_value(one: Any, other: Any, place: str) -> None:
    """Equal bit for bit, through all levels."""
    assert type(one) is type(other), place
    if isinstance(one, dict):
        assert list(one) == list(other), place
        for key in one:
            same_value(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            same_value(left, right, f"{place}.{number}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape, place
        assert torch.equal(bits(one), bits(other)), place
    else:
        assert repr(one) == repr(other), place  # NaN equals itself in writing


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Its bytes, in which NaN equals itself and 0 is not -0."""
    return tensor.detach().contiguous().flatten().view(torch.uint8)


@define(eq=False)
class Workshop:
    """Inputs and undisturbed results, made once, and trials against them."""

    zygote: Zygote
    folder: Path
    figures: Figures = field(factory=Figures)
    seconds: dict[str, float] = field(factory=dict, init=False)
    count: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "run.toml").write_text(RUN)

    def made(self, name: str, *arguments: str | Path) -> Path:
        """What these arguments of the command line make undisturbed; the folder they call `name`'s first word."""
        place = self.folder / "undisturbed" / name
        if not place.exists():
            place.mkdir(parents=True)
            end = self.zygote.run(*arguments, cwd=place)
            assert end.status == 0, end.output
            self.seconds[name] = end.seconds
        return place

    def trial(self, name: str, command: str, out: str, first: list[str], again: list[str] | None = None) -> Trial:
        reference = self.made(name, *first) / out
        self.count += 1
        place = self.folder / "trials" / f"{name}-{self.count:03d}"
        return Trial(self.zygote, command, place, first, again or first, out, reference, self.seconds[name], self.figures)

    def landscape(self, size: int, seed: int = 0) -> Path:
        return self.made(f"landscape {seed}", "simulate", "land", "--size", str(size), "--seed", str(seed)) / "land"

    def training(self, *changes: str) -> Trial:
        """A training on a landscape in memory, or with the changes of `PREPARED` on a prepared folder."""
        changes = tuple(f"{change}" for change in changes)
        if "data.name=rasters" in changes:
            changes = (*changes, f"data.folder={self.preparing().reference}")
        sets = [part for change in changes for part in ("--set", change)]
        first = ["train", str(self.folder / "run.toml"), "--out", "run", *sets]
        if "data.name=rasters" in changes:
            text = without_landscapes(RUN)
            (self.folder / "rasters.toml").write_text(text)
            first[1] = str(self.folder / "rasters.toml")
        return self.trial(f"train {' '.join(changes)}".replace("/", "_")[:80], "train", "run", first, ["train", "--resume", "run"])

    def preparing(self) -> Trial:
        sites = self.folder / "sites.toml"
        woods = {"east": self.landscape(96, seed=1), "west": self.landscape(128, seed=2)}
        sites.write_text("".join(SITE.format(name=name, at=at) for name, at in woods.items()))
        first = ["prepare", str(sites), "--out", "prepared", "--tile", "32", "--buffer", "5"]
        return self.trial("prepare", "prepare", "prepared", first)

    def predicting(self, *options: str) -> Trial:
        run, dsm = self.training().reference, self.landscape(320) / "dsm.tif"
        first = ["predict", str(run), str(dsm), "--out", "maps", "--window", "128", "--overlap", "64", *options]
        return self.trial(f"predict {' '.join(options)}".strip(), "predict", "maps", first)


def without_landscapes(text: str) -> str:
    rest = text.partition("[thresholds]")[2]
    return '[data]\nname = "rasters"\nsamples_per_epoch = 16\n\n[thresholds]' + rest


# What is written anew when the work itself begins, after start-up, and the share of the time that is left from then on.
WORK_BEGINS = {"train": "run/log.jsonl", "prepare": "prepared.partial/result", "predict": "maps.partial/result"}
WORK_TAKES = {"train": 0.45, "prepare": 0.05, "predict": 0.25}


def at_random(trial: Trial, seed: int, *, start: float = 0.2) -> Iterator[Strike]:
    """Kills at moments spread evenly over the time a command computes; every start meets one unless it ends before.

    Args:
        start: Share of the kills whose time counts from the start of the process; for the others, from that of the work itself.
    """
    drawn = random.Random(seed)
    while True:
        early = drawn.random() < start
        longest = trial.seconds * (1 if early else WORK_TAKES[trial.command])
        since = None if early else WORK_BEGINS[trial.command]
        yield Strike(after=drawn.uniform(0, longest), wait=drawn.uniform(0, 0.02), since=since)


def once(strike: Strike) -> Iterator[Strike | None]:
    yield strike
    while True:
        yield None
