from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from forestgaps_pretrained.areas import FORESTS, format_site_list, list_simulated_sites
from forestgaps_pretrained.areas import list_test_areas as areas_held_back


@pytest.mark.parametrize(("count", "parts"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (24, (16, 4, 4)), (60, (40, 10, 10))])
def test_list_simulated_sites_fills_each_part_without_overlap(count, parts) -> None:
    sites = list_simulated_sites(count, seed=7)
    assert tuple(sum(site.part == part for site in sites) for part in ("train", "validation", "test")) == parts
    assert [site.seed for site in sites] == list(range(7, 7 + count))
    assert len({site.name for site in sites}) == count


def test_list_simulated_sites_of_24_trains_on_each_forest_type_and_tests_none_twice() -> None:
    sites = list_simulated_sites(24, seed=0)
    assert {site.forest for site in sites if site.part == "train"} == set(FORESTS)
    tested = [site.forest for site in sites if site.part == "test"]
    assert len(set(tested)) == len(tested) == 4


def test_format_site_list_divides_the_real_site_and_keeps_the_order() -> None:
    sites = list_simulated_sites(6, seed=3)
    listed = tomllib.loads(format_site_list(Path("/made/landscapes"), sites, Path("/data/a site")))["sites"]
    assert listed["nz_westport"] == {"folder": "/data/a site", "test": "south 0.5"}
    assert listed["conifer_01"] == {"folder": "/made/landscapes/conifer_01", "part": "train"}
    order = [name for name, site in listed.items() if site.get("part") == "test" or "test" in site]
    assert order == ["rainforest_05", "nz_westport"]
    assert areas_held_back(sites) == ["simulated rainforest (seed 8)", "nz_westport, southern half"]
