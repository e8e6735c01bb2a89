"""Check untrusted virtual rasters (VRT) element by element against what mosaics and warped views need.

What is allowed is what gdalbuildvrt and `gdalwarp -of VRT` write, without the elements by which a file would name other files,
addresses on the network, or code: Python functions of pixels, raw bytes of any file, tables and models of other drivers.
"""

from __future__ import annotations

import re
from math import nan
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from forestgaps_core.errors import DataError
from forestgaps_core.files.bounded_reading import read_bytes
from forestgaps_geo.gdal_commands import gdal_translate
from forestgaps_geo.vrt_values import forbidden_value

MAX_VRT_BYTES = 64 * 2**20
DEPTH = 64  # of elements
BANDS = 1000
OVERLAP = 64  # sources that may lie over a pixel, on average
MEMORY_MB = 512  # to warp in
LONGEST = 4096  # letters of a path

ALLOWED = """
VRTDataset SRS GeoTransform Metadata MDI VRTRasterBand ColorInterp NoDataValue HideNoDataValue Description UnitType Offset Scale
CategoryNames Category ColorTable Entry Histograms HistItem HistMin HistMax BucketCount IncludeOutOfRange Approximate HistCounts
OverviewList MaskBand BlockXSize BlockYSize
SimpleSource ComplexSource AveragedSource NoDataFromMaskSource SourceFilename SourceBand SourceProperties SrcRect DstRect NODATA
UseMaskBand ScaleOffset ScaleRatio LUT Exponent SrcMin SrcMax DstMin DstMax Clamp MaskValueThreshold RemappedValue
GDALWarpOptions WarpMemoryLimit ResampleAlg WorkingDataType Option SourceDataset Transformer BandList BandMapping SrcNoDataReal
SrcNoDataImag DstNoDataReal DstNoDataImag DstAlphaBand SrcAlphaBand ApproxTransformer MaxError MaxErrorForward MaxErrorReverse
BaseTransformer GenImgProjTransformer SrcGeoTransform SrcInvGeoTransform DstGeoTransform DstInvGeoTransform ReprojectTransformer
ReprojectionTransformer SourceSRS SourceCRS TargetSRS TargetCRS Options
"""
ELEMENTS = frozenset(re.findall(r"\w+", ALLOWED))
KINDS = {
    "VRTDataset": ("", "VRTWarpedDataset"),
    "VRTRasterBand": ("", "VRTSourcedRasterBand", "VRTWarpedRasterBand"),
}
FILES = ("SourceFilename", "SourceDataset")
SOURCES = ("SimpleSource", "ComplexSource", "AveragedSource", "NoDataFromMaskSource")
DOMAINS = ("", "IMAGE_STRUCTURE")
WARP_OPTIONS = (
    *("INIT_DEST", "UNIFIED_SRC_NODATA", "SKIP_NOSOURCE", "ERROR_OUT_IF_EMPTY_SOURCE_WINDOW", "SAMPLE_GRID", "MULTI"),
    *("INSERT_CENTER_LONG", "CENTER_LONG", "AREA_OF_INTEREST", "COORDINATE_OPERATION", "STREAMABLE_OUTPUT", "OPTIMIZE_SIZE"),
    *("ALLOW_BALLPARK", "ONLY_BEST", "REPROJECTION_APPROX_ERROR_IN_SRC_SRS_UNIT"),
    *("REPROJECTION_APPROX_ERROR_IN_DST_SRS_UNIT", "WRITE_FLUSH", "AUTHORIZE_HALF_PIXEL", "XSCALE", "YSCALE"),
)


class Tree(ElementTree.TreeBuilder):
    """Builds a tree of bounded depth, without declarations of its own."""

    depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> Element:
        self.depth += 1
        if self.depth > DEPTH:
            raise ValueError(f"elements are nested more than {DEPTH} deep")
        return super().start(tag, attributes)

    def end(self, tag: str) -> Element:
        self.depth -= 1
        return super().end(tag)

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type")


def harmless(path: Path) -> Element:
    """The tree of a VRT in which everything is allowed; the files it names are still to be looked at (`FILES`).

    Raises:
        DataError: It is no VRT, or something in it is not done on the word of a file.
    """
    root = parsed(path)
    for element in root.iter():
        if fault := forbidden(element):
            copy = gdal_translate(path, "plain")
            raise DataError(f"{path}: {fault}, which is not read on the word of a file; make a GeoTIFF of it: {copy}")
    if fault := crowded(root):
        raise DataError(f"{path}: {fault}")
    return root


def parsed(path: Path) -> Element:
    try:
        root = parse_xml(read_bytes(path, MAX_VRT_BYTES))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise DataError(f"{path}: is no virtual raster that can be read ({plain(error)})") from error
    if sum(element.tag == "VRTRasterBand" for element in root.iter()) > BANDS:
        raise DataError(f"{path}: has more than {BANDS} bands")
    return root


def parse_xml(data: bytes) -> Element:
    """A tree of bounded depth.

    Raises:
        ValueError, ParseError: It is not XML, or is nested too deeply, or declares a document type.
    """
    parser = ElementTree.XMLParser(target=Tree(), encoding="utf-8")
    parser.feed(data)
    root: Element = parser.close()
    return root


def forbidden(element: Element) -> str:
    """What an element of a VRT does that is not done, '' if nothing."""
    tag = element.tag
    if tag not in ELEMENTS:
        return f"has an element {plain(tag)!r}"
    if (kind := element.get("subClass", "")) not in KINDS.get(tag, ("",)):
        return f"has a {tag} of the kind {plain(kind)!r}"
    if tag == "Metadata" and (domain := element.get("domain", "")) not in DOMAINS:
        return f"has metadata of the domain {plain(domain)!r}"
    if tag == "Option" and (name := element.get("name") or element.get("key") or "") not in WARP_OPTIONS:
        return f"has an option {plain(name)!r}"
    if tag == "WarpMemoryLimit" and not 0 <= number(element.text) <= MEMORY_MB * 2**20:
        return f"asks for more than {MEMORY_MB} MB to warp in"
    return forbidden_value(element)


def crowded(root: Element) -> str:
    """Whether more sources lie over each other than anybody could want to wait for; '' if not."""
    pixels = number(root.get("rasterXSize")) * number(root.get("rasterYSize"))
    covered = 0.0
    for kind in SOURCES:
        for place in root.iter(kind):
            rectangle = place.find("DstRect")
            area = pixels if rectangle is None else number(rectangle.get("xSize")) * number(rectangle.get("ySize"))
            covered += min(area, pixels)
    bands = sum(1 for _ in root.iter("VRTRasterBand"))
    return "" if covered <= OVERLAP * max(bands, 1) * pixels else f"lays more than {OVERLAP} rasters over each pixel"


def number(text: str | None) -> float:
    """NaN where there is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return nan


def named_by(path: Path, element: Element) -> Path:
    """The file that a VRT names."""
    name = element.text or ""
    if not 0 < len(name) <= LONGEST or re.match(r"[<&]|/vsi|\\|[A-Za-z][\w+.-]+:", name):
        raise DataError(f"{path}: names {plain(name)!r}, which is not a file on this machine; download it, and name the copy")
    relative = "1" in (element.get("relativeToVRT"), element.get("relativetoVRT"))
    return (path.parent / name if relative else Path(name)).absolute()


def plain(text: object) -> str:
    """What a file or GDAL says, short, on one line, and nothing in it that could steer a terminal."""
    return "".join(letter for letter in " ".join(str(text).split())[:300] if letter.isprintable())
