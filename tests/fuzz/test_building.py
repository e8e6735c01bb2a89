"""`config check` of settings that are allowed and absurd: it takes the step, or says what does not go."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import tomli_w

from forestgaps_core.config.converter import structure_config, unstructure
from forestgaps_core.kinds import KINDS
from forestgaps_core.plugins.registry import Plugins

from .conftest import CASES, case
from .hostile import copied, offered
from .test_commands import RUN_FILE, Workshop

LARGE = [2**63 - 1, 10**18, 10**12, 10**9, 10**6, 65_536, 10_000, 4096, 1024, 256, 64, 8]
VALUES: list[Any] = [*LARGE, 1e308, float("inf"), 1e18, 1e6, 199.999999, 1.0, 0.999999, 5e-324, 1e-9, 0.0]
NEEDED = {"score": "validation/gaps/gap_iou", "layers": ["head"], "minutes": 1.0}
UNTRIED = {("data", "rasters")}  # needs a folder of rasters
# The work that is asked for: landscapes are made before a run, and the most that can be asked for takes half an hour.
LONG = {("data", "landscapes", name) for name in ("train", "validation", "test", "size_px")}
EVERY = max(round(10_000 / max(CASES, 1)), 1)  # of the settings, in a run of a few hundred cases

pytestmark = pytest.mark.skipif("landscapes" not in Plugins.discover().components("data"), reason="needs simulated landscapes")


def extremes(kind: type, table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each number of a class, at the largest and smallest that its validators let pass."""
    for attribute in attrs.fields(kind):
        default = table.get(attribute.name)
        inner = (
            attribute.default.factory
            if isinstance(attribute.default, attrs.Factory) and attrs.has(attribute.default.factory)
            else None
        )  # type: ignore[arg-type]
        if inner is not None:
            yield from (((*path, attribute.name, *below), value) for below, value in extremes(inner, unstructure(inner())))
            continue
        if isinstance(default, (bool, str)):
            continue
        taken = []
        for value in VALUES:
            tried = [value] if isinstance(default, (list, tuple)) else value
            if not structure_config({**table, attribute.name: tried}, kind)[1] and tried not in taken:
                taken.append(tried)
        for value in [*taken[:1], *taken[-1:]]:
            yield (*path, attribute.name), value


def candidates() -> Iterator[tuple[str, dict[str, Any]]]:
    """Run files with one absurd setting each, by what is in them."""
    for section, classes in offered(Plugins.discover()).items():
        for name, kind in classes.items():
            if (section, name) in UNTRIED:
                continue
            needed = {a.name: NEEDED[a.name] for a in attrs.fields(kind) if a.default is attrs.NOTHING}
            instance, _ = structure_config(needed, kind)
            for path, value in extremes(kind, unstructure(instance)):
                if (section, name, *path) in LONG:
                    continue
                run = tomllib.loads(RUN_FILE)
                several = section in KINDS and KINDS[section].several
                where = run.setdefault(section, {}).setdefault("tried", {}) if several else run.setdefault(section, {})
                if name and where.get("name") != name:
                    where.clear()
                    where |= {"name": name, **needed}
                    if section == "model" and "base" in {a.name for a in attrs.fields(kind)}:
                        where["base"] = 4
                inner = where
                for key in path[:-1]:
                    inner = inner.setdefault(key, {})
                inner[path[-1]] = copied(value)
                yield f"{section}.{name}.{'.'.join(path)} = {value}", run


TRIED = list(candidates())[::EVERY]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Iterator[Workshop]:
    made = Workshop.opened(tmp_path_factory.mktemp("building") / "base", furnished=False)
    yield made
    made.close()


@pytest.mark.parametrize(("setting", "run"), TRIED, ids=[setting for setting, _ in TRIED])
def test_an_absurd_setting_takes_the_step_or_is_reported(workshop, setting, run):
    (workshop.base / "pristine" / "case.toml").write_text(tomli_w.dumps(run))
    workshop.outside = workshop.seen()
    with case("absurd settings built") as outcome:
        done = workshop.run(["config", "check", "case.toml"])
        outcome.accepted, outcome.elsewhere = done["status"] == 0, done["seconds"]
