"""Every command with every option, given anything: it works, or leaves with status 2 and a sentence, and touches nothing else."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.cli.app import app
from forestgaps_core.plugins.registry import Plugins, load_target

from .conftest import case, fuzzing

CORPUS = Path(__file__).parent / "corpus" / "commands.json"
STATUSES = (0, 1, 2, 130)
OTHER_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
RUN_FILE = """
[data]
name = "landscapes"
train = 1
validation = 1
test = 1
size_px = 48
tile_px = 16
samples_per_epoch = 2
[thresholds]
values = [2, 5]
[model]
name = "unet"
base = 4
depth = 1
[normalization]
name = "batch"
[loss]
name = "dice"
[training]
epochs = 1
batch_size = 2
[metrics.gaps]
name = "segmentation"
[environment]
device = "cpu"
threads = 1
"""

INTEGERS = [
    "0",
    "1",
    "-1",
    "4",
    "8",
    "17",
    "64",
    "255",
    "1000000000",
    "9223372036854775807",
    "9223372036854775808",
    "1e3",
    "1.5",
    "0x10",
    "٣",
    "",
    " 1 ",
    "9" * 5000,
]
NUMBERS = [*INTEGERS, "nan", "inf", "-inf", "-nan", "1e308", "1e-320", "0.5", "2", "199.999999", "1e400", "0,5", "1_0"]
PATHS = [
    *(
        "good.toml",
        "broken.toml",
        "deep.toml",
        "folder",
        "file.txt",
        "garbage.tif",
        "empty.tif",
        "dsm.tif",
        "dtm.tif",
        "chm.tif",
        "site",
        "run",
        "loop",
    ),
    *(
        "run/run.toml",
        "run/checkpoints",
        "run/checkpoints/last.safetensors",
        "network",
        "mine.py",
        "raises.py",
        "sites.toml",
        "list.txt",
        "é 日本.tif",
    ),
    *(
        "nowhere",
        "nowhere/below",
        "file.txt/below",
        "new",
        "new.json",
        "new.gpkg",
        "new/a/b",
        ".",
        "..",
        "",
        " ",
        "-",
        "~",
        "//",
        "../outside/canary.txt",
    ),
    *(
        "../outside",
        "/dev/null",
        "/dev/full",
        "/proc/self/mem",
        "/proc/version",
        "a" * 300,
        "a/" * 2100,
        "C:\\CON",
        "%s",
        "new\nline",
        "*",
        "?",
    ),
]
ELSEWHERE = "../x"
TEXTS = [
    *(
        "",
        " ",
        "auto",
        "cpu",
        "cuda",
        "test",
        "train",
        "best",
        "last",
        "pretrained",
        "list",
        "quick",
        "loss",
        "loss.dice",
        "scheduler",
        "[red]x[/red]",
    ),
    *(
        "[/]",
        "[link=http://x]",
        "EPSG:32632",
        "EPSG:0",
        "EPSG:99999999999",
        "+proj=none",
        "south 0.2",
        "south nan",
        "north 2",
        "x" * 5000,
        "💥",
        "é",
    ),
    *(
        "\x1b[2J",
        "\x1b]0;owned\x07",
        "\x07",
        "\u202egnp",
        "a\x0bb",
        "\udcff",
        "loss.gamma=1",
        "training.epochs=0x" + "f" * 9000,
        "a=b",
        "=",
        "a.b.c=" + "[" * 9000,
    ),
    *(
        "1,2",
        "1,1",
        ",",
        "1,x",
        "tcp://127.0.0.1:1",
        "tcp://",
        "x://y",
        "processes",
        "--",
        "-h",
        "-x",
        "--help",
        "--json",
        "@good.toml",
        "forestgaps-losses",
    ),
    *(
        "loss",
        "metric",
        "model",
        "data",
        "forestgaps-squared",
        "class",
        ELSEWHERE,
        "data.folder=nowhere",
        "training.start=run",
        "data.train=0",
    ),
]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="limits and forks are those of Linux"),
    pytest.mark.skipif("simulate" not in Plugins.discover().commands(), reason="needs simulated landscapes"),
]


@define
class Parameter:
    """An option or argument a command declares."""

    names: list[str]
    kind: type
    flag: bool
    required: bool
    several: bool


def parameters(command: Any) -> list[Parameter]:
    hints = get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    return [
        Parameter(
            names=[] if found.param_type_name == "argument" else [*found.opts, *found.secondary_opts],
            kind=next((kind for kind in (int, float, Path) if kind in parts(hints.get(found.name))), str),
            flag=bool(getattr(found, "is_flag", False)),
            required=found.required,
            several=found.nargs != 1 or bool(getattr(found, "multiple", False)),
        )
        for found in command.params
    ]


def parts(hint: Any) -> set[Any]:
    """A type and all those in it."""
    return {hint}.union(*map(parts, get_args(hint)))


def declared() -> dict[tuple[str, ...], list[Parameter]]:
    """Every command with what it declares, those of plugins with what their functions do."""
    found: dict[tuple[str, ...], list[Parameter]] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        found[path] = parameters(command)
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*path, name))

    walk(typer.main.get_command(app), ())
    for name, (_, command) in Plugins.discover().commands().items():
        inner = typer.Typer(add_completion=False)
        inner.command(name)(load_target(command.target, name))
        found[(name,)] = parameters(typer.main.get_command(inner))
    return found


COMMANDS = declared()


def worth(parameter: Parameter) -> st.SearchStrategy[str]:
    """Values for a parameter: mostly of its kind."""
    pools = {int: INTEGERS, float: NUMBERS, Path: PATHS}
    own = pools.get(parameter.kind, [*TEXTS, *PATHS])
    free = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
    return st.one_of(
        st.sampled_from(own), st.sampled_from(own), st.sampled_from(own), st.sampled_from([*TEXTS, *PATHS, *NUMBERS]), free
    )


@st.composite
def asked(draw: Any) -> list[str]:
    """A command line."""
    path = draw(st.sampled_from(sorted(COMMANDS)))
    words = []
    if draw(st.integers(0, 9)) == 0:
        words += ["-p", draw(st.sampled_from(PATHS))]
    words += path
    options: list[list[str]] = []
    arguments: list[str] = []
    for parameter in COMMANDS[path]:
        if parameter.names and parameter.names[0] in ("--help", "--install-completion", "--show-completion"):
            continue
        if not parameter.names:
            # Without an argument, `train` and `plugins check` do the whole of what they can, which takes minutes.
            if parameter.required or path in (("train",), ("plugins", "check")) or draw(st.booleans()):
                arguments += [draw(worth(parameter)) for _ in range(draw(st.integers(1, 2)) if parameter.several else 1)]
        elif parameter.required or draw(st.integers(0, 3)) == 0:
            name = draw(st.sampled_from(parameter.names))
            options.append([name] if parameter.flag else [name, draw(worth(parameter))])
    if draw(st.integers(0, 19)) == 0:
        options.append([draw(st.sampled_from(TEXTS))])
    groups = draw(st.permutations([*options, *([argument] for argument in arguments)]))
    return [*words, *(word for group in groups for word in group)]


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@define
class Workshop:
    """A folder like that of a user, a fresh copy of it for each case, and the process that runs them."""

    base: Path
    process: subprocess.Popen[str]
    outside: dict[str, bytes]

    @classmethod
    def opened(cls, base: Path, *, furnished: bool = True) -> Workshop:
        (base / "home").mkdir(parents=True)
        (base / "outside").mkdir()
        (base / "outside" / "canary.txt").write_text("alive")
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "COLUMNS": "200",
            "HOME": str(base / "home"),
        }
        environment |= {"MPLCONFIGDIR": str(base / "caches"), "PYTHONIOENCODING": "utf-8"}
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("forked.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        made = cls(base=base, process=process, outside={})
        (base / "pristine").mkdir()
        if furnished:
            made.furnish()
        made.outside = made.seen()
        return made

    def close(self) -> None:
        self.process.communicate("\n", timeout=60)

    def furnish(self) -> None:
        """What stands in the folder: things that work, and things that do not."""
        folder = self.base / "pristine"
        (folder / "folder").mkdir()
        (folder / "good.toml").write_text(RUN_FILE)
        (folder / "broken.toml").write_text('[loss]\nname = "dise"\n["\\u001b[2J"]\n')
        (folder / "deep.toml").write_text("a = " + "[" * 3000)
        (folder / "file.txt").write_text("text")
        (folder / "garbage.tif").write_bytes(b"II*\x00" + bytes(range(256)) * 4)
        (folder / "empty.tif").touch()
        (folder / "sites.toml").write_text('[[site]]\nname = "../x"\ndsm = 3\n')
        (folder / "list.txt").write_text("dsm.tif\nnowhere.tif\n")
        (folder / "mine.py").write_text(
            "from forestgaps_core.hookspecs import hookimpl\n\n\n@hookimpl\ndef forestgaps_losses():\n    return {}\n"
        )
        (folder / "raises.py").write_text("raise SystemExit('no')\n")
        (folder / "loop").symlink_to("loop")
        for arguments in (
            ["simulate", "site", "--size", "48"],
            ["train", "good.toml", "--out", "run"],
            ["publish", "run", "network"],
        ):
            done = self.sent(arguments, folder)
            assert done["status"] == 0, done
        for name in ("dsm", "dtm", "chm"):
            shutil.copy(folder / "site" / f"{name}.tif", folder / f"{name}.tif")
        shutil.copy(folder / "dsm.tif", folder / "é 日本.tif")

    def seen(self) -> dict[str, bytes]:
        """Every file outside of the case's folder."""
        paths = [path for name in ("outside", "home", "pristine") for path in sorted((self.base / name).rglob("*"))]
        content = {str(path): path.read_bytes() if path.is_file() else b"" for path in paths}
        return content | {str(path): b"" for path in self.base.iterdir() if path.name not in ("case", "caches")}

    def sent(self, arguments: list[str], folder: Path) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": arguments, "folder": str(folder)}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def run(self, arguments: list[str]) -> dict[str, Any]:
        """What a command came to in a fresh folder, checked against what is promised of all of them."""
        folder = self.base / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.base / "pristine", folder, symlinks=True)
        done = self.sent(arguments, folder)
        assert done["status"] in STATUSES, (arguments, done)
        said = done["out"] + done["errors"]
        assert "Traceback" not in said, (arguments, said)
        assert not OTHER_CONTROL.search(said), (arguments, said)
        if done["status"] != 0 and not (arguments[:2] == ["plugins", "check"] and done["status"] == 1):
            assert done["errors"].strip() or not arguments or done["out"].strip(), (arguments, done)
        if (
            "--json" in arguments
            and done["out"].strip()
            and done["status"] == 0
            and "-h" not in arguments
            and "--help" not in arguments
        ):
            json.loads(done["out"])
        if ELSEWHERE in arguments and "new" not in arguments:  # an output was asked for there; `plugins new` takes names
            remove(folder / ELSEWHERE)
        assert self.seen() == self.outside, arguments
        return done


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Iterator[Workshop]:
    made = Workshop.opened(tmp_path_factory.mktemp("workshop") / "base")
    yield made
    made.close()


def test_every_command_is_known_with_what_it_declares():
    assert {("train",), ("config", "check"), ("plugins", "new"), ("simulate",), ("prepare",), ("predict",), ("gaps",)} <= set(
        COMMANDS
    )
    assert any(parameter.kind is int for parameter in COMMANDS[("simulate",)])


def test_any_command_line_works_or_is_refused_with_a_sentence(workshop):
    @fuzzing(0.15)
    @given(arguments=asked())
    def run(arguments):
        with case("commands") as outcome:
            done = workshop.run(arguments)
            outcome.accepted, outcome.elsewhere = done["status"] == 0, done["seconds"]

    run()


@pytest.mark.parametrize(
    "arguments",
    json.loads(CORPUS.read_text()) if CORPUS.is_file() else [],
    ids=lambda arguments: " ".join(arguments)[:60].encode("ascii", "replace").decode(),
)
def test_what_broke_once_works_or_is_refused(workshop, arguments):
    with case("commands, corpus"):
        workshop.run(arguments)
