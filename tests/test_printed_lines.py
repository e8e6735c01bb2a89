"""Every `forestgaps` line that a message prints is executed here, in a folder whose name needs quoting.

Each line is built by `format_command`. The functions that call it are the places to test, and `CASES` provokes the message of each.
"""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import rasterio
import typer
from attrs import define, field
from typer.testing import CliRunner

import forestgaps_core.plugins.command_lines
from forestgaps_core.cli.app import app
from forestgaps_core.cli.commands.recipes import recipe_path
from forestgaps_core.cli.commands.runs import print_next_steps
from forestgaps_core.config.reading import load_config
from forestgaps_core.errors import ForestgapsError
from forestgaps_core.inference.predictor import load_predictor

from .plugins.test_command_lines import commands

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in (ROOT / "forestgaps_core", *ROOT.glob("plugins/*/forestgaps_*")) for path in folder.rglob("*.py")]
HARD = """it's "a" $(place) ü"""
# Executed by tests of their own.
ELSEWHERE = {
    "forestgaps_core.cli.commands.runs:train": "tests/faults/test_signals.py",  # after a signal
    "forestgaps_core.cli.scaffold:make_placeholders": "tests/cli/test_scaffold.py",  # in an environment of its own
    "forestgaps_core.cli.scaffold:format_next_steps": "tests/cli/test_scaffold.py",  # in an environment of its own
    "forestgaps_geo.files.gdal_commands:format_translate_command": "plugins/forestgaps-geo/tests/test_georeference.py",
    "forestgaps_geo.files.gdal_commands:format_warp_command": "plugins/forestgaps-gaps/tests/commands/test_command_lines.py",
}
RUN_FILE = """\
thresholds = { values = [2, 5] }
model = { name = "height_unet", base = 4, depth = 1 }
normalization = { name = "adaptive" }
loss = { name = "focal_dice" }
training = { epochs = 1, batch_size = 4 }
environment = { device = "cpu", threads = 1 }

[callbacks.checkpoints]
name = "checkpoints"
"""
SIMULATED = (
    'data = { name = "landscapes", train = 1, validation = 1, test = 1, size_px = 32, tile_px = 16, samples_per_epoch = 8 }\n'
)
RASTERS = 'data = { name = "rasters", folder = "none", tile_size = 16, samples_per_epoch = 8 }\n'


JOIN = shlex.join


@define
class Lines:
    """Lines that were built, by the place that built them."""

    built: dict[str, list[str]] = field(factory=dict)

    def join(self, words: list[str]) -> str:
        builder, frame = sys._getframe(1), sys._getframe(2)
        line = JOIN(words)
        if builder.f_code is forestgaps_core.plugins.command_lines.format_command.__code__:
            self.built.setdefault(f"{frame.f_globals['__name__']}:{frame.f_code.co_name}", []).append(line)
        return line


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    found = Lines()
    monkeypatch.setattr(shlex, "join", found.join)
    return found


def forestgaps(*words: object) -> str:
    """What a command printed, its error included."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, ForestgapsError):
        return f"Error: {result.exception}"
    assert result.exit_code == 0, f"{words}: {result.output} {result.exception!r}"
    return result.output


def execute(line: str) -> str:
    """Run a line with the words that a shell makes of it."""
    words = subprocess.run(["/bin/sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout.decode()
    program, *arguments = words.removesuffix("\0").split("\0")
    assert program == "forestgaps"
    printed = forestgaps(*arguments)
    assert not printed.startswith("Error"), f"{line}: {printed}"
    return printed


def write(path: Path, values: np.ndarray) -> None:
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:32610", "nodata": -9999}
    place = rasterio.Affine(1, 0, 500_000, 0, -1, 5_200_000)
    with rasterio.open(path, "w", **profile, width=values.shape[1], height=values.shape[0], transform=place) as file:
        file.write(values.astype("float32"), 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a model folder, a DSM and its heights."""
    folder = tmp_path_factory.mktemp("world") / HARD
    (folder / HARD).mkdir(parents=True)
    height = np.random.default_rng(1).uniform(18, 22, (96, 96))
    height[40:56, 40:56] = 0
    for name in ("DSM.tif", "dsm.tif"):
        write(folder / name, height + 100)
    write(folder / HARD / "dsm.tif", height + 100)
    write(folder / HARD / "chm.tif", height)
    (folder / "tiny.toml").write_text(SIMULATED + RUN_FILE)
    forestgaps("train", folder / "tiny.toml", "--out", folder / "my run's")
    forestgaps("publish", folder / "my run's", folder / "the model's")
    return folder


@pytest.fixture
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same folder as the working folder; what a test wrote there is removed."""
    before = set(world.rglob("*"))
    monkeypatch.chdir(world)
    yield world
    for path in sorted(set(world.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


RUN, MODEL = Path("my run's"), Path("the model's")


def config_init() -> str:
    printed = forestgaps("config", "init", "a run.toml")
    Path("a run.toml").write_text(SIMULATED + RUN_FILE)  # a run of seconds
    return printed


def after_training() -> str:
    out = []
    for recipe in ("quick", "best"):
        result = CliRunner().invoke(SHOW, [recipe])
        assert result.exit_code == 0
        out.append(result.output)
    return "".join(out)


def show(recipe: str) -> None:
    print_next_steps(RUN, load_config(recipe_path(recipe)))


SHOW = typer.Typer()
SHOW.command()(show)


def prepare(*options: str) -> str:
    return forestgaps("prepare", HARD, "-o", "prepared's", "--tile", 16, *options)


def prepare_to_train() -> str:
    return prepare("--buffer", "1")


def engine_for_weights() -> str:
    with pytest.raises(ForestgapsError) as refused:
        load_predictor(RUN, engine="onnxruntime")
    return str(refused.value)


def report_page() -> str:
    forestgaps("report", RUN, "--out", "page.html", "-t", "5", "--checkpoint", "last")
    return unescape(Path("page.html").read_text(encoding="utf-8"))


def map_the_dsm() -> str:
    return forestgaps("predict", RUN, "DSM.tif", "--out", "its maps", "-t", "5")


def card() -> str:
    forestgaps("publish", RUN, "model's")
    return (Path("model's") / "README.md").read_text(encoding="utf-8")


EVALUATE = ("evaluate", MODEL, "--data", RUN, "-t", 5, "--resamples", 100)
CASES: dict[str, dict[str, Callable[[], str]]] = {
    "forestgaps_core.cli.commands.config:init": {"": config_init},
    "forestgaps_core.cli.commands.runs:print_next_steps": {"": after_training},
    "forestgaps_core.cli.commands.runs:test": {"": lambda: forestgaps("test", RUN)},
    "forestgaps_core.cli.commands.runs:publish": {"": lambda: forestgaps("publish", RUN, "model's")},
    "forestgaps_core.inference.model_card:format_card": {"": card},
    "forestgaps_core.config.toml_files:read_table": {"": lambda: forestgaps("train", RUN, "--out", "another run")},
    "forestgaps_core.runs.run_folder:refuse_folder": {"": lambda: forestgaps("train", "tiny.toml", "--out", RUN)},
    "forestgaps_core.inference.model_lookup:require_run": {
        "checkpoint": lambda: forestgaps("test", RUN / "checkpoints" / "last.safetensors"),
        "run file": lambda: forestgaps("test", "tiny.toml"),
    },
    "forestgaps_core.inference.model_lookup:suggest_command": {
        "test": lambda: forestgaps("test", MODEL),
        "resume": lambda: forestgaps("train", "--resume", MODEL),
    },
    "forestgaps_core.inference.predictor:load_predictor": {"": engine_for_weights},
    "forestgaps_evaluation.commands.evaluate:evaluate": {
        "": lambda: forestgaps("evaluate", MODEL, "--data", RUN, "-t", 5, "--resamples", 100)
    },
    "forestgaps_evaluation.run_report.page:fill_template": {"": report_page},
    "forestgaps_rasters.commands.prepare:prepare": {"training": prepare_to_train, "test": lambda: prepare("--test", "all")},
    "forestgaps_rasters.commands.predict:predict": {"": map_the_dsm},
    "forestgaps_rasters.commands.arguments:split_arguments": {
        "late": lambda: forestgaps("predict", "DSM.tif", RUN),
        "alone": lambda: forestgaps("predict", RUN),
    },
}
MORE = {  # tests of their own below
    "forestgaps_export.commands:export",
    "forestgaps_quantization.commands:quantize",
}
EXPORTING = {"forestgaps_core.inference.predictor:load_predictor"}  # these export a network to ONNX, which takes most of a minute
NOT_EXECUTED = {"forestgaps_rasters.training.crops:tile"}  # after damage to a layer of a prepared folder


def places() -> set[str]:
    """MODULE:FUNCTION of each call of `format_command` in the sources."""
    found = set()
    for path in SOURCES:
        if "import format_command" not in path.read_text("utf-8"):
            continue
        package = next(parent for parent in path.parents if not (parent / "__init__.py").is_file())
        module = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")
        for function in (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)):
            calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
            if any(isinstance(called, ast.Name) and called.id == "format_command" for called in calls):
                found.add(f"{module}:{function.name}")
    return found


def test_every_place_that_prints_a_line_is_tested() -> None:
    assert places() == {*CASES, *ELSEWHERE, *MORE, *NOT_EXECUTED}
    for place, file in ELSEWHERE.items():
        assert (ROOT / file).is_file(), place


def test_no_line_is_written_by_hand() -> None:
    """A line with a path or name in it is built by `format_command`, and nothing else quotes words for a shell."""
    by_hand, names = [], {name.split()[0] for name in commands()}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
                text = "".join(map(str, parts))
                after = text.partition("forestgaps ")[2].split(";")[0].split(". ")[0].split(" wrote")[0]
                if text.count("forestgaps ") and "{}" in after and after.split()[0] in names:
                    by_hand.append(f"{path.name}: {text}")
    assert by_hand == []


@pytest.mark.parametrize(
    ("place", "provoke"),
    [
        pytest.param(place, provoke, id=f"{place} {name}".strip(), marks=[pytest.mark.slow] if place in EXPORTING else [])
        for place, cases in CASES.items()
        for name, provoke in cases.items()
    ],
)
def test_line_that_is_printed_works_as_printed(here: Path, lines: Lines, place: str, provoke: Callable[[], str]) -> None:
    printed = provoke()
    built = lines.built[place]
    assert built
    for line in sorted(dict.fromkeys(built), key=printed.find):  # one may need what another one writes
        assert line in printed
        after = printed.partition(line)[2]
        assert after == "" or after[0] in "\n;<", f"more than the line would be pasted: {after[:40]!r}"
        execute(line.replace("RUN.toml", "tiny.toml").replace("FOLDER", shlex.quote(str(RUN))))
        set_maps_aside()
        if "config init" in line and " best" in line:
            Path("run.toml").write_text(RASTERS + RUN_FILE)  # a run of seconds


def set_maps_aside() -> None:
    """The next line writes maps of the same name."""
    maps = Path("maps")
    if maps.is_dir():
        assert (maps / "gaps.tif").is_file()
        maps.rename(f"maps of {len(list(Path.cwd().iterdir()))}")


@pytest.mark.parametrize("command", [pytest.param("export", marks=pytest.mark.slow), "quantize"])
def test_line_for_a_network_of_another_kind_maps_with_it(here: Path, lines: Lines, command: str) -> None:
    options = ["--to", "onnx"] if command == "export" else ["--calibrate-with", "DSM.tif", "--tiles", "2"]
    network = RUN if command == "export" else "pretrained"  # convolutions of a tiny one are too narrow for 8 bits
    printed = forestgaps(command, network, *options, "--out", "it's other")
    written = (Path("it's other") / "README.md").read_text(encoding="utf-8")
    package = {"export": "forestgaps_export", "quantize": "forestgaps_quantization"}[command]
    for place, text in ((f"{package}.commands:{command}", printed), ("forestgaps_core.inference.model_card:format_card", written)):
        for line in lines.built[place]:
            assert f"{line}\n" in text
            execute(line)
            set_maps_aside()
