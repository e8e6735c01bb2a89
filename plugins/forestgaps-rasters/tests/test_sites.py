from __future__ import annotations

from pathlib import Path

import pytest

from forestgaps_core.errors import ConfigError, DataError
from forestgaps_rasters.preparation.sites import Site, collect_sites, read_sites


def test_a_site_list_names_sites_from_its_own_folder(tmp_path) -> None:
    path = tmp_path / "sites.toml"
    path.write_text(
        '[sites.ridge]\nfolder = "a"\nvalidation = "south 0.25"\n'
        '[sites.island]\ndsm = "b.tif"\nchm = "c.tif"\npart = "test"\npixel_size_m = 1'
    )
    ridge, island = read_sites(path)
    assert (ridge.name, ridge.folder, ridge.part, ridge.rules) == ("ridge", tmp_path / "a", "train", {"validation": "south 0.25"})
    assert (island.dsm, island.chm, island.part, island.pixel_size_m) == (tmp_path / "b.tif", tmp_path / "c.tif", "test", 1.0)


def test_all_mistakes_of_a_site_list_are_told_at_once(tmp_path) -> None:
    path = tmp_path / "sites.toml"
    path.write_text('[sites.ridge]\nfoldr = "a"\npart = "tests"\npixel_size_m = 0\n')
    with pytest.raises(ConfigError) as error:
        read_sites(path)
    assert len(error.value.problems) == 3
    assert "did you mean 'folder'" in str(error.value)
    assert "did you mean 'test'" in str(error.value)


@pytest.mark.parametrize(("text", "match"), [("", "names no site"), ("[sites", "sites.toml"), ("[ridge]\n", "sites")])
def test_a_site_list_without_sites_is_refused(tmp_path, text, match) -> None:
    path = tmp_path / "sites.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=match):
        read_sites(path)


def test_a_missing_site_list_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_sites(tmp_path / "sites.toml")


def test_of_dtm_and_chm_the_dtm_is_read(tmp_path) -> None:
    for name in ("dsm.tif", "dtm.tif", "chm.tif"):
        (tmp_path / name).touch()
    assert list(Site(folder=tmp_path).files()) == ["dsm", "dtm"]
    (tmp_path / "dtm.tif").unlink()
    assert list(Site(folder=tmp_path).files()) == ["dsm", "chm"]
    (tmp_path / "chm.tif").unlink()
    with pytest.raises(DataError, match=r"needs dsm.tif with dtm.tif or chm.tif; there is dsm.tif"):
        Site(folder=tmp_path).files()
    with pytest.raises(DataError, match="no such folder"):
        Site(folder=tmp_path / "none").files()


def test_a_command_line_names_folders_and_pairs() -> None:
    sites = collect_sites([Path("ridge")], [Path("a.tif"), Path("b.tif")], [], [Path("c.tif"), Path("d.tif")], test="south 0.2")
    assert [site.name for site in sites] == ["ridge", "a", "b"]
    assert sites[2].chm == Path("d.tif")
    assert all(site.rules == {"test": "south 0.2"} for site in sites)


def test_a_command_line_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(DataError, match="no site is named"):
        collect_sites([], [], [], [])
    with pytest.raises(DataError, match="--dsm is given 2 times and --dtm 1 time; give each DSM its own"):
        collect_sites([], [Path("a.tif"), Path("b.tif")], [Path("c.tif")], [])
    with pytest.raises(DataError, match="2 sites are called 'ridge'"):
        collect_sites([Path("x/ridge"), Path("y/ridge")], [], [], [])
