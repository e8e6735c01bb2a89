"""What will be prepared: each site checked, its grid chosen, its blocks drawn. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from attrs import field, frozen
from rasterio.crs import CRS

from forestgaps_core.errors import DataError
from forestgaps_core.version import __version__
from forestgaps_geo.bands.band import Band, ShowProgress
from forestgaps_geo.bands.elevation_checks import scan_band
from forestgaps_geo.checks.input_checks import MAX_PIXEL_SIZE_DIFFERENCE, check_grid, check_raster, resolve_findings
from forestgaps_geo.checks.pair_checks import check_pair
from forestgaps_geo.files.input_files import InputFile, identify_files, list_input_files
from forestgaps_geo.grids.crs import is_same_crs
from forestgaps_geo.grids.grid import Grid, crop_to_overlap, explain_not_north_up, match_pixel_blocks
from forestgaps_geo.grids.target_grid import MIN_COARSENING, choose_target_grid
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.prepared.blocks import convert_to_pixels, split_blocks
from forestgaps_rasters.prepared.index import FORMAT, Index, SourceFile, StoredSite, hash_file
from forestgaps_rasters.prepared.layers import explain_other_layers
from forestgaps_rasters.sources.further_layers import open_layer, require_layer_file
from forestgaps_rasters.sources.mosaics import list_rasters, open_source
from forestgaps_rasters.sources.resampling import Method, resample_band


@frozen(kw_only=True)
class PrepareOptions:
    """What all sites are brought to."""

    resolution_m: float | None = None  # None: as they are
    crs: CRS | None = None
    resample: bool = False
    tile: int = 256  # pixels
    buffer_m: float = 20.0
    skip_checks: bool = False  # use rasters that fail the input checks


@frozen(eq=False)
class SitePlan:
    """A site that can be prepared: its files, the grid of the result, the blocks, and what a person should know of it."""

    site: Site
    grid: Grid
    derived: Grid | None  # where the ground is to be derived from DSM and CHM first, because heights cannot be resampled
    stored: StoredSite
    notes: tuple[str, ...] = ()
    inputs: tuple[InputFile, ...] = ()  # as they were before they were first read
    channels: Mapping[str, int] = field(factory=dict)  # of the further layers


def plan_site(site: Site, options: PrepareOptions, report: ShowProgress) -> SitePlan:
    """Check one site."""
    files = site.files()
    with name_site(site):
        for name, place in site.layers.items():
            require_layer_file(name, place)
    inputs = identify_files(raster for place in site.list_places() for raster in list_rasters([place]))
    layer: Literal["dtm", "chm"] = "dtm" if "dtm" in files else "chm"
    with ExitStack() as stack:
        surface, other = (stack.enter_context(open_source(path, **site.reading_options)) for path in files.values())
        target = choose_target_grid(
            surface.grid, str(surface.path), resolution_m=options.resolution_m, crs=options.crs, resample=options.resample
        )
        target = crop_to_both(target, surface, other, resample=options.resample)
        derived = None
        if layer == "chm" and is_surface_resampled(surface, target):
            derived = crop_to_both(surface.grid, surface, other, resample=False)
        lower = derived or target
        stack.enter_context(resample_band(surface, target, "maximum", resample=options.resample))
        method = choose_ground_method(surface, other) if layer == "dtm" else "mean"
        ground = layer == "dtm"
        remedy = "Add --resample" if ground else "Give a CHM on the grid of the DSM, or give the DTM, which may have another grid"
        below = stack.enter_context(resample_band(other, lower, method, resample=options.resample and ground, remedy=remedy))
        scan_band(surface, report)
        if scan_band(other, report).canopy_share < 0.5 and layer == "chm":
            found = check_raster(other, layer, is_reference=True)
            reasons = [finding.message for finding in found if finding.severity == "error"]
            why = "most values are beyond -20 to 120 m, so it is no canopy height model; a DTM? (--dtm)"
            raise DataError("\n".join(reasons) or f"{other.path}: {why}")
        top = stack.enter_context(resample_band(surface, lower, "maximum", resample=options.resample))
        names = str(surface.path), str(other.path)
        findings = [
            *check_grid(surface.path, target),
            *check_raster(surface, "dsm"),
            *check_raster(other, layer, is_reference=True),
        ]
        known = {finding.kind for finding in findings} if layer == "chm" else set()  # heights are checked once
        pair = check_pair(top, below, is_ground=layer == "dtm", names=names)
        findings += [finding for finding in pair if finding.kind not in known]
        notes = (
            *resolve_findings(findings, skip=options.skip_checks),
            *describe_interpolation(surface, other, method, exact=below.exact),
        )
        channels = {}
        for name, place in site.layers.items():
            with name_site(site), open_layer(name, place, target, pixel_size_m=site.pixel_size_m) as opened:
                channels[name], notes = opened.channels, (*notes, *opened.notes)
        sources = tuple(
            describe_source_file(name, path)
            for name, place in {**files, **site.layers}.items()
            for raster in list_rasters([place])
            for path in list_input_files(raster)
        )
    try:
        buffer = convert_to_pixels(options.buffer_m, target.resolution)
        blocks = split_blocks(target.rows, target.columns, part=site.part, rules=site.rules, buffer=buffer)
    except DataError as error:
        raise DataError(f"site {site.name!r}: {error}") from error
    stored = StoredSite(
        name=site.name,
        crs=target.crs.to_wkt() if target.crs else None,
        transform=tuple(target.transform)[:6],
        rows=target.rows,
        columns=target.columns,
        valid_fraction=0.0,
        blocks=blocks,
        sources=sources,
    )
    return SitePlan(site, target, derived, stored, notes, inputs, channels)


def choose_ground_method(surface: Band, ground: Band) -> Method:
    """How terrain is brought to a new grid: as its surface if both have the same pixels, so heights stay; else interpolated."""
    fits = match_pixel_blocks(surface.grid, ground.grid) or match_pixel_blocks(ground.grid, surface.grid)
    return "mean" if fits is not None and fits[2] == 1 else "interpolated"


def describe_interpolation(surface: Band, ground: Band, method: Method, *, exact: bool) -> list[str]:
    """What a person should know of terrain that was brought to the pixels of its surface."""
    times = surface.grid.resolution / ground.grid.resolution
    if method != "interpolated" or (exact and abs(times - 1) < 1e-4):
        return []
    done = "averaged" if times >= MIN_COARSENING else "interpolated (bilinear)"
    return [
        f"{ground.path}: its pixels of {ground.grid.resolution:g} m are not those of {surface.path} "
        f"({surface.grid.resolution:g} m), so the terrain was {done} to them; the DSM keeps its values"
    ]


def is_surface_resampled(surface: Band, target: Grid) -> bool:
    """Whether the DSM does not keep its own pixels."""
    same = is_same_crs(surface.grid.crs, target.crs) and abs(surface.grid.nominal_resolution / target.nominal_resolution - 1) < 1e-4
    return not same or explain_not_north_up(surface.grid.transform) is not None


def crop_to_both(target: Grid, surface: Band, other: Band, *, resample: bool) -> Grid:
    """The part of the target grid that both rasters cover, as far as their grids tell."""
    if not is_same_crs(surface.grid.crs, other.grid.crs) and not resample:
        raise DataError(
            f"{surface.path} and {other.path} differ in CRS ({surface.grid} against {other.grid}); "
            "--resample brings a DTM to the grid of its DSM"
        )
    found = target
    for band in (surface, other):
        if is_same_crs(band.grid.crs, target.crs):
            part = crop_to_overlap(found, band.grid)
            if part is None:
                raise DataError(f"{surface.path} and {other.path} do not overlap: {surface.grid}; {other.grid}")
            found = part
    return found


def describe_source_file(layer: str, path: Path) -> SourceFile:
    return SourceFile(layer=layer, path=str(path), bytes=path.stat().st_size, sha256=hash_file(path))


@contextmanager
def name_site(site: Site) -> Iterator[None]:
    """Errors inside begin with the name of the site."""
    try:
        yield
    except DataError as error:
        raise DataError(f"site {site.name!r}: {error}") from error


def make_index(plans: Sequence[SitePlan], options: PrepareOptions) -> Index:
    for plan in plans:
        if fault := explain_other_layers(plan.site.name, plan.channels, plans[0].site.name, plans[0].channels):
            raise DataError(fault)
    # Four figures: a pixel of 3.28084 feet is one of 1 m. Where the CRS is not true to length, sizes differ within a site already.
    exact = [plan for plan in plans if plan.grid.ground_scale.mean == 1]
    sizes = {float(f"{plan.grid.resolution:.4g}"): plan.site.name for plan in exact}
    true_sizes = {plan.grid.resolution: plan.site.name for plan in plans}
    if len(sizes) > 1 or max(true_sizes) > (1 + MAX_PIXEL_SIZE_DIFFERENCE) * min(true_sizes):
        sizes = sizes if len(sizes) > 1 else true_sizes
        said = ", ".join(f"{name!r} has {size:g} m" for size, name in sizes.items())
        raise DataError(
            f"the sites differ in pixel size: {said}. Add --resolution METERS --resample to bring them to one pixel size"
        )
    return Index(
        format=FORMAT,
        made_by=f"forestgaps {__version__}",
        resolution_m=round(plans[0].grid.resolution, 6),
        tile=options.tile,
        buffer_m=options.buffer_m,
        sites=tuple(plan.stored for plan in plans),
    )
