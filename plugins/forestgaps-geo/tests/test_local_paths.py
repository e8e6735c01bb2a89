from __future__ import annotations

from pathlib import Path

import pytest

from forestgaps_core.errors import DataError
from forestgaps_geo.files.local_paths import explain_missing_file
from forestgaps_geo.files.opening import open_raster


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("s3://bucket/dsm.tif", "s3://bucket/dsm.tif: is an address"),
        ("gs://bucket/dsm.tif", "gs://bucket/dsm.tif: is an address"),
        ("https://host/a/dsm.tif?x=1", "https://host/a/dsm.tif?x=1: is an address"),
        ("file:///data/dsm.tif", "file:///data/dsm.tif: is an address"),
        ("/vsicurl/https://host/dsm.tif", "/vsicurl/https://host/dsm.tif: is an address for GDAL"),
        ("/vsizip//vsicurl/https://host/a.zip/dsm.tif", "/vsizip/vsicurl/https://host/a.zip/dsm.tif: is inside an archive"),
        ("/vsicurl?url=https://host/dsm.tif", "/vsicurl?url=https://host/dsm.tif: is an address for GDAL"),
        ("/vsis3/bucket/dsm.tif", "/vsis3/bucket/dsm.tif: is an address for GDAL"),
        ("/vsizip/dsm.zip/dsm.tif", "/vsizip/dsm.zip/dsm.tif: is inside an archive"),
        ("/vsitar//data/dsm.tgz/dsm.tif", "/vsitar/data/dsm.tgz/dsm.tif: is inside an archive"),
        ("vsizip/dsm.zip/dsm.tif", "vsizip/dsm.zip/dsm.tif: is inside an archive"),
    ],
)
def test_an_address_reports_that_only_local_files_are_read(typed: str, named: str) -> None:
    with pytest.raises(DataError, match=r"only local files are read. (Download|Unpack) it") as refused, open_raster(Path(typed)):
        pass
    assert str(refused.value).startswith(named)


def test_an_address_in_a_list_is_reported_without_the_folder_of_the_list() -> None:
    assert explain_missing_file(Path("sites") / "s3://bucket/dsm.tif").startswith("s3://bucket/dsm.tif: is an address")


def test_other_paths_are_missing_files() -> None:
    for path in ("dsm.tif", "/data/dsm.tif", "C:/dsm.tif", "a:b/dsm.tif", "vsi/dsm.tif"):
        assert explain_missing_file(Path(path)) == f"{path}: no such file"
