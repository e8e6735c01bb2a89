"""Check each value of a virtual raster against the form that its element has in a mosaic or a warped view.

GDAL opens what a value names: a coordinate system may be an address on the network, a file, or a text that names grid files, which
may be anywhere too. So a value is allowed by its form, and whatever has another one is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

MAX_CRS_CHARACTERS = 65_536
MAX_VALUE_CHARACTERS = 1024  # of any other value
MAX_LIST_CHARACTERS = 2**20  # of a lookup table or a histogram
MAX_BUCKETS = 65_536
MAX_ZOOM = 2**20  # factor of an overview

CRS_ELEMENTS = ("SRS", "SourceSRS", "SourceCRS", "TargetSRS", "TargetCRS")
FREE_TEXT = ("MDI", "Description", "UnitType", "Category")  # words that are only shown
LIST_ELEMENTS = ("LUT", "HistCounts")
CRS_CODE = re.compile(r"(EPSG|ESRI|OGC|CRS|IGNF):\w+(\+(EPSG:)?\d+)?|urn:ogc:def:crs:(EPSG|OGC|ESRI):[\w.]*:\w+", re.IGNORECASE)
CRS_NAME = re.compile(r"WGS84|WGS72|NAD27|NAD83|CRS84")
PROJ = re.compile(r"(\+?(proj|step|inv)\b|\+)[\w+=., @-]*", re.IGNORECASE)
WKT = re.compile(
    r"(BOUND|COMPOUND|DERIVEDPROJ|ENG|ENGINEERING|GEOD|GEODETIC|GEOG|GEOGRAPHIC|PROJ|PROJECTED|VERT|VERTICAL|LOCAL_|COMPD_)(CRS|CS)\["
    r"|(GEOCCS|GEOGCS|PROJCS|VERT_CS|LOCAL_CS|COMPD_CS)\[",
    re.IGNORECASE,
)
# What of a coordinate system is looked up in a file, and its form where it is only the name of one that PROJ contains.
FILE_REFERENCE = re.compile(
    r"(?P<key>[a-z]*grids|file|init|catalog)\s*=\s*(?P<name>[^\s\"]*)|(PARAMETERFILE|GEOIDMODEL)\s*\[(?P<inside>[^\]]*)\]",
    re.IGNORECASE,
)
GRID_FILE_NAMES = re.compile(r"@?(null|\w[\w-]*\.(tif|tiff|gsb|gtx|gvb|byn|los|las|json))(,@?\w[\w-]*(\.\w+)?)*", re.IGNORECASE)
QUOTED_NAMES = re.compile(r"[^/\\:]*")
NUMBERS = re.compile(r"[\d\s,.:;eE+infa-]*", re.IGNORECASE)
WORDS = re.compile(r"[\w\s,.:+-]*")
ATTRIBUTES: Mapping[str, re.Pattern[str]] = {"dataAxisToSRSAxisMapping": re.compile(r"-?[123](,-?[123]){0,3}")}


def is_plain_crs(text: str) -> bool:
    """Whether a text is a coordinate system by its own words: WKT, a code of an authority, or PROJ words, without files."""
    text = text.strip()
    if len(text) > MAX_CRS_CHARACTERS:
        return False
    known = CRS_CODE.fullmatch(text) or CRS_NAME.fullmatch(text) or PROJ.fullmatch(text) or WKT.match(text)
    return not text or bool(known and has_no_file_reference(text))


def has_no_file_reference(text: str) -> bool:
    """Whether what a coordinate system looks up is found among the grids of PROJ, by a bare name."""
    for found in FILE_REFERENCE.finditer(text):
        if found["inside"] is not None:
            if not QUOTED_NAMES.fullmatch(found["inside"]):
                return False
        elif not GRID_FILE_NAMES.fullmatch(found["name"]) or found["key"].lower() in ("init", "file", "catalog"):
            return False
    return "PROJ-based" not in text


def explain_forbidden_value(element: Element) -> str:
    """What is wrong with the text and the attributes of an element, '' if nothing."""
    tag, text = element.tag, (element.text or "").strip()
    for name, value in element.attrib.items():
        form = ATTRIBUTES.get(name, WORDS)
        free = tag in FREE_TEXT or name in ("key", "name", "description")
        if len(value) > MAX_VALUE_CHARACTERS or not (free or form.fullmatch(value)):
            return f"has a {tag} whose {name!r} is not of the usual form"
    if tag in CRS_ELEMENTS:
        return "" if is_plain_crs(text) else f"has a {tag} that is not a coordinate system in WKT or a code such as EPSG:32632"
    if tag == "Option" and "COORDINATE_OPERATION" in element.attrib.values():
        plain = PROJ.fullmatch(text) and has_no_file_reference(text)
        return "" if plain else "has a coordinate operation that is not made of PROJ words, or looks up files"
    if tag in FREE_TEXT:
        return f"has a {tag} of {len(text):,} characters" if len(text) > MAX_LIST_CHARACTERS else ""
    if tag in LIST_ELEMENTS:
        usual = len(text) <= MAX_LIST_CHARACTERS and re.fullmatch(r"[\d\s,.:eE+|naif-]*", text, re.IGNORECASE)
        return "" if usual else f"has a {tag} that is not a list of numbers, or a very long one"
    if tag in ("SourceFilename", "SourceDataset"):
        return ""  # each is looked at by itself
    if len(text) > MAX_VALUE_CHARACTERS or not WORDS.fullmatch(text):
        return f"has a {tag} that is not of the usual form"
    return explain_too_many(tag, text)


def explain_too_many(tag: str, text: str) -> str:
    """Numbers that GDAL believes and makes room for."""
    numbers = [int(word) for word in re.findall(r"\d{1,18}", text)]
    if tag == "BucketCount" and any(count > MAX_BUCKETS for count in numbers):
        return f"has a histogram of more than {MAX_BUCKETS:,} buckets"
    if tag == "OverviewList" and (len(numbers) > 32 or any(not 1 < factor <= MAX_ZOOM for factor in numbers)):
        return "has overviews of more levels than anybody needs"
    return ""
