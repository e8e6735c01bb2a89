"""Small networks of those that ship, with weights that let everything have a say, and folders of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forestgaps_core.config.converter import structure_config
from forestgaps_core.data.batch_maker import fill_invalid
from forestgaps_core.kinds import build
from forestgaps_core.plugins.registry import Plugins

pytest.importorskip("forestgaps_models")  # tested with the networks that ship, not alone

VIEW = {"channels": ["relief", "tophats"], "relief_m": 9.0, "tophats_m": [5.0]}
U = {"view": VIEW, "base": 16, "depth": 2}
SMALL: dict[str, dict[str, Any]] = {
    "ground_unet": {"openings_m": [12.0], "over_trend_m": [20.0], "base": 16, "depth": 1},
    "height_unet": U,
    "unet": U,
}
LEVELS = (2.0, 5.0)


def network(name: str, normalization: Any = nn.BatchNorm2d) -> nn.Module:
    config, problems = structure_config(SMALL[name], Plugins.discover().component("model", name).load(), ("model",))
    assert not problems
    available = {"resolution_m": lambda: 1.0, "thresholds": lambda: LEVELS, "normalization": lambda: normalization}
    torch.manual_seed(0)
    made: nn.Module = build("model", config, available)
    with torch.no_grad():
        for weights in made.parameters():
            if not weights.any():
                weights.normal_(std=0.1)
        for layer in made.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.2)
                layer.running_var.uniform_(0.5, 2.0)
    return made.eval()


def network_folder(folder: Path, name: str, made: nn.Module | None = None) -> Path:
    """As `forestgaps_core.save_network` writes them."""
    from safetensors.torch import save

    data = save({key: tensor.contiguous() for key, tensor in (made or network(name)).state_dict().items()})
    plan = {"format": 1, **about(name), "weights": {"file": "model.safetensors", "sha256": hashlib.sha256(data).hexdigest()}}
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(data)
    (folder / "network.json").write_text(json.dumps(plan))
    return folder


def about(name: str) -> dict[str, Any]:
    return {
        "resolution_m": 1.0,
        "config": {
            "model": {"name": name, **SMALL[name]},
            "normalization": {"name": "batch"},
            "thresholds": {"values": list(LEVELS)},
            "training": {"batch_size": 8},
            "environment": {"precision": "32", "channels_last": True},
        },
        "components": {
            kind: {"name": kind_name, "distribution": f"forestgaps-{package}", "version": "0.1.0"}
            for kind, kind_name, package in (("model", name, "models"), ("normalization", "batch", "normalization"))
        },
        "versions": {"torch": str(torch.__version__)},
    }


def question(rows: int, columns: int, seed: int = 0, samples: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """A rough surface at 400 m with a hole."""
    random = torch.Generator().manual_seed(seed)
    crowns = torch.rand((samples, 1, rows // 8, columns // 8), generator=random)
    dsm = 400 + 25 * nn.functional.interpolate(crowns, scale_factor=8) + torch.rand((samples, 1, rows, columns), generator=random)
    valid = torch.ones_like(dsm, dtype=torch.bool)
    valid[..., : rows // 4, : columns // 4] = False
    return fill_invalid(dsm, valid), valid, torch.tensor([LEVELS] * samples)
