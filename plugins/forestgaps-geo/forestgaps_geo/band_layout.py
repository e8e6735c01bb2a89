"""How the bands of a GeoTIFF are declared.

Without a photometric interpretation, GDAL declares three bytes per pixel as red, green and blue, and a fourth one as alpha. A map
with a band per threshold is none of that: programs then take the fourth threshold for a mask, and drop the nodata value.
"""

from __future__ import annotations

from collections.abc import Mapping

PLAIN_BANDS: Mapping[str, str] = {"photometric": "MINISBLACK", "alpha": "NO"}
"""Creation options of the driver GTiff for bands that hold values, not colors. The driver COG takes them over from its source."""
