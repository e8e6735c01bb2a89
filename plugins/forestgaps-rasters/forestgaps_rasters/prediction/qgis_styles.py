"""Style files for QGIS, so that the maps open looking right.

QGIS takes the style of a raster from a `.qml` file of the same name beside it. A style shows one band, so a layer definition
(`.qlr`, to be dragged onto the map) lists every threshold as a layer of its own. Elements and attributes are those QGIS 3.22
writes itself. Values of a scaled band are in its real units there: probabilities from 0 to 1, not bytes.

Colors are those of `forestgaps_core.output.palette`: gaps of the lowest threshold are the brightest, as in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from rasterio.crs import CRS

from forestgaps_core.output.palette import VIRIDIS, rgb_bytes, threshold_colors

PROBABILITY_OPACITY = "0.8"  # opacity of probabilities, so that relief below them shows
QML_HEADER = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
QLR_HEADER = "<!DOCTYPE qgis-layer-definition>\n"
QGIS_VERSION = "3.22"


STYLE_FILES = ("gaps.qml", "probabilities.qml", "gaps.qlr")


def write_styles(folder: Path, thresholds: Sequence[float], crs: CRS | None) -> None:
    """Write `gaps.qml`, `probabilities.qml` and `gaps.qlr` beside `gaps.tif` and `probabilities.tif`.

    Args:
        thresholds: Meters, the threshold of each band, ascending.
        crs: That of the maps, which a layer definition must say as well.
    """
    one, other, both = (folder / name for name in STYLE_FILES)
    write_xml(one, make_style(make_gap_renderer(1, thresholds[0], threshold_colors(len(thresholds))[0])), QML_HEADER)
    write_xml(other, make_style(make_probability_renderer(1)), QML_HEADER)
    write_xml(both, make_layer_definition(thresholds, crs), QLR_HEADER)


def write_xml(path: Path, root: Element, head: str) -> None:
    ElementTree.indent(root)
    path.write_text(head + ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def make_style(renderer: Element) -> Element:
    """What a `.qml` file holds."""
    root = Element("qgis", version=QGIS_VERSION, styleCategories="Symbology", hasScaleBasedVisibilityFlag="0")
    root.append(make_pipe(renderer))
    SubElement(root, "blendMode").text = "0"
    return root


def make_pipe(renderer: Element) -> Element:
    """From values to pixels on the screen. The nearest value is shown, none between two."""
    root = Element("pipe")
    nearest = {"zoomedInResamplingMethod": "nearestNeighbour", "zoomedOutResamplingMethod": "nearestNeighbour"}
    SubElement(SubElement(root, "provider"), "resampling", nearest, enabled="false", maxOversampling="2")
    root.append(renderer)
    SubElement(root, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    SubElement(root, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    SubElement(root, "rasterresampler", maxOversampling="2")
    SubElement(root, "resamplingStage").text = "resamplingFilter"
    return root


def make_gap_renderer(band: int, level: float, color: str) -> Element:
    """Gaps in one color; canopy is seen through, pixels without data are not drawn."""
    renderer = make_renderer("paletted", band, opacity="1")
    palette = SubElement(renderer, "colorPalette")
    SubElement(palette, "paletteEntry", value="0", color="#ffffff", alpha="0", label="canopy")
    SubElement(palette, "paletteEntry", value="1", color=color, alpha="255", label=f"gap at {level:g} m")
    return renderer


def make_probability_renderer(band: int) -> Element:
    """Probabilities from 0 to 1, interpolated along viridis."""
    renderer = make_renderer("singlebandpseudocolor", band, opacity=PROBABILITY_OPACITY)
    renderer.attrib |= {"classificationMin": "0", "classificationMax": "1"}
    shader = SubElement(SubElement(renderer, "rastershader"), "colorrampshader", colorRampType="INTERPOLATED")
    shader.attrib |= {"classificationMode": "1", "clip": "0", "minimumValue": "0", "maximumValue": "1", "labelPrecision": "1"}
    ramp = SubElement(SubElement(shader, "colorramp", name="[source]", type="gradient"), "Option", type="Map")
    places = [number / (len(VIRIDIS) - 1) for number in range(len(VIRIDIS))]
    stops = ":".join(f"{place:g};{format_rgba(color)}" for place, color in list(zip(places, VIRIDIS, strict=True))[1:-1])
    for name, value in {
        "color1": format_rgba(VIRIDIS[0]),
        "color2": format_rgba(VIRIDIS[-1]),
        "discrete": "0",
        "rampType": "gradient",
        "stops": stops,
    }.items():
        SubElement(ramp, "Option", name=name, type="QString", value=value)
    for place, color in zip(places, VIRIDIS, strict=True):
        SubElement(shader, "item", value=f"{place:g}", color=color, alpha="255", label=f"{place:g}")
    return renderer


def make_renderer(kind: str, band: int, *, opacity: str) -> Element:
    renderer = Element("rasterrenderer", type=kind, band=str(band), opacity=opacity, alphaBand="-1", nodataColor="")
    SubElement(renderer, "rasterTransparency")
    SubElement(SubElement(renderer, "minMaxOrigin"), "limits").text = "None"
    return renderer


def format_rgba(color: str) -> str:
    """Red, green, blue and opacity of a color such as #440154, as 68,1,84,255."""
    return ",".join(map(str, (*rgb_bytes(color), 255)))


def make_layer_definition(thresholds: Sequence[float], crs: CRS | None) -> Element:
    """What a `.qlr` file holds: gaps of all thresholds, the lowest on top as it lies inside the others, and the probabilities."""
    root = Element("qlr")
    tree = SubElement(root, "layer-tree-group", name="", checked="Qt::Checked", expanded="1")
    drawn = SubElement(tree, "layer-tree-group", name="Canopy gaps", checked="Qt::Checked", expanded="1")
    hidden = SubElement(tree, "layer-tree-group", name="Gap probabilities", checked="Qt::Unchecked", expanded="0")
    maps = SubElement(root, "maplayers")
    colors = threshold_colors(len(thresholds))
    for band, level in enumerate(thresholds, start=1):
        add_layer(drawn, maps, "gaps.tif", f"gap at {level:g} m", make_gap_renderer(band, level, colors[band - 1]), crs)
        add_layer(hidden, maps, "probabilities.tif", f"gap probability at {level:g} m", make_probability_renderer(band), crs)
    return root


def add_layer(group: Element, maps: Element, file: str, name: str, renderer: Element, crs: CRS | None) -> None:
    """One layer, in the tree and in the list. The place is relative to the layer definition."""
    identity = "".join(letter if letter.isalnum() else "_" for letter in f"forestgaps {name}")
    SubElement(
        group,
        "layer-tree-layer",
        id=identity,
        name=name,
        source=f"./{file}",
        providerKey="gdal",
        checked="Qt::Checked",
        expanded="0",
    )
    one = SubElement(maps, "maplayer", type="raster", styleCategories="AllStyleCategories", hasScaleBasedVisibilityFlag="0")
    for tag, text in {"id": identity, "datasource": f"./{file}", "layername": name, "provider": "gdal"}.items():
        SubElement(one, tag).text = text
    if crs is not None:
        system = SubElement(SubElement(one, "srs"), "spatialrefsys")
        SubElement(system, "wkt").text = crs.to_wkt(version="WKT2_2019")
        if authority := crs.to_authority():
            SubElement(system, "authid").text = ":".join(authority)
    one.append(make_pipe(renderer))
    SubElement(one, "blendMode").text = "0"
