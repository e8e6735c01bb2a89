from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from forestgaps_pretrained.areas import FORESTS, simulated_sites, site_list
from forestgaps_pretrained.areas import test_areas as areas_held_back


@pytest.mark.parametrize(("count", "parts"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (24, (16, 4, 4)), (60, (40, 10, 10))])
def test_parts_share_no_landscape_and_each_has_some(count, parts) -> None:
    sites = simulated_sites(count, seed=7)
    assert tuple(sum(site.part == part for site in sites) for part in ("train", "validation", "test")) == parts
    assert [site.seed for site in sites] == list(range(7, 7 + count))
    assert len({site.name for site in sites}) == count


def test_of_two_dozen_landscapes_every_kind_of_forest_is_trained_on_and_no_kind_is_tested_twice() -> None:
    sites = simulated_sites(24, seed=0)
    assert {site.forest for site in sites if site.part == "train"} == set(FORESTS)
    tested = [site.forest for site in sites if site.part == "test"]
    assert len(set(tested)) == len(tested) == 4


def test_the_site_list_halves_the_real_site_and_names_the_areas_in_its_order() -> None:
    sites = simulated_sites(6, seed=3)
    listed = tomllib.loads(site_list(Path("/made/landscapes"), sites, Path("/data/a site")))["sites"]
    assert listed["nz_westport"] == {"folder": "/data/a site", "test": "south 0.5"}
    assert listed["conifer_01"] == {"folder": "/made/landscapes/conifer_01", "part": "train"}
    order = [name for name, site in listed.items() if site.get("part") == "test" or "test" in site]
    assert order == ["rainforest_05", "nz_westport"]
    assert areas_held_back(sites) == ["simulated rainforest (seed 8)", "nz_westport, southern half"]
