"""The options and `pip install` lines that messages advise are used here as printed, and the result is compared with the truth.

Each raster holds the same canopy heights, damaged or declared in a way that the input checks find. The options in the message must
give the gap area of the undamaged raster.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import rasterio
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rasterio import Affine
from typer.testing import CliRunner

from forestgaps_core.cli.app import app
from forestgaps_core.errors import ForestgapsError
from forestgaps_core.plugins import names
from forestgaps_core.plugins.names import format_install_command

from .test_declared_dependencies import PROJECTS
from .test_printed_lines import SOURCES

OPTION = re.compile(r"--(?:scale|nodata|band|feet|skip-checks|resample|resolution)\b(?:[= ](?:-?\d[\w.+]*))?")
FIRST_PARTY = Path(names.__file__).with_name("first_party.json")
HEIGHTS_IN_M = "EPSG:32610+5703"


def truth() -> np.ndarray:
    """Canopy of 8 to 24 m with gaps of 16 m2 and one of 256 m2, whose heights are 0 to 2 m."""
    random = np.random.default_rng(1)
    heights = random.uniform(8, 24, (96, 96))
    gap = np.zeros(heights.shape, bool)
    for row, column in np.ndindex(8, 8):
        gap[row * 12 + 3 : row * 12 + 7, column * 12 + 3 : column * 12 + 7] = True
    gap[40:56, 40:56] = True
    heights[gap] = random.uniform(0.1, 2, gap.sum())
    return heights


def write(path: Path, values: np.ndarray, unit: str = "", **profile: object) -> Path:
    planes = values[None] if values.ndim == 2 else values
    place = {"crs": "EPSG:32610", "transform": Affine(1, 0, 500_000, 0, -1, 5_200_000)}
    size = {"count": len(planes), "height": planes.shape[1], "width": planes.shape[2], "dtype": planes.dtype}
    with rasterio.open(path, "w", driver="GTiff", **(place | size | profile)) as file:
        file.write(planes)
        if unit:
            file.units = [unit] * len(planes)
    return path


def gaps(path: Path, *options: str) -> tuple[tuple[float, float] | None, str]:
    """Return the areas of gaps below 5 m and of the survey, None where the command refuses the raster, and the messages."""
    result = CliRunner().invoke(app, ["gaps", str(path), "-t", "5", "--json", *options])
    if isinstance(result.exception, ForestgapsError):
        return None, str(result.exception)
    assert result.exit_code == 0, f"{options}: {result.output} {result.exception!r}"
    found = json.loads(result.stdout)
    return (found["gaps"]["5 m"]["gap_area_m2"], found["gaps"]["5 m"]["surveyed_m2"]), "\n".join(found["notes"])


def collar(value: float) -> np.ndarray:
    """The heights, with `value` where the survey has no data."""
    values = truth()
    values[:, :24] = value
    return values.astype("float32")


WHOLE = float((truth() < 5).sum()), float(truth().size)
WITHOUT_COLLAR = float((truth()[:, 24:] < 5).sum()), float(truth()[:, 24:].size)
US_FOOT = 1200 / 3937
CASES: dict[str, tuple[str, Callable[[Path], Path], tuple[float, ...]]] = {
    "decimeters": ("--scale 0.1", lambda path: write(path, np.rint(truth() * 10).astype("int16")), WHOLE),
    "centimeters": ("--scale 0.01", lambda path: write(path, np.rint(truth() * 100).astype("uint16")), WHOLE),
    "millimeters": ("--scale 0.001", lambda path: write(path, np.rint(truth() * 1000).astype("int32")), WHOLE),
    "feet": ("--feet", lambda path: write(path, (truth() / 0.3048).astype("float32")), WHOLE),
    "a grid in feet": (
        "--feet",
        lambda path: write(path, (truth() / US_FOOT).astype("float32"), crs="EPSG:2225", transform=Affine(1, 0, 6e6, 0, -1, 2e6)),
        tuple(area * US_FOOT**2 for area in WHOLE),
    ),
    "meters declared in feet": ("--scale 1", lambda path: write(path, truth().astype("float32"), "ft", crs=HEIGHTS_IN_M), WHOLE),
    "feet in a CRS with meters": (
        "--feet",
        lambda path: write(path, (truth() / 0.3048).astype("float32"), "ft", crs=HEIGHTS_IN_M),
        WHOLE,
    ),
    "no data as -32767": ("--nodata=-32767", lambda path: write(path, collar(-32767)), WITHOUT_COLLAR),
    "no data as 3.4e+38": ("--nodata=3.4e+38", lambda path: write(path, collar(3.4e38)), WITHOUT_COLLAR),
    "no data as 255": ("--nodata=255", lambda path: write(path, np.rint(collar(255)).astype("uint8")), WITHOUT_COLLAR),
    "no data as 0": ("--nodata=0", lambda path: write(path, collar(0)), WITHOUT_COLLAR),
    "two bands": ("--band 1", lambda path: write(path, np.stack([truth(), 3 * truth()]).astype("float32")), WHOLE),
}


@pytest.mark.parametrize("name", CASES)
def test_an_advised_option_gives_the_area_of_the_undamaged_raster(name, tmp_path):
    option, make, areas_m2 = CASES[name]
    path = make(tmp_path / "chm.tif")
    before, message = gaps(path)
    assert before is None or before != pytest.approx(areas_m2, rel=1e-3)
    advised = OPTION.findall(message)
    assert option in advised, message
    after, _ = gaps(path, *shlex.split(option))
    assert after == pytest.approx(areas_m2, rel=1e-3)


def test_skip_checks_maps_a_refused_raster_as_it_is(tmp_path):
    decimeters = np.rint(truth() * 10)
    path = write(tmp_path / "chm.tif", decimeters.astype("int16"))
    _, message = gaps(path)
    assert OPTION.findall(message)[-1] == "--skip-checks"
    after, notes = gaps(path, "--skip-checks")
    assert after == (float((decimeters < 5).sum()), float(truth().size))
    assert after != WHOLE
    assert "taller than trees grow" in notes


HALF = Affine(0.5, 0, 500_000, 0, -0.5, 5_200_000)
GROUND_M = np.float32(500)


def prepare(folder: Path, *options: str) -> str:
    """Prepare the DSM and CHM of a folder; return the message."""
    rasters = ["--dsm", str(folder / "dsm.tif"), "--chm", str(folder / "chm.tif"), "--out", str(folder / "out")]
    result = CliRunner().invoke(app, ["prepare", *rasters, "--tile", "16", "--buffer", "1", *options])
    if isinstance(result.exception, ForestgapsError):
        return str(result.exception)
    assert result.exit_code == 0, f"{options}: {result.output} {result.exception!r}"
    return result.output


@pytest.mark.parametrize(("option", "side"), [("--resample", 1), ("--resolution 0.5", 2)])
def test_an_advised_option_brings_a_survey_to_a_pixel_size(option, side, tmp_path):
    heights = truth().astype("float32")
    fine = np.kron(heights, np.ones((2, 2), np.float32))  # so that a mean or a maximum of 2 x 2 pixels is known
    write(tmp_path / "dsm.tif", fine + GROUND_M, transform=HALF)
    write(tmp_path / "chm.tif", fine, transform=HALF)
    message = prepare(tmp_path, "--resolution", "1")
    assert option in OPTION.findall(message), message
    prepare(tmp_path, "--resolution", "1", *shlex.split(option))  # the last --resolution counts
    expected = heights if side == 1 else fine
    (dsm,) = tmp_path.glob("out/*/dsm.npy")
    (height,) = tmp_path.glob("out/*/height.npy")
    assert np.array_equal(np.load(dsm), expected + GROUND_M)
    assert np.load(height) == pytest.approx(expected, abs=1e-4)


def test_no_option_is_advised_that_does_not_help_a_chm_of_another_grid(tmp_path):
    heights = truth().astype("float32")
    write(tmp_path / "dsm.tif", np.kron(heights, np.ones((2, 2), np.float32)) + GROUND_M, transform=HALF)
    write(tmp_path / "chm.tif", heights)
    for options in ((), ("--resample",)):
        message = prepare(tmp_path, *options)
        assert "does not fit the pixels of the DSM" in message
        assert OPTION.findall(message) == []


# --- pip install ----------------------------------------------------------------------------------------------------


def printed_installs() -> Iterator[str]:
    """What `pip install` is followed by in the messages of all packages: what they contain, and packages of names not installed."""
    yield from json.loads(FIRST_PARTY.read_text(encoding="utf-8"))
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from re.findall(r"pip install [\"']?([a-z][^\s\"';,]*)", node.value)


@pytest.mark.parametrize("text", sorted(set(printed_installs())))
def test_a_printed_install_names_a_package_with_these_extras(text):
    requirement = Requirement(text)
    assert requirement.name.startswith("forestgaps-"), "others are named with their version by `install`"
    known = distribution(requirement.name).metadata
    assert requirement.extras <= set(known.get_all("Provides-Extra") or ())
    assert requirement.specifier.contains(known["Version"])


def test_printed_installs_are_found():
    assert {"forestgaps-core[standard]", "forestgaps-export[onnx]", "forestgaps-evaluation"} <= set(printed_installs())


@pytest.mark.parametrize("name", PROJECTS)
def test_an_install_with_a_version_can_be_resolved(name):
    version = distribution(name).version
    requirement = Requirement(format_install_command(name, version).removeprefix("; pip install "))
    assert canonicalize_name(requirement.name) == canonicalize_name(name)
    assert requirement.specifier.contains(version)
    assert str(requirement.specifier) == f"=={version}"
