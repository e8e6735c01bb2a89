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
from forestgaps_core.files.safe_opening import read_bytes
from forestgaps_geo.files.gdal_commands import format_translate_command
from forestgaps_geo.files.vrt_values import explain_forbidden_value

MAX_VRT_BYTES = 64 * 2**20
MAX_DEPTH = 64  # of elements
MAX_BANDS = 1000
MAX_OVERLAP = 64  # sources that may lie over a pixel, on average
MAX_WARP_MEMORY_MB = 512  # to warp in
MAX_PATH_CHARACTERS = 4096  # letters of a path

ALLOWED_ELEMENTS = """
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
ELEMENTS = frozenset(re.findall(r"\w+", ALLOWED_ELEMENTS))
SUBCLASSES = {
    "VRTDataset": ("", "VRTWarpedDataset"),
    "VRTRasterBand": ("", "VRTSourcedRasterBand", "VRTWarpedRasterBand"),
}
FILE_ELEMENTS = ("SourceFilename", "SourceDataset")
SOURCE_ELEMENTS = ("SimpleSource", "ComplexSource", "AveragedSource", "NoDataFromMaskSource")
METADATA_DOMAINS = ("", "IMAGE_STRUCTURE")
WARP_OPTIONS = (
    *("INIT_DEST", "UNIFIED_SRC_NODATA", "SKIP_NOSOURCE", "ERROR_OUT_IF_EMPTY_SOURCE_WINDOW", "SAMPLE_GRID", "MULTI"),
    *("INSERT_CENTER_LONG", "CENTER_LONG", "AREA_OF_INTEREST", "COORDINATE_OPERATION", "STREAMABLE_OUTPUT", "OPTIMIZE_SIZE"),
    *("ALLOW_BALLPARK", "ONLY_BEST", "REPROJECTION_APPROX_ERROR_IN_SRC_SRS_UNIT"),
    *("REPROJECTION_APPROX_ERROR_IN_DST_SRS_UNIT", "WRITE_FLUSH", "AUTHORIZE_HALF_PIXEL", "XSCALE", "YSCALE"),
)


class BoundedTreeBuilder(ElementTree.TreeBuilder):
    """Builds a tree of bounded depth, without declarations of its own."""

    depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> Element:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError(f"elements are nested more than {MAX_DEPTH} deep")
        return super().start(tag, attributes)

    def end(self, tag: str) -> Element:
        self.depth -= 1
        return super().end(tag)

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type")


def read_checked_vrt(path: Path) -> Element:
    """The tree of a VRT in which everything is allowed; the files it names are still to be looked at (`FILE_ELEMENTS`).

    Raises:
        DataError: It is no VRT, or something in it is not done on the word of a file.
    """
    root = parse_vrt(path)
    for element in root.iter():
        if fault := explain_forbidden(element):
            copy = format_translate_command(path, "plain")
            raise DataError(f"{path}: {fault}, which is not read on the word of a file; make a GeoTIFF of it: {copy}")
    if fault := explain_crowded(root):
        raise DataError(f"{path}: {fault}")
    return root


def parse_vrt(path: Path) -> Element:
    try:
        root = parse_xml(read_bytes(path, MAX_VRT_BYTES))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise DataError(f"{path}: is no virtual raster that can be read ({sanitize_text(error)})") from error
    if sum(element.tag == "VRTRasterBand" for element in root.iter()) > MAX_BANDS:
        raise DataError(f"{path}: has more than {MAX_BANDS} bands")
    return root


def parse_xml(data: bytes) -> Element:
    """A tree of bounded depth.

    Raises:
        ValueError, ParseError: It is not XML, or is nested too deeply, or declares a document type.
    """
    parser = ElementTree.XMLParser(target=BoundedTreeBuilder(), encoding="utf-8")
    parser.feed(data)
    root: Element = parser.close()
    return root


def explain_forbidden(element: Element) -> str:
    """What an element of a VRT does that is not done, '' if nothing."""
    tag = element.tag
    if tag not in ELEMENTS:
        return f"has an element {sanitize_text(tag)!r}"
    if (kind := element.get("subClass", "")) not in SUBCLASSES.get(tag, ("",)):
        return f"has a {tag} of the kind {sanitize_text(kind)!r}"
    if tag == "Metadata" and (domain := element.get("domain", "")) not in METADATA_DOMAINS:
        return f"has metadata of the domain {sanitize_text(domain)!r}"
    if tag == "Option" and (name := element.get("name") or element.get("key") or "") not in WARP_OPTIONS:
        return f"has an option {sanitize_text(name)!r}"
    if tag == "WarpMemoryLimit" and not 0 <= parse_number(element.text) <= MAX_WARP_MEMORY_MB * 2**20:
        return f"asks for more than {MAX_WARP_MEMORY_MB} MB to warp in"
    return explain_forbidden_value(element)


def explain_crowded(root: Element) -> str:
    """Whether more sources lie over each other than anybody could want to wait for; '' if not."""
    pixels = parse_number(root.get("rasterXSize")) * parse_number(root.get("rasterYSize"))
    covered = 0.0
    for kind in SOURCE_ELEMENTS:
        for place in root.iter(kind):
            rectangle = place.find("DstRect")
            area = pixels if rectangle is None else parse_number(rectangle.get("xSize")) * parse_number(rectangle.get("ySize"))
            covered += min(area, pixels)
    bands = sum(1 for _ in root.iter("VRTRasterBand"))
    return "" if covered <= MAX_OVERLAP * max(bands, 1) * pixels else f"lays more than {MAX_OVERLAP} rasters over each pixel"


def parse_number(text: str | None) -> float:
    """NaN where there is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return nan


def resolve_source_path(path: Path, element: Element) -> Path:
    """The file that a VRT names."""
    name = element.text or ""
    if not 0 < len(name) <= MAX_PATH_CHARACTERS or re.match(r"[<&]|/vsi|\\|[A-Za-z][\w+.-]+:", name):
        raise DataError(
            f"{path}: names {sanitize_text(name)!r}, which is not a file on this machine; download it, and name the copy"
        )
    relative = "1" in (element.get("relativeToVRT"), element.get("relativetoVRT"))
    return (path.parent / name if relative else Path(name)).absolute()


def sanitize_text(text: object) -> str:
    """What a file or GDAL says, short, on one line, and nothing in it that could steer a terminal."""
    return "".join(letter for letter in " ".join(str(text).split())[:300] if letter.isprintable())
