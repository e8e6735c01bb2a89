"""Quantize a trained network to a folder with 8-bit convolutions: calibrate, compare, write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from forestgaps_core.components import Program
from forestgaps_core.errors import CheckpointError
from forestgaps_core.files.checkpoint import choose_weights
from forestgaps_core.files.drafts import new_folder
from forestgaps_core.inference.batch_norm_folding import fold_batch_norms
from forestgaps_core.inference.calibration import Calibration
from forestgaps_core.inference.exporting import describe_program, load_export_source, write_program
from forestgaps_core.inference.model_card import format_card, format_components, format_levels
from forestgaps_core.inference.model_folder import CARD, PLAN
from forestgaps_core.inference.predictor import build_network
from forestgaps_core.plugins.registry import Plugins
from forestgaps_quantization.engine import Int8, is_convolution
from forestgaps_quantization.int8_file import FILE, encode_network
from forestgaps_quantization.ranges import observe_ranges, read_learned_ranges
from forestgaps_quantization.scales import InputScale
from forestgaps_quantization.surfaces import Surface, read_raster_surfaces, read_run_surfaces, split_surfaces

TILES = 32


@frozen
class AccuracyLoss:
    """The difference between quantized and float32 network, in valid pixels of tiles that were not used for calibration.

    Attributes:
        mean, largest: Mean and maximum of the absolute difference of the probabilities.
        moved: Fraction of pixels that are a gap in only one of the two maps.
        iou: IoU of the gaps of the two maps; None if both have no gaps.
    """

    mean: float
    largest: float
    moved: float
    iou: float | None


@frozen
class QuantizationResult:
    """The result of a quantization.

    Attributes:
        convolutions: Number of quantized convolutions.
        of: Number of convolutions.
        ranges: Source of the ranges of the inputs: "training" or "calibration".
        notes: Notes of the input checks on the raster for calibration.
    """

    program: Program
    convolutions: int
    of: int
    ranges: str
    tiles: int
    loss: AccuracyLoss
    notes: tuple[str, ...] = ()


def quantize_network(
    run: Path | str,
    folder: Path | str,
    *,
    calibrate_with: Path | None = None,
    reading: Mapping[str, Any] | None = None,
    skip_checks: bool = False,
    tiles: int = TILES,
    keep: Iterable[str] = (),
    checkpoint: str | None = None,
    plugins: Plugins | None = None,
) -> QuantizationResult:
    """Write a trained network with quantized convolutions into a new folder.

    Args:
        run: A run folder, checkpoint, model folder or name of an installed model, as for `load_predictor`.
        calibrate_with: A GeoTIFF of surface elevations for calibration. By default, the ranges are those that training with
            `quantization_aware` learned, or are observed on validation tiles of the run.
        reading: Options for reading that raster (band, nodata, feet, scale), as in `forestgaps_geo.bands.band.open_band`.
        skip_checks: Use that raster even if it fails the input checks.
        tiles: Number of tiles: half of them for calibration, half for comparison.
        keep: Layers that remain in float32, including their parts.

    Raises:
        CheckpointError: `run` contains no network, no layer can be quantized, or there are no data for calibration.
        DataError: `calibrate_with` cannot be used.
        DiskError: `folder` exists or cannot be written. In this case, nothing remains on disk.
    """
    plugins = plugins or Plugins.discover()
    source = load_export_source(run, checkpoint, plugins, channels_last=True)
    about = {name: value for name, value in source.plan.items() if name not in ("format", "calibration")}
    resolution_m, levels = float(about["resolution_m"]), about["config"]["thresholds"]["values"]
    with new_folder(Path(folder), contents=(FILE, PLAN, CARD)) as draft:
        if calibrate_with is not None:
            surfaces, notes = read_raster_surfaces(calibrate_with, resolution_m, tiles, reading, skip_checks=skip_checks)
        else:
            surfaces, notes = read_run_surfaces(source.state["about"], plugins, source.path, tiles), ()
        network = build_network(source.state, plugins, source.path).eval()
        calibrating, comparing = split_surfaces(surfaces)
        callbacks = source.state["callbacks"] if calibrate_with is None else {}
        input_scales, ranges = choose_ranges(network, callbacks, calibrating, levels, frozenset(keep))
        if not input_scales:
            raise CheckpointError(
                f"{source.path}: no convolution of its network can be quantized with benefit. Remove --keep, or use the float32 "
                "network"
            )
        data = encode_network(choose_weights(source.state), input_scales, about)
        program = describe_program(network, data, engine="int8", file=FILE, made_with={"torch": str(torch.__version__)})
        loss = measure_loss(network, Int8().open(data, program), comparing, levels, source.calibration)
        convolutions = sum(isinstance(layer, nn.Conv2d) for layer in network.modules())
        result = QuantizationResult(program, len(input_scales), convolutions, ranges, len(surfaces), loss, notes)
        write_program(
            *(draft, source, program, data),
            distribution="forestgaps-quantization",
            plugins=plugins,
            make_card=lambda plan: make_card(Path(folder).name, plan, result),
        )
    return result


def choose_ranges(
    network: nn.Module, callbacks: Mapping[str, Any], surfaces: Sequence[Surface], levels: Sequence[float], keep: frozenset[str]
) -> tuple[dict[str, InputScale], str]:
    """Return the scale of the input of each convolution, and the source of the ranges."""
    if scales := read_learned_ranges(callbacks):
        kept = {name: scale for name, scale in scales.items() if not any(name == one or name.startswith(f"{one}.") for one in keep)}
        for name in kept:
            if not is_convolution(network, name):
                raise CheckpointError(
                    f"the ranges that quantization_aware learned are of another network: {name!r} is not one of its convolutions. "
                    "Calibrate with a raster: --calibrate-with DSM.tif"
                )
        return kept, "training"
    folded = deepcopy(network)
    fold_batch_norms(folded)
    return observe_ranges(folded, surfaces, levels, keep), "calibration"


@torch.inference_mode()
def measure_loss(
    network: nn.Module, quantized: nn.Module, surfaces: Sequence[Surface], levels: Sequence[float], scale: Calibration | None
) -> AccuracyLoss:
    """Return the difference between the results of two networks on some surfaces."""
    total, largest, moved, either, both, count = 0.0, 0.0, 0, 0, 0, 0
    thresholds = torch.tensor([list(levels)], dtype=torch.float32)

    def probabilities(model: nn.Module, tile: Surface) -> Tensor:
        logits: Tensor = model(tile.dsm, tile.valid, thresholds)
        return (scale(logits) if scale else logits).sigmoid()[tile.valid.expand_as(logits)]

    for tile in surfaces:
        exact, rounded = probabilities(network, tile), probabilities(quantized, tile)
        difference = (rounded - exact).abs()
        total += difference.sum(dtype=torch.float64).item()
        largest = max(largest, difference.max().item())
        moved += int(((rounded > 0.5) != (exact > 0.5)).sum())
        either += int(((rounded > 0.5) | (exact > 0.5)).sum())
        both += int(((rounded > 0.5) & (exact > 0.5)).sum())
        count += exact.numel()
    return AccuracyLoss(total / count, largest, moved / count, both / either if either else None)


def describe_result(done: QuantizationResult) -> list[str]:
    """Return sentences on the quantized layers and the difference from float32."""
    loss = done.loss
    iou = "" if loss.iou is None else f"; IoU of the gaps of the two maps {loss.iou:.4f}"
    return [
        f"{done.convolutions} of {done.of} convolutions compute with 8 bits; ranges from {done.ranges}",
        f"probabilities differ from those in float32 by {loss.mean:.2g} on average, at most {loss.largest:.2g}",
        f"{loss.moved:.2%} of the pixels are a gap in only one of the two maps{iou}",
    ]


def make_card(name: str, plan: Mapping[str, Any], done: QuantizationResult) -> str:
    """README.md of the folder: what the program knows."""
    return format_card(
        name,
        "A network that maps forest canopy gaps from a digital surface model (DSM), quantized with forestgaps. "
        "Data: opening it runs nothing.",
        {
            "input": f"DSM in meters, pixels of {plan['resolution_m']:g} m",
            "output": f"probability that canopy is lower than a threshold; validated at {format_levels(plan)} m",
            "needs": f"forestgaps-quantization; {format_components(plan)}",
            "size": f"{done.program.bytes / 1e6:.1f} MB",
        },
        notes=describe_result(done),
    )
