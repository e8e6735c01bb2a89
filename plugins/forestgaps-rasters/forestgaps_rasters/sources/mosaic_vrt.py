"""The text of the virtual raster (VRT) of a mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from forestgaps_geo.bands.band import Band
from forestgaps_geo.grids.grid import Grid


def format_vrt_source(file: str, grid: Grid, nodata: str | None, band: Band | None) -> str:
    """A source of the virtual raster; `{row}` and `{column}` are left to be filled in."""
    size = f'xSize="{grid.columns}" ySize="{grid.rows}"'
    lines = [
        "<ComplexSource>",
        f'<SourceFilename relativeToVRT="0">{escape_braces(escape(file))}</SourceFilename><SourceBand>1</SourceBand>',
    ]
    if band is not None and file == band.dataset.name:  # with these GDAL need not open the file before it is read
        rows, columns = band.source.block_shape
        kind = {"float32": "Float32", "float64": "Float64", "uint8": "Byte"}.get(
            band.source.dtype.name, band.source.dtype.name.title()
        )
        kind = kind.replace("Uint", "UInt")
        lines.append(
            f'<SourceProperties RasterXSize="{grid.columns}" RasterYSize="{grid.rows}" DataType="{kind}" '
            f'BlockXSize="{columns}" BlockYSize="{rows}"/>'
        )
    if band is not None and (band.source.scale, band.source.offset) != (1.0, 0.0):
        lines.append(f"<ScaleOffset>{band.source.offset!r}</ScaleOffset><ScaleRatio>{band.source.scale!r}</ScaleRatio>")
    lines.append(f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{{column}}" yOff="{{row}}" {size}/>')
    if nodata is not None:
        lines.append(f"<NODATA>{nodata}</NODATA>")
    return "\n".join([*lines, "</ComplexSource>"])


def escape_braces(text: str) -> str:
    """Text that stays as it is when places are filled in."""
    return text.replace("{", "{{").replace("}", "}}")


def format_mosaic_vrt(grid: Grid, parts: Sequence[str]) -> str:
    """The virtual raster. GDAL lays sources over each other in their order, so the first file comes last."""
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    crs = "" if grid.crs is None else f"<SRS>{escape(grid.crs.to_wkt())}</SRS>"
    lines = [
        f'<VRTDataset rasterXSize="{grid.columns}" rasterYSize="{grid.rows}">',
        crs,
        f"<GeoTransform>{c!r}, {a!r}, {b!r}, {f!r}, {d!r}, {e!r}</GeoTransform>",
        '<VRTRasterBand dataType="Float32" band="1"><NoDataValue>nan</NoDataValue>',
        *reversed(parts),
        "</VRTRasterBand></VRTDataset>",
    ]
    return "\n".join(lines)
