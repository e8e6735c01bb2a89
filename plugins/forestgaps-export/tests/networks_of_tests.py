"""Every network that ships, small: one description, to build it and to write a folder of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from forestgaps_core.kinds import build
from forestgaps_core.plugins.registry import Plugins

pytest.importorskip("forestgaps_models")  # tested with the networks that ship, not alone

VIEW = {"channels": ["relief", "tophats"], "relief_m": 9.0, "tophats_m": [5.0]}
U = {"view": VIEW, "base": 4, "depth": 2}
GROUND = {"openings_m": [12.0], "over_trend_m": [20.0], "base": 4, "depth": 1}
SMALL: dict[str, dict[str, Any]] = {
    "attention_unet": U,
    "cbam_unet": U,
    "deeplab": {"view": VIEW, "base": 4, "tile_mean": True},
    "ground_unet": GROUND,
    "height_unet": U,
    "plain_unet": U,
    "unet": U | {"conditioned": 1},
    "unet_plus_plus": U | {"output": "thresholds"},
}


def network(name: str, normalization: Any = nn.BatchNorm2d, **settings: Any) -> nn.Module:
    """With weights that let everything have a say."""
    from forestgaps_core.config.converter import structure_config

    config, problems = structure_config(SMALL[name] | settings, Plugins.discover().component("model", name).load(), ("model",))
    assert not problems
    available = {"resolution_m": lambda: 1.0, "thresholds": lambda: (2.0, 5.0), "normalization": lambda: normalization}
    torch.manual_seed(0)
    model: nn.Module = build("model", config, available)
    with torch.no_grad():
        for weights in model.parameters():
            if not weights.any():
                weights.normal_(std=0.1)
            elif weights.dim() > 1:
                weights.mul_(2.0)  # as torch begins, what is deep inside hardly reaches the logits
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.2)
                layer.running_var.uniform_(0.5, 2.0)
    return model.eval()


def network_folder(folder: Path, name: str, calibration: dict[str, float] | None = None) -> Path:
    """A folder of it as `forestgaps_core.save_network` writes them."""
    from safetensors.torch import save

    data = save({key: tensor.contiguous() for key, tensor in network(name).state_dict().items()})
    made_with = {
        kind: {"name": kind_name, "distribution": f"forestgaps-{package}", "version": "0.1.0"}
        for kind, kind_name, package in (("model", name, "models"), ("normalization", "batch", "normalization"))
    }
    plan = {
        "format": 1,
        "resolution_m": 1.0,
        "config": {
            "model": {"name": name, **SMALL[name]},
            "normalization": {"name": "batch"},
            "thresholds": {"values": [2.0, 5.0]},
            "training": {"batch_size": 8},
            "environment": {"precision": "32", "channels_last": True},
        },
        "components": made_with,
        "versions": {"torch": str(torch.__version__)},
        "weights": {"file": "model.safetensors", "sha256": hashlib.sha256(data).hexdigest()},
    } | ({"calibration": calibration} if calibration else {})
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(data)
    (folder / "network.json").write_text(json.dumps(plan))
    return folder
