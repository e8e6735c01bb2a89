"""forestgaps: maps of forest canopy gaps from a digital surface model.

What is public is listed here and resolved on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from forestgaps_core.version import __version__

_PUBLIC = {
    "Augmentation": "augmentation",
    "Batch": "components",
    "BatchMaker": "batches",
    "CheckpointError": "errors",
    "Command": "kinds",
    "Config": "config",
    "ConfigError": "errors",
    "Data": "components",
    "DataError": "errors",
    "Environment": "environment",
    "Executor": "components",
    "ForestgapsError": "errors",
    "Loss": "components",
    "Metric": "components",
    "NormFactory": "components",
    "PluginError": "errors",
    "Predictor": "predictor",
    "Pretrained": "kinds",
    "Recipe": "kinds",
    "Scheduler": "components",
    "Source": "components",
    "Thresholds": "thresholds",
    "Tile": "components",
    "TileLoader": "loading",
    "Tiles": "components",
    "Trainer": "trainer",
    "hookimpl": "hookspecs",
    "evaluate_model": "run",
    "load_config": "config",
    "load_predictor": "predictor",
    "resume_training": "run",
    "save_network": "network_saving",
    "train_model": "run",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from forestgaps_core.augmentation import Augmentation as Augmentation
    from forestgaps_core.batches import BatchMaker as BatchMaker
    from forestgaps_core.components import Batch as Batch
    from forestgaps_core.components import Data as Data
    from forestgaps_core.components import Executor as Executor
    from forestgaps_core.components import Loss as Loss
    from forestgaps_core.components import Metric as Metric
    from forestgaps_core.components import NormFactory as NormFactory
    from forestgaps_core.components import Scheduler as Scheduler
    from forestgaps_core.components import Source as Source
    from forestgaps_core.components import Tile as Tile
    from forestgaps_core.components import Tiles as Tiles
    from forestgaps_core.config import Config as Config
    from forestgaps_core.config import load_config as load_config
    from forestgaps_core.environment import Environment as Environment
    from forestgaps_core.errors import CheckpointError as CheckpointError
    from forestgaps_core.errors import ConfigError as ConfigError
    from forestgaps_core.errors import DataError as DataError
    from forestgaps_core.errors import ForestgapsError as ForestgapsError
    from forestgaps_core.errors import PluginError as PluginError
    from forestgaps_core.hookspecs import hookimpl as hookimpl
    from forestgaps_core.kinds import Command as Command
    from forestgaps_core.kinds import Pretrained as Pretrained
    from forestgaps_core.kinds import Recipe as Recipe
    from forestgaps_core.loading import TileLoader as TileLoader
    from forestgaps_core.network_saving import save_network as save_network
    from forestgaps_core.predictor import Predictor as Predictor
    from forestgaps_core.predictor import load_predictor as load_predictor
    from forestgaps_core.run import evaluate_model as evaluate_model
    from forestgaps_core.run import resume_training as resume_training
    from forestgaps_core.run import train_model as train_model
    from forestgaps_core.thresholds import Thresholds as Thresholds
    from forestgaps_core.trainer import Trainer as Trainer


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if os.environ.get("FORESTGAPS_PLUGIN_FILES"):  # a process started by `forestgaps -p FILE`: pickles name the file's module
    from forestgaps_core.local_code import LocalFiles

    sys.meta_path.append(LocalFiles)
