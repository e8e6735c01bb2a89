"""Every command that writes, on a disk of which each call fails in turn; what it may then leave, and say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import disk as disks

RUN_FILE = """\
data = {{ name = "landscapes", train = 1, validation = 1, test = 1, size_px = 32, tile_px = 16, samples_per_epoch = 8 }}
thresholds = {{ values = [2, 5] }}
model = {{ name = "height_unet", base = 4, depth = 1 }}
normalization = {{ name = "adaptive" }}
loss = {{ name = "focal_dice" }}
training = {{ epochs = 2, batch_size = 4 }}
environment = {{ device = "cpu", threads = 1 }}

[metrics.gaps]
name = "segmentation"
scores = ["mean_iou"]

[callbacks.log]
name = "json_lines"
every = 1

[callbacks.table]
name = "csv"
every = 1

[callbacks.monitor]
name = "monitor"
every = 2

[callbacks.checkpoints]
name = "checkpoints"
score = "validation/loss"
mode = "min"
best = 2
every_steps = 1
{more}"""
DRAWING = """
[callbacks.pictures]
name = "pictures"
tiles = 1
every = 2

[callbacks.confusion]
name = "confusion_pictures"
every = 2

[callbacks.profiler]
name = "profiler"
wait = 0
warmup = 0
steps = 1

[callbacks.board]
name = "tensorboard"
"""
ROOM = ("ENOSPC", "EDQUOT", "EFBIG")


@dataclass(frozen=True)
class Scene:
    """A command in a folder `work`, beside the folder `given`, which it only reads.

    Attributes:
        before: Prepares `work`.
        again: What to do after a failure; the command itself, if nothing else.
        goes_on: Faults are told, and the command ends well all the same.
        may_lack: Parts of the names of files that a fault may cost.
    """

    name: str
    arguments: Callable[[Path, Path], list[str | Path]]
    before: Callable[[Path, Path], None] = lambda given, work: None
    again: Callable[[Path, Path], list[str | Path]] | None = None
    goes_on: bool = False
    may_lack: tuple[str, ...] = ()


def copied(*names: str) -> Callable[[Path, Path], None]:
    def copy(given: Path, work: Path) -> None:
        for name in names:
            shutil.copytree(given / name, work / name)

    return copy


def begun(given: Path, work: Path) -> None:
    """A run of which one epoch is done."""
    shutil.copytree(given / "run", work / "run")
    for path in (work / "run" / "checkpoints").glob("*.safetensors"):
        if path.name != "best-epoch-0001.safetensors":
            path.unlink()


def resumed(given: Path, work: Path) -> list[str | Path]:
    there = (work / "run" / "run.toml").is_file()
    return ["train", "--resume", work / "run"] if there else ["train", given / "run.toml", "--out", work / "run"]


def surveyed(given: Path, work: Path) -> list[str | Path]:
    """Polygons and statistics: two results that get their names together."""
    outs = ["--out", work / "gaps.fgb", "--statistics", work / "statistics", "--cells", "20"]
    return ["gaps", given / "land" / "chm.tif", "-t", "5", *outs]


PICTURES = ("pictures", "confusion", "profiler", "tensorboard")
SCENES = [
    Scene("config init", lambda given, work: ["config", "init", work / "run.toml"]),
    Scene("plugins new", lambda given, work: ["plugins", "new", "forestgaps-mine", "--kind", "loss", "--folder", work / "mine"]),
    Scene("simulate", lambda given, work: ["simulate", work / "land", "--size", "32"]),
    Scene(
        "train",
        lambda given, work: ["train", given / "run.toml", "--out", work / "run"],
        again=resumed,
        goes_on=True,
    ),
    Scene(
        "train, drawing",
        lambda given, work: ["train", given / "drawing.toml", "--out", work / "run"],
        again=lambda given, work: [given / "drawing.toml" if part == given / "run.toml" else part for part in resumed(given, work)],
        goes_on=True,
        may_lack=PICTURES,
    ),
    Scene("train --resume", lambda given, work: ["train", "--resume", work / "run"], before=begun, again=resumed, goes_on=True),
    Scene("test", lambda given, work: ["test", work / "run"], before=copied("run")),
    Scene("publish", lambda given, work: ["publish", given / "run", work / "net"]),
    Scene(
        "prepare",
        lambda given, work: ["prepare", given / "land", "--out", work / "prepared", "--tile", "16", "--buffer", "0"],
    ),
    Scene("predict", lambda given, work: ["predict", given / "run", given / "land" / "dsm.tif", "--out", work / "maps"]),
    Scene("gaps", surveyed),
    Scene("gaps, GeoPackage", lambda given, work: ["gaps", given / "land" / "chm.tif", "-t", "5", "--out", work / "gaps.gpkg"]),
    Scene("gaps, Parquet", lambda given, work: ["gaps", given / "land" / "chm.tif", "-t", "5", "--out", work / "gaps.parquet"]),
    Scene(
        "change",
        lambda given, work: [
            *("change", given / "land" / "chm.tif", given / "later" / "chm.tif", "--out", work / "change", "-t", "5"),
        ],
    ),
    Scene(
        "evaluate",
        lambda given, work: ["evaluate", given / "run", "--out", work / "evaluation", "--resamples", "100", "-t", "5"],
    ),
    Scene("report", lambda given, work: ["report", given / "run", "--out", work / "report.html", "-t", "5"]),
]


def prepared(given: Path, run: disks.Commands, *, land: bool) -> None:
    """What the commands of the scenes read; landscapes only for those that need them."""
    given.mkdir()
    (given / "run.toml").write_text(RUN_FILE.format(more=""))
    (given / "drawing.toml").write_text(RUN_FILE.format(more=DRAWING))
    commands: list[list[str | Path]] = [
        ["train", given / "run.toml", "--out", given / "run"],
        ["simulate", given / "land", "--size", "64"],
        ["simulate", given / "other", "--size", "64", "--seed", "1"],
    ]
    for arguments in commands if land else commands[:1]:
        status, _, said = run.run(*arguments, cwd=given)
        assert status == 0, said
    if not land:
        return
    (given / "later").mkdir()  # another survey of the same place
    import rasterio

    with rasterio.open(given / "land" / "chm.tif") as first, rasterio.open(given / "other" / "chm.tif") as other:
        profile, units, heights = first.profile, first.units, other.read()
    with rasterio.open(given / "later" / "chm.tif", "w", **profile) as later:
        later.write(heights)
        later.units = units


@dataclass
class Trial:
    """One run of a scene's command on a failing disk.

    Attributes:
        call: What failed first, and its path.
        wrong: Sentences about broken promises.
        lost: What is missing of what the command had to make, where it ended well.
    """

    scene: str
    error: str
    kind: str  # "once", "for good", "brief"
    call: str
    path: str
    status: int = 0
    failed: int = 0
    said: str = ""
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class Sweep:
    """Runs scenes.

    Args:
        folder: A new one.
        land: Whether scenes with landscapes will be run.
    """

    def __init__(self, folder: Path, disk: disks.Disk, run: disks.Commands, *, land: bool = True) -> None:
        self.given, self.work, self.disk, self.run = folder / "given", folder / "work", disk, run
        prepared(self.given, run, land=land)
        self.whole: dict[str, dict[str, bytes]] = {}
        self.names: dict[str, set[str]] = {}
        self.known: dict[str, list[tuple[str, str]]] = {}

    def fresh(self, scene: Scene) -> None:
        self.disk.heal()
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        scene.before(self.given, self.work)

    def calls(self, scene: Scene) -> list[tuple[str, str]]:
        """The calls of the command on a healthy disk; remembers what it makes, and which of that is the same each time."""
        if scene.name in self.known:
            return self.known[scene.name]
        seen = []
        for _ in range(2):
            self.fresh(scene)
            self.disk.fail(self.work, first=0, log=True)
            status, _, said = self.run.run(*scene.arguments(self.given, self.work), cwd=self.work)
            assert status == 0, f"{scene.name}: {said}"
            seen.append(tree(self.work))
        self.names[scene.name] = set(seen[0])
        self.whole[scene.name] = {name: data for name, data in seen[0].items() if seen[1].get(name) == data}
        self.known[scene.name] = self.disk.calls()
        return self.known[scene.name]

    def trial(self, scene: Scene, number: int, call: tuple[str, str], error: str, kind: str) -> Trial:
        """Fail the call of this number."""
        made = Trial(scene.name, error, kind, call[0], call[1].replace(str(self.work), "WORK"))
        self.fresh(scene)
        before = tree(self.work)
        self.disk.fail(self.work, error=error, first=number, count=-1 if kind == "for good" else 1, brief=kind == "brief")
        made.status, _, made.said = self.run.run(*scene.arguments(self.given, self.work), cwd=self.work)
        _, made.failed = self.disk.counts()
        self.disk.heal()
        self.judge(scene, made, before)
        return made

    def judge(self, scene: Scene, made: Trial, before: Mapping[str, bytes]) -> None:
        there = tree(self.work)
        made.left = sorted(str(path.relative_to(self.work)) for path in self.work.rglob("*") if hidden(path.relative_to(self.work)))
        if "Traceback" in made.said or made.status not in (0, 2):
            made.wrong.append(f"status {made.status}: {made.said[-1500:]}")
            return
        if made.status == 2:
            if "Error: " not in made.said or str(self.work) not in made.said:
                made.wrong.append(f"the error names no path: {made.said[-300:]}")
            if made.error in ROOM and made.kind != "brief" and " free" not in made.said:
                made.wrong.append(f"the error names no room: {made.said[-300:]}")
        self.judge_files(scene, made, before, there)
        if made.status == 2:
            status, _, said = self.run.run(*(scene.again or scene.arguments)(self.given, self.work), cwd=self.work)
            if status:
                made.wrong.append(f"the next start fails with {status}: {said[-600:]}")
            else:
                made.wrong += [f"after the next start {problem}" for problem in self.different(scene, tree(self.work), True)]

    def judge_files(self, scene: Scene, made: Trial, before: Mapping[str, bytes], there: Mapping[str, bytes]) -> None:
        if made.status == 0:
            healed = made.kind != "for good"
            problems = self.different(scene, there, healed)
            told = "could not be written" in made.said or "could not be" in made.said
            made.wrong += [f"{problem}, and was not told" if not told else problem for problem in problems]
            made.lost = sorted(self.names[scene.name] - there.keys())
            return
        for name, data in there.items():
            if name in before and before[name] == data:
                continue
            if name.endswith(".safetensors"):
                made.wrong += damaged(self.work / name)
            elif not scene.goes_on and data != self.whole[scene.name].get(name, data):
                made.wrong.append(f"{name} is not whole")
            elif name.endswith((".csv", ".jsonl")) and data and not data.endswith(b"\n"):
                made.wrong.append(f"{name} ends in part of a line")
        made.wrong += [f"{name} is gone" for name in before if name not in there and not scene.goes_on]

    def different(self, scene: Scene, there: Mapping[str, bytes], healed: bool) -> Iterator[str]:
        """What is not as a healthy disk would have it."""
        for name in sorted(self.names[scene.name]):
            lacks = scene.may_lack + (() if healed else ("run/log", "run/table", "run/monitor"))
            optional = any(part in name for part in lacks) or (scene.goes_on and "/best" in name)
            if name not in there:
                if not optional:
                    yield f"{name} is missing"
            elif name.endswith(".safetensors"):
                yield from damaged(self.work / name)
            elif name in self.whole[scene.name] and there[name] != self.whole[scene.name][name] and not optional:
                yield f"{name} is another"


def damaged(path: Path) -> list[str]:
    from forestgaps_core.errors import CheckpointError
    from forestgaps_core.files.checkpoint import load_checkpoint

    try:
        load_checkpoint(path)
    except CheckpointError as error:
        return [str(error)]
    return []


def hidden(path: Path) -> bool:
    return any(part.startswith(".") or part.endswith((".partial", ".part")) for part in path.parts)


def tree(folder: Path) -> dict[str, bytes]:
    """The files that anyone would take for whole, by their name, but for those that nobody reads."""
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in paths.items() if not hidden(name) and name.name != "lock"}


def chosen(calls: Sequence[tuple[str, str]], each: int) -> list[int]:
    """Numbers, from 1, of up to `each` of the calls of one kind on one path: first, last, and between them."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (call, path) in enumerate(calls, start=1):
        plain = "".join("0" if letter.isdigit() else letter for letter in path)
        folder, _, name = plain.rpartition("/")
        groups.setdefault((call, f"{folder}/{name[:1] if name.startswith('.') else name}"), []).append(number)
    found = set()
    for numbers in groups.values():
        count = min(each, len(numbers))
        found |= {numbers[(len(numbers) - 1) * place // max(count - 1, 1)] for place in range(count)}
    return sorted(found)


def cases(number: int, errors: Sequence[str], every: bool) -> list[tuple[str, str]]:
    """(errno, kind) to try at the call of this number: all of them, or one that turns with the number."""
    kinds = [(error, "once") for error in errors] + [("ENOSPC", "for good"), ("EIO", "for good"), ("EROFS", "for good")]
    kinds.append(("ENOSPC", "brief"))
    return kinds if every else [kinds[number % len(kinds)]]


def main() -> None:
    """The sweep: `python -m tests.faults.disk_scenes OUT.jsonl [EACH [SCENE ...]]`.

    Every reason at EACH of the calls of one kind on one path; with EACH below 1, one reason at every call, or every -EACH-th.
    """
    import sys
    import tempfile
    import time

    out, each, only = Path(sys.argv[1]), int((sys.argv[2:] or ["3"])[0]), sys.argv[3:]
    every = each > 0
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    (folder / "control").mkdir()
    with disks.commands(folder / "control") as (disk, run), out.open("a") as file:
        sweep = Sweep(folder, disk, run)
        for scene in SCENES:
            if only and scene.name not in only:
                continue
            began, count, wrong = time.monotonic(), 0, 0
            calls = sweep.calls(scene)
            numbers = chosen(calls, max(each, 1))[:: max(-each, 1)]
            for number in numbers:
                for error, kind in cases(number, disks.ERRORS, every):
                    if kind == "brief" and "write" not in calls[number - 1][0]:
                        continue
                    made = sweep.trial(scene, number, calls[number - 1], error, kind)
                    count, wrong = count + 1, wrong + bool(made.wrong)
                    file.write(json.dumps(vars(made)) + "\n")
                    file.flush()
            took = time.monotonic() - began
            print(
                f"{scene.name}: {len(calls)} calls, {len(numbers)} of them, {count} faults, {wrong} wrong, {took:.0f} s", flush=True
            )
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
