"""What the network is trained and scored on: simulated landscapes of every kind, and one real site, halved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

FORESTS = ("rainforest", "conifer", "open", "broadleaf", "plantation")
REAL = "nz_westport"
HELD_BACK = 6  # one landscape in so many for validation, and as many for the test


class SimulatedSite(NamedTuple):
    """A landscape to simulate: its seed also draws slope, heights, gaps and survey noise."""

    name: str
    seed: int
    forest: str
    part: Literal["train", "validation", "test"]


def simulated_sites(count: int, seed: int) -> list[SimulatedSite]:
    """`count` landscapes, at least 3, the kinds of forest in turn; the last ones are for validation and test."""
    held = max(1, count // HELD_BACK)
    sites = []
    for number in range(count):
        left = count - number
        forest = FORESTS[number % len(FORESTS)]
        part: Literal["train", "validation", "test"] = "test" if left <= held else "validation" if left <= 2 * held else "train"
        sites.append(SimulatedSite(f"{forest}_{number:02}", seed + number, forest, part))
    return sites


def site_list(landscapes: Path, sites: Sequence[SimulatedSite], real: Path) -> str:
    """The site list for `forestgaps prepare`: the northern half of the real site trains, the southern half is its test."""
    return "\n".join(lines(landscapes, sites, real)) + "\n"


def lines(landscapes: Path, sites: Sequence[SimulatedSite], real: Path) -> Iterator[str]:
    for site in sites:
        yield f"[sites.{site.name}]"
        yield f"folder = {json.dumps(str(landscapes / site.name))}"
        yield f'part = "{site.part}"'
    yield f"[sites.{REAL}]"
    yield f"folder = {json.dumps(str(real))}"
    yield 'test = "south 0.5"'


def test_areas(sites: Sequence[SimulatedSite]) -> list[str]:
    """Names of the held-out areas, in the order of the site list."""
    return [*(f"simulated {site.forest} (seed {site.seed})" for site in sites if site.part == "test"), f"{REAL}, southern half"]
