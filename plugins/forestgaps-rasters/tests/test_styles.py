from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from test_predicting import Local

from forestgaps_rasters.prediction.block_mapper import PROBABILITY_STEPS
from forestgaps_rasters.prediction.map_options import MapOptions
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.prediction.qgis_styles import write_styles

UTM = CRS.from_epsg(32610)


@pytest.fixture
def styles(tmp_path):
    write_styles(tmp_path, (2.0, 5.0, 7.5), UTM)
    return {path.name: ElementTree.fromstring(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()}


def test_styles_have_the_names_of_their_rasters(styles) -> None:
    assert styles.keys() == {"gaps.qml", "probabilities.qml", "gaps.qlr"}


def test_gaps_are_colored_and_canopy_is_seen_through(styles) -> None:
    (renderer,) = styles["gaps.qml"].findall("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = {e.get("value"): (e.get("alpha"), e.get("label")) for e in renderer.findall("colorPalette/paletteEntry")}
    assert entries == {"0": ("0", "canopy"), "1": ("255", "gap at 2 m")}


def test_probabilities_are_ramped_over_real_values_not_bytes(styles) -> None:
    (renderer,) = styles["probabilities.qml"].findall("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("classificationMin"), renderer.get("classificationMax")) == (
        "singlebandpseudocolor",
        "0",
        "1",
    )
    items = [float(item.get("value")) for item in renderer.findall(".//colorrampshader/item")]
    assert items[0] == 0
    assert items == sorted(items)
    assert items[-1] == 1 == PROBABILITY_STEPS * (1 / PROBABILITY_STEPS)
    assert 0 < float(renderer.get("opacity")) < 1
    stops = next(option.get("value") for option in renderer.iter("Option") if option.get("name") == "stops")
    assert [float(stop.split(";")[0]) for stop in stops.split(":")] == items[1:-1]


def test_the_layer_definition_shows_each_band_of_both_rasters(styles) -> None:
    root = styles["gaps.qlr"]
    layers = {layer.findtext("id"): layer for layer in root.findall("maplayers/maplayer")}
    assert len(layers) == 6
    groups = root.findall("layer-tree-group/layer-tree-group")
    assert [group.get("checked") for group in groups] == ["Qt::Checked", "Qt::Unchecked"]
    for group, file in zip(groups, ("./gaps.tif", "./probabilities.tif"), strict=True):
        entries = group.findall("layer-tree-layer")
        assert [entry.get("name")[-5:].strip() for entry in entries] == ["t 2 m", "t 5 m", "7.5 m"]
        for band, entry in enumerate(entries, start=1):
            layer = layers[entry.get("id")]
            assert layer.findtext("datasource") == entry.get("source") == file
            assert layer.find("pipe/rasterrenderer").get("band") == str(band)
            assert layer.findtext("srs/spatialrefsys/authid") == "EPSG:32610"
            assert CRS.from_wkt(layer.findtext("srs/spatialrefsys/wkt")) == UTM
    colors = {e.get("color") for e in root.iter("paletteEntry") if e.get("value") == "1"}
    assert len(colors) == 3


def test_a_map_without_crs_has_a_layer_definition_without_one(tmp_path) -> None:
    write_styles(tmp_path, (2.0,), None)
    root = ElementTree.fromstring((tmp_path / "gaps.qlr").read_text(encoding="utf-8"))
    assert root.find(".//srs") is None
    assert len(root.findall("maplayers/maplayer")) == 2


def test_a_style_beside_the_raster_changes_nothing_for_gdal(styles, tmp_path) -> None:
    with rasterio.open(tmp_path / "gaps.tif", "w", driver="GTiff", width=4, height=4, count=3, dtype="uint8", crs=UTM,
                       transform=rasterio.Affine(1, 0, 5, 0, -1, 5)) as file:  # fmt: skip
        file.write(np.ones((3, 4, 4), np.uint8))
    with rasterio.open(tmp_path / "gaps.tif") as file:
        assert file.read().sum() == 48


@pytest.mark.parametrize("levels", [(2,), (2, 5, 10), (2, 5, 10, 20), (1, 2, 3, 5, 7.5, 10, 15, 20)])
def test_styles_fit_the_bands_of_the_maps(tmp_path, levels: tuple[float, ...]) -> None:
    """What QGIS combines: the renderer of the style and the bands, nodata and scale of the raster."""
    values = np.random.default_rng(0).uniform(395, 410, (70, 80)).astype("float32")
    values[:9] = -9999
    with rasterio.open(tmp_path / "dsm.tif", "w", driver="GTiff", width=80, height=70, count=1, dtype="float32", crs=UTM,
                       nodata=-9999, transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)) as file:  # fmt: skip
        file.write(values, 1)
    predict_raster(Local(), tmp_path / "dsm.tif", tmp_path / "maps", levels, MapOptions(skip_checks=True))
    roots = {path.name: ElementTree.fromstring(path.read_text()) for path in (tmp_path / "maps").glob("*.q*")}
    layers = {(layer.findtext("datasource"), layer.find("pipe/rasterrenderer").get("band")): layer.find("pipe/rasterrenderer")
              for layer in roots["gaps.qlr"].findall("maplayers/maplayer")}  # fmt: skip
    assert len(layers) == 2 * len(levels)
    for name in ("gaps", "probabilities"):
        with rasterio.open(tmp_path / "maps" / f"{name}.tif") as file:
            beside = roots[f"{name}.qml"].find("pipe/rasterrenderer")
            assert [(e.tag, e.attrib) for e in layers[f"./{name}.tif", "1"].iter()] == [(e.tag, e.attrib) for e in beside.iter()]
            assert ColorInterp.alpha not in file.colorinterp
            for number, level in enumerate(levels, start=1):
                renderer = layers[f"./{name}.tif", str(number)]
                assert (renderer.get("alphaBand"), renderer.get("nodataColor")) == ("-1", ""), "nodata is transparent"
                assert file.nodatavals[number - 1] == 255
                assert file.descriptions[number - 1].endswith(f" at {level:g} m")
                shown = file.read(number, masked=True).compressed() * file.scales[number - 1]
                if name == "gaps":
                    entries = renderer.findall("colorPalette/paletteEntry")
                    assert {float(entry.get("value")) for entry in entries} >= set(np.unique(shown))
                    assert entries[1].get("label") == file.descriptions[number - 1]
                else:
                    low, high = (float(renderer.get(f"classification{end}")) for end in ("Min", "Max"))
                    assert low <= shown.min() <= shown.max() <= high
                    assert high == pytest.approx(PROBABILITY_STEPS * file.scales[number - 1])
