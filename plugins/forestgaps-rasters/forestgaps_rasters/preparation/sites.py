"""The sites to prepare: which rasters, which part of the data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import evolve, field, frozen
from attrs.validators import gt, optional

from forestgaps_core.config.converter import structure
from forestgaps_core.config.toml_files import parse_toml
from forestgaps_core.errors import ConfigError, DataError, shorten
from forestgaps_core.files.safe_opening import read_text
from forestgaps_core.output.counts import format_count
from forestgaps_geo.files.local_paths import explain_missing_file
from forestgaps_rasters.prepared.layers import explain_layer_name

LAYER_NAMES = ("dsm", "dtm", "chm")
RASTER_SUFFIXES = (".tif", ".tiff", ".vrt")
NO_LAYERS: Mapping[str, Path | None] = {}
Part = Literal["train", "validation", "test"]


def validate_site_name(instance: Any, attribute: Any, value: str) -> None:
    if not re.fullmatch(r"[\w][\w.-]*", value):
        raise ValueError(f"must be letters, digits, '_', '-' and '.': {shorten(value)!r}")


def validate_layer_names(instance: Any, attribute: Any, value: Mapping[str, Path]) -> None:
    for name in value:
        if fault := explain_layer_name(name):
            raise ValueError(fault)


@frozen(kw_only=True)
class Site:
    """A DSM with a CHM or a DTM; `folder` stands for a folder with `dsm.tif` and `dtm.tif` or `chm.tif`."""

    name: str = field(default="site", validator=validate_site_name, metadata={"help": "Name of the site in the prepared folder."})
    folder: Path | None = field(
        default=None, metadata={"help": "Folder with dsm.tif and dtm.tif or chm.tif, or a .vrt or a folder of GeoTIFFs for each."}
    )
    dsm: Path | None = field(
        default=None,
        metadata={"help": "Surface model, meters; a GeoTIFF, a VRT, a folder or a list (.txt) of GeoTIFFs on one grid."},
    )
    dtm: Path | None = field(default=None, metadata={"help": "Terrain model, meters; likewise."})
    chm: Path | None = field(default=None, metadata={"help": "Canopy height model, meters above ground; likewise."})
    part: Part = field(default="train", metadata={"help": "What the site is for, but for the blocks named below."})
    train: str | None = field(default=None, metadata={"help": 'A block for training, such as "north 0.5".'})
    validation: str | None = field(default=None, metadata={"help": 'A block for validation, such as "south-east 0.25".'})
    test: str | None = field(default=None, metadata={"help": 'A block for the test, such as "south 0.333".'})
    pixel_size_m: float | None = field(
        default=None, validator=optional(gt(0)), metadata={"help": "Pixel size, meters, where the rasters have no CRS."}
    )
    nodata: float | None = field(default=None, metadata={"help": "Value that means no data, where the files do not say so."})
    band: int | None = field(
        default=None,
        validator=optional(gt(0)),
        metadata={"help": "Band to read of those rasters that have several."},
    )
    feet: bool = field(default=False, metadata={"help": "The rasters hold feet, to be converted to meters."})

    scale: float | None = field(
        default=None,
        validator=optional(gt(0)),
        metadata={"help": "Factor from the rasters' values to meters, such as 0.1 for decimeters."},
    )

    layers: Mapping[str, Path] = field(
        factory=dict, validator=validate_layer_names, metadata={"help": "Further input layers, such as rgb, each with its raster."}
    )

    @property
    def rules(self) -> Mapping[str, str]:
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: rule for part, rule in named.items() if rule is not None}

    @property
    def reading_options(self) -> dict[str, Any]:
        """How its rasters are opened: options of `mosaics.open_source`."""
        read = {"nodata": self.nodata, "pixel_size_m": self.pixel_size_m, "feet": self.feet, "scale": self.scale}
        return {**read, "band": self.band, "several_only": True}

    def files(self) -> Mapping[str, Path]:
        """The rasters to read: `dsm` and one of `dtm` and `chm`; of both the DTM, which also survives resampling.

        Raises:
            DataError: They are not there, or not said.
        """
        found = {layer: path for layer in ("dsm", "dtm", "chm") if (path := getattr(self, layer)) is not None}
        if self.folder is not None:
            if not self.folder.is_dir():
                raise DataError(explain_missing_file(self.folder, "no such folder"))
            for layer in LAYER_NAMES:
                if layer not in found and (path := find_layer(self.folder, layer)) is not None:
                    found[layer] = path
        if "dsm" not in found or not found.keys() & {"dtm", "chm"}:
            has = " and ".join(f"{layer}.tif" for layer in found) or "none of them"
            where = f"{self.folder}: a site folder" if self.folder is not None else f"site {self.name!r}: it"
            raise DataError(f"{where} needs dsm.tif with dtm.tif or chm.tif; there is {has}")
        height = "dtm" if "dtm" in found else "chm"
        return {"dsm": found["dsm"], height: found[height]}

    def list_places(self) -> list[Path]:
        """Return all rasters that are read, those of further layers too."""
        return [*self.files().values(), *self.layers.values()]


def find_layer(folder: Path, layer: str) -> Path | None:
    """The file or folder of a layer, such as dsm.tif, DSM.TIFF or Dsm.vrt; None where there is none.

    Raises:
        DataError: There are several files.
    """
    inside = sorted(folder.iterdir())
    layer = layer.lower()
    found = [path for path in inside if path.stem.lower() == layer and path.suffix.lower() in RASTER_SUFFIXES and path.is_file()]
    found += [path for path in inside if path.name.lower() == layer and path.is_dir()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(
            f"{folder}: has {names}, and it is not clear which is the {layer.upper()}. Rename one, or name it in a site list: "
            f'{layer} = "{found[0].name}"'
        )
    return found[0] if found else None


@frozen(kw_only=True)
class SiteList:
    """A file that names sites, one table each: `[sites.NAME]`."""

    sites: Mapping[str, Site] = field(factory=dict, metadata={"help": "The sites by name."})


def read_sites(path: Path) -> list[Site]:
    """The sites of a TOML file; relative paths start at its folder.

    Raises:
        ConfigError: With all mistakes of the file.
    """
    try:
        table = parse_toml(read_text(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # not UTF-8, not TOML, or more of it than any list of sites has
        raise ConfigError(str(error), str(path)) from error
    listed = structure(table, SiteList, str(path)).sites
    if not listed:
        raise ConfigError("names no site; each is a table such as [sites.ridge] with dsm and chm or dtm", str(path))
    return [evolve(site, name=name, **resolve_paths(site, path.parent)) for name, site in listed.items()]


def resolve_paths(site: Site, folder: Path) -> dict[str, Any]:
    """The paths of a site, relative ones from this folder."""
    found: dict[str, Any] = {
        key: folder / path for key in ("folder", "dsm", "dtm", "chm") if (path := getattr(site, key)) is not None
    }
    return {**found, "layers": {name: folder / path for name, path in site.layers.items()}}


def collect_sites(
    places: Sequence[Path],
    dsm: Sequence[Path],
    dtm: Sequence[Path],
    chm: Sequence[Path],
    layers: Mapping[str, Path | None] = NO_LAYERS,
    **common: Any,
) -> list[Site]:
    """The sites a command line names: folders, site lists, and a DSM with its DTM or CHM.

    Args:
        layers: Further layers of all sites but those of a site list: the file of the only site, or None for the file of that name
            in each site folder.
        common: Fields for all sites but those of a site list, which says its own.
    """
    sites: list[Site] = []
    for place in places:
        if place.suffix.lower() == ".toml":
            sites += read_sites(place)
        else:
            found = find_layers(place, layers)
            sites.append(Site(name=make_site_name(Path(os.path.abspath(place)).name), folder=place, layers=found, **common))
    for option, heights in (("dtm", dtm), ("chm", chm)):
        if heights and len(heights) != len(dsm):
            raise DataError(
                f"--dsm is given {format_count(len(dsm), 'time')} and --{option} {format_count(len(heights), 'time')}; "
                "give each DSM its own"
            )
    for number, surface in enumerate(dsm):
        given: dict[str, Any] = {"dtm": dtm[number] if dtm else None, "chm": chm[number] if chm else None}
        sites.append(Site(name=make_site_name(surface.stem), dsm=surface, layers=find_layers(None, layers), **given, **common))
    if not sites:
        raise DataError("no site is named: give site folders, a site list (sites.toml), or --dsm with --chm or --dtm")
    for layer, file in layers.items():
        if file is not None and len(sites) > 1:
            raise DataError(
                f"--layer {layer}={file} names one file, and there are {len(sites)} sites; give --layer {layer} for files of that "
                f'name in each site folder, or name them in a site list: layers = {{ {layer} = "..." }}'
            )
    names = [site.name for site in sites]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{names.count(name)} sites are called {name!r}; name them apart in a site list (sites.toml)")
    return sites


def find_layers(folder: Path | None, layers: Mapping[str, Path | None]) -> dict[str, Path]:
    """Return the file of each further layer of a site.

    Raises:
        DataError: None was given, and the site folder has none of that name.
    """
    found = {}
    for name, file in layers.items():
        inside = find_layer(folder, name) if file is None and folder is not None and folder.is_dir() else None
        if file is None and inside is None:
            where = f"{folder}: has no {name}.tif" if folder is not None else "a site of --dsm has no folder to look in"
            raise DataError(f"--layer {name}: {where}; name the file: --layer {name}=FILE")
        found[name] = file or inside or Path()
    return found


def make_site_name(text: str) -> str:
    return re.sub(r"[^\w.-]", "_", text).lstrip(".-") or "site"
