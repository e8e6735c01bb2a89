"""A STAC item that describes a trained network, for catalogs of models: the Machine Learning Model (MLM) extension.

The item is plain JSON. Fields follow the MLM specification 1.4 (github.com/stac-extensions/mlm) and the file extension 2.1
(github.com/stac-extensions/file). A network is not limited to a place or a time, so the geometry is null and the time
interval covers all years, as the best practices of the specification recommend.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from forestgaps_core.files.safe_opening import open_regular_file
from forestgaps_core.inference.model_folder import is_model_folder
from forestgaps_core.output.json_values import replace_nonfinite

MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v1.1.0/schema.json"  # MLM 1.4 reads the bands of this version
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
DIMENSIONS = ["batch", "channel", "height", "width"]
SHA256 = "1220"  # prefix of a multihash: SHA-256, 32 bytes


@frozen(kw_only=True)
class NetworkFacts:
    """The properties of a network that its STAC item contains.

    Attributes:
        name: Name of the run.
        weights: File of the weights, a checkpoint or safetensors.
        about: Metadata of the checkpoint, see `forestgaps_core.files.checkpoint`.
        parameters: Number of parameters.
        thresholds: Height thresholds of validation, in meters.
        resolution_m: Pixel size of the training data.
    """

    name: str
    weights: Path
    about: Mapping[str, Any]
    parameters: int
    thresholds: Sequence[float]
    resolution_m: float


def make_stac_item(
    network: NetworkFacts, beside: Path, *, scores: Mapping[str, float] | None = None, notes: str = ""
) -> dict[str, Any]:
    """Return the item for the folder `beside`; the path of the weights is relative to it.

    Args:
        scores: Further properties, such as `forestgaps:mean_iou`.
        notes: License and credit.
    """
    about = network.about
    model = about["config"]["model"]
    resolution = f"{network.resolution_m:g}"
    levels = ", ".join(f"{threshold:g}" for threshold in network.thresholds)
    version = str(about["versions"]["torch"])
    created = datetime.fromtimestamp(network.weights.stat().st_mtime, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    description = (
        f"Probability that the forest canopy is lower than {levels} m, from a digital surface model in meters with pixels of "
        f"{resolution} m; trained with forestgaps."
    )
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM, RASTER, FILE],
        "id": make_identifier(network.name),
        "geometry": None,
        "properties": {
            "title": f"Canopy gaps from a surface model: {network.name}",
            "description": f"{description}\n\n{notes}".strip(),
            "datetime": None,
            "start_datetime": "1900-01-01T00:00:00Z",
            "end_datetime": "9999-12-31T23:59:59Z",
            "created": created,
            "gsd": network.resolution_m,
            "mlm:name": f"forestgaps {re.sub(r'[^a-zA-Z0-9_.-]+', '-', network.name).strip('-_.') or 'run'}",
            "mlm:architecture": str(model["name"]).rpartition(":")[2],
            "mlm:tasks": ["semantic-segmentation"],
            "mlm:framework": "PyTorch",
            "mlm:framework_version": version if re.match(r"\d+\.\d+\.\d+", version) else f"{version}.0",
            "mlm:total_parameters": network.parameters,
            "mlm:memory_size": 4 * network.parameters,
            "mlm:pretrained": True,
            "mlm:batch_size_suggestion": int(about["config"]["training"]["batch_size"]),
            "mlm:input": [describe_input(resolution)],
            "mlm:output": [describe_output(network.thresholds, levels)],
            "mlm:hyperparameters": list_hyperparameters(about["config"]),
            "forestgaps:thresholds_m": [float(threshold) for threshold in network.thresholds],
            "forestgaps:components": about["components"],
            "forestgaps:versions": about["versions"],
            **(scores or {}),
        },
        "links": [],
        "assets": {"weights": describe_weights(network, beside)},
    }


def describe_input(resolution: str) -> dict[str, Any]:
    return {
        "name": "digital surface model",
        "description": f"Elevation of the surface in meters above any datum, pixels of {resolution} m, not scaled: the network "
        "scales it. Pixels without data contain the median of the tile; a second argument, valid, marks them. At least 32 rows "
        "and columns.",
        "bands": ["dsm"],
        "input": {"shape": [-1, 1, -1, -1], "dim_order": DIMENSIONS, "data_type": "float32"},
        "value_scaling": None,
        "resize_type": None,
    }


def describe_output(thresholds: Sequence[float], levels: str) -> dict[str, Any]:
    return {
        "name": "gap probability",
        "description": f"One channel per height threshold (by default {levels} m; other thresholds are possible): the logit of "
        "the probability that the canopy is lower. The sigmoid of it is the probability; a pixel is a gap if it is at least 0.5.",
        "tasks": ["semantic-segmentation"],
        "result": {"shape": [-1, len(thresholds), -1, -1], "dim_order": DIMENSIONS, "data_type": "float32"},
        "classification:classes": [
            {"value": 0, "name": "canopy", "description": "canopy as high as the threshold, or higher"},
            {"value": 1, "name": "gap", "description": "canopy lower than the threshold"},
        ],
        "post_processing_function": {"format": "python", "expression": "torch:sigmoid"},
    }


def describe_weights(network: NetworkFacts, beside: Path) -> dict[str, Any]:
    return {
        "href": Path(os.path.relpath(network.weights.resolve(), beside.resolve())).as_posix(),
        "title": "Weights with their configuration",
        "type": "application/octet-stream; application=safetensors",
        "roles": ["mlm:model", "mlm:weights", "data", *([] if is_model_folder(network.weights.parent) else ["mlm:checkpoint"])],
        "mlm:artifact_type": "safetensors.torch.save_file",
        "raster:bands": [{"name": "dsm", "data_type": "float32", "unit": "m", "spatial_resolution": network.resolution_m}],
        "file:size": network.weights.stat().st_size,
        "file:checksum": SHA256 + compute_sha256(network.weights),
    }


def list_hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of the run file that affect the weights, without paths."""
    kept = {
        name: config.get(name) for name in ("model", "normalization", "loss", "optimizer", "scheduler", "training", "augmentations")
    }
    return {name: value for name, value in kept.items() if value}


def compute_sha256(path: Path) -> str:
    with open_regular_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_identifier(name: str) -> str:
    return "forestgaps-" + (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run")


def format_json(item: Mapping[str, Any]) -> str:
    """Return the item as JSON; NaN and infinity become null, because JSON cannot express them."""
    return json.dumps(replace_nonfinite(item), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
