from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.enums import ColorInterp, MaskFlags

from forestgaps_geo.bands.writing import PLAIN_BANDS


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float64"])
@pytest.mark.parametrize("bands", range(1, 9))
def test_plain_bands_any_number_has_neither_colors_nor_alpha(tmp_path, bands: int, kind: str) -> None:
    path = tmp_path / "map.tif"
    profile = {"driver": "GTiff", "width": 4, "height": 3, "count": bands, "dtype": kind, "nodata": 255}
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32610", transform=Affine(1, 0, 500_000, 0, -1, 5_200_000), **PLAIN_BANDS
    ) as file:
        file.write(np.zeros((bands, 3, 4), kind))
    with rasterio.open(path) as file:
        assert set(file.colorinterp) <= {ColorInterp.gray, ColorInterp.undefined}
        assert file.nodatavals == (255,) * bands
        assert file.mask_flag_enums == ([MaskFlags.nodata],) * bands
