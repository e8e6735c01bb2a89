"""The areas for training and evaluation: simulated landscapes of each forest type, and one real site, divided in two."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

FORESTS = ("rainforest", "conifer", "open", "broadleaf", "plantation")
REAL = "nz_westport"
HOLD_OUT_EVERY = 6  # one of six landscapes is for validation, and one of six for the test


class SimulatedSite(NamedTuple):
    """A landscape to simulate. Its seed also determines slope, heights, gaps and survey noise."""

    name: str
    seed: int
    forest: str
    part: Literal["train", "validation", "test"]


def list_simulated_sites(count: int, seed: int) -> list[SimulatedSite]:
    """Return `count` landscapes (at least 3), forest types in turn. The last ones are for validation and test."""
    held = max(1, count // HOLD_OUT_EVERY)
    sites = []
    for number in range(count):
        left = count - number
        forest = FORESTS[number % len(FORESTS)]
        part: Literal["train", "validation", "test"] = "test" if left <= held else "validation" if left <= 2 * held else "train"
        sites.append(SimulatedSite(f"{forest}_{number:02}", seed + number, forest, part))
    return sites


def format_site_list(landscapes: Path, sites: Sequence[SimulatedSite], real: Path) -> str:
    """Return the site list for `forestgaps prepare`: the north of the real site is for training, the south for the test."""
    return "\n".join(list_lines(landscapes, sites, real)) + "\n"


def list_lines(landscapes: Path, sites: Sequence[SimulatedSite], real: Path) -> Iterator[str]:
    for site in sites:
        yield f"[sites.{site.name}]"
        yield f"folder = {json.dumps(str(landscapes / site.name))}"
        yield f'part = "{site.part}"'
    yield f"[sites.{REAL}]"
    yield f"folder = {json.dumps(str(real))}"
    yield 'test = "south 0.5"'


def list_test_areas(sites: Sequence[SimulatedSite]) -> list[str]:
    """Return the names of the held-out areas, in the order of the site list."""
    return [*(f"simulated {site.forest} (seed {site.seed})" for site in sites if site.part == "test"), f"{REAL}, southern half"]
