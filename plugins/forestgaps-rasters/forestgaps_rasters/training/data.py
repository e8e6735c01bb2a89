"""The data of a prepared folder, as a run file asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import evolve, field, frozen
from attrs.validators import and_, ge, le, optional

from forestgaps_core import InputLayer
from forestgaps_core.data.class_balance import ClassBalance
from forestgaps_core.data.stratified import Strata, classify, make_strata
from forestgaps_core.errors import DataError, nearest
from forestgaps_rasters.prepared.blocks import Block
from forestgaps_rasters.prepared.index import Index, read_index
from forestgaps_rasters.prepared.layers import combine_statistics
from forestgaps_rasters.training.crops import CropArea, FixedTiles, RandomCrops, SiteLayers, list_crop_areas, tile_block
from forestgaps_rasters.training.sampling import measure_windows


@frozen(eq=False)
class RasterData:
    """A prepared folder as `Data`."""

    resolution_m: float
    train: RandomCrops | FixedTiles  # a grid without tiles, where no site has a training block
    validation: FixedTiles
    test: FixedTiles
    layers: Mapping[str, InputLayer] = field(factory=dict)


def choose_layers(index: Index, names: Sequence[str], folder: Path) -> dict[str, InputLayer]:
    """The further layers of these names, with the statistics of the sites that have training blocks.

    Raises:
        DataError: The folder has no such layer.
    """
    there = index.sites[0].layers
    missing = [name for name in names if name not in there]
    if missing:
        known = ", ".join(there) or "none; prepare the folder again with --layer NAME=FILE"
        raise DataError(f"{folder}: data.layers names {missing[0]!r}{nearest(missing[0], there)}; there is: {known}")
    training = [site for site in index.sites if site.blocks["train"]] or index.sites
    return {name: combine_statistics([site.layers[name] for site in training]) for name in names}


def hold_out_sites(index: Index, names: Sequence[str], folder: Path) -> Index:
    """The index with these sites, whole, as the test, and the others for training and validation only.

    Raises:
        DataError: There is no such site.
    """
    if not names:
        return index
    there = {site.name for site in index.sites}
    missing = [name for name in names if name not in there]
    if missing:
        raise DataError(
            f"{folder}: data.leave_out names {missing[0]!r}{nearest(missing[0], there)}; there is: {', '.join(sorted(there))}"
        )
    return evolve(
        index,
        sites=tuple(
            evolve(site, blocks={"train": (), "validation": (), "test": (Block(0, 0, site.rows, site.columns),)})
            if site.name in names
            else evolve(site, blocks={**site.blocks, "test": ()})
            for site in index.sites
        ),
    )


def validate_distinct_names(instance: Any, attribute: Any, value: Sequence[str]) -> None:
    if len(set(value)) < len(value):
        raise ValueError(f"names a layer twice: {', '.join(value)}")


@frozen(kw_only=True)
class Rasters:
    """A folder made by `forestgaps prepare`.

    Training tiles are random crops that lie wholly inside the training blocks. Validation and test are fixed tiles that cover
    their blocks, each pixel once. A block smaller than a tile is filled up with invalid pixels. All in meters.
    """

    folder: Path = field(metadata={"help": "The prepared folder; a relative path starts at the run file."})
    tile_size: int | None = field(
        default=None,
        validator=optional(ge(16)),
        metadata={"help": "Side of a tile, pixels; left out: as the folder was prepared for."},
    )
    samples_per_epoch: int | None = field(
        default=None,
        validator=optional(ge(1)),
        metadata={"help": "Crops in an epoch; left out: as many as cover the training blocks once."},
    )
    minimum_valid: float = field(
        default=0.05,
        validator=and_(ge(0), le(1)),
        metadata={
            "help": "Share of a tile that must have data, 0 to 1. Training looks for another place, up to 8 times; a validation "
            "or test window with less of its own pixels is left out."
        },
    )
    weight: Literal["area", "site"] = field(
        default="area",
        metadata={"help": "Where crops come from: 'area', each hectare as often; 'site', each site as often, whatever its size."},
    )
    leave_out: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Sites to keep out of training and validation. They, whole, are then the test, and nothing else is: the score "
            "on forest that the network has never seen."
        },
    )
    layers: tuple[str, ...] = field(
        default=(),
        validator=validate_distinct_names,
        metadata={"help": "Further input layers of the prepared folder for the network to use, such as rgb."},
    )
    sampling: ClassBalance = field(
        factory=ClassBalance, metadata={"help": "Balances crops over classes of gap fraction or of slope."}
    )

    def build(self) -> RasterData:
        store = self.folder
        index = hold_out_sites(read_index(store), self.leave_out, store)
        size = self.tile_size or index.tile
        layers = choose_layers(index, self.layers, store)
        channels = {name: layer.channels for name, layer in layers.items()}
        maps = SiteLayers(store.absolute(), tuple(site.name for site in index.sites), channels)
        train = self.make_crops(index, maps, size) if index.area("train") else None
        strata = None if train is None else train.strata
        return RasterData(
            resolution_m=index.resolution_m,
            train=train or self.make_tiles(index, maps, size, "train", None),
            validation=self.make_tiles(index, maps, size, "validation", strata),
            test=self.make_tiles(index, maps, size, "test", strata),
            layers=layers,
        )

    def make_crops(self, index: Index, maps: SiteLayers, size: int) -> RandomCrops:
        places: list[CropArea] = []
        weights: list[float] = []
        whole = 0
        for number, site in enumerate(index.sites):
            blocks = [block for block in site.blocks["train"] if maps.compute_valid_fraction(number, block)]
            area = sum(block.area for block in blocks)
            whole += area
            for block in blocks:
                new = list(list_crop_areas(number, block, size, None if self.sampling.balance == "none" else max(size // 2, 1)))
                every = sum(place.origins.area for place in new)
                places += new
                weights += [block.area * place.origins.area / every / (area if self.weight == "site" else 1) for place in new]
        if not places:
            raise DataError(f"{maps.folder}: no training block has any data")
        strata = self.stratify_areas(maps, places, torch.tensor(weights, dtype=torch.float64), index.resolution_m, size)
        samples = self.samples_per_epoch or max(round(whole / size**2), 1)
        return RandomCrops(maps, tuple(places), strata, size, samples, self.minimum_valid)

    def stratify_areas(
        self, maps: SiteLayers, places: list[CropArea], weights: torch.Tensor, resolution_m: float, size: int
    ) -> Strata:
        """The places in classes; those with too few valid pixels are in none.

        Raises:
            DataError: No class has a place, or a single class has them all.
        """
        if self.sampling.balance == "none":
            return make_strata(torch.zeros((1, len(places)), dtype=torch.int64), weights, count=1)
        classes, valid = self.classify_windows(maps, [(place.site, place.center_window) for place in places], resolution_m)
        enough = valid >= max(self.minimum_valid * size**2, 1)
        classes = torch.where(enough, classes, -1)
        what = f"{maps.folder}: data.sampling.balance = {self.sampling.balance!r}"
        if not (classes >= 0).any():
            raise DataError(f"{what}, but no training place has {self.minimum_valid:.0%} of its pixels valid; lower minimum_valid")
        strata = make_strata(classes, weights, count=len(self.sampling.borders) + 1, evenness=self.sampling.evenness)
        if len(strata) == len(classes):
            key = {"gaps": "thresholds or gap_fractions", "slope": "slopes_deg"}[self.sampling.balance]
            raise DataError(f"{what}, but all training places are of one class; change {key}, or leave it at 'none'")
        return strata

    def classify_windows(
        self, maps: SiteLayers, windows: Sequence[tuple[int, Block]], resolution_m: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Class of each window by each criterion, (C, N), and its valid pixels, (N,)."""
        values, valid = measure_windows(maps.crop, windows, self.sampling, resolution_m)
        return classify(torch.from_numpy(values), self.sampling.borders), torch.from_numpy(valid)

    def make_tiles(self, index: Index, maps: SiteLayers, size: int, part: str, strata: Strata | None) -> FixedTiles:
        windows = [
            (number, window)
            for number, site in enumerate(index.sites)
            for block in site.blocks[part]
            for window in tile_block(block, size)
            if maps.compute_valid_fraction(number, window) >= max(self.minimum_valid, 1e-9)
        ]
        if index.area(part) and not windows:
            raise DataError(f"{maps.folder}: no {part} tile has {self.minimum_valid:.0%} of its pixels valid; lower minimum_valid")
        if strata is None:
            like = torch.full((1, len(windows)), -1)
        elif self.sampling.balance == "none" or not windows:
            like = torch.zeros((len(strata.numbers), len(windows)), dtype=torch.int64)
        else:
            like = strata.of(self.classify_windows(maps, windows, index.resolution_m)[0])
        return FixedTiles(maps, tuple(windows), size, like)
