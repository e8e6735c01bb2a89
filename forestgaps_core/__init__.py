"""forestgaps: maps of forest canopy gaps from a digital surface model.

What is public is listed here and resolved on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from forestgaps_core.lazy_exports import lazy_exports
from forestgaps_core.version import __version__

_PUBLIC = {
    "Augmentation": "components",
    "Batch": "components",
    "BatchMaker": "data.batch_maker",
    "BuildContext": "kinds",
    "CheckpointError": "errors",
    "Command": "kinds",
    "Component": "settings",
    "Config": "config.run_file",
    "ConfigError": "errors",
    "Data": "components",
    "DataError": "errors",
    "Environment": "runtime.environment",
    "Executor": "components",
    "ForestgapsError": "errors",
    "InputLayer": "components",
    "Kind": "kinds",
    "Loss": "components",
    "LossContext": "components",
    "Metric": "components",
    "NormFactory": "components",
    "PluginError": "errors",
    "Predictor": "inference.predictor",
    "Pretrained": "kinds",
    "Recipe": "kinds",
    "Renamed": "kinds",
    "Scheduler": "components",
    "Source": "components",
    "Thresholds": "config.thresholds",
    "Tile": "components",
    "TileLoader": "data.loader",
    "Tiles": "components",
    "Trainer": "training.trainer",
    "hookimpl": "hookspecs",
    "evaluate_run": "runs.run",
    "load_config": "config.reading",
    "load_predictor": "inference.predictor",
    "make_config": "plugins.config_forms",
    "register": "plugins.registry",
    "resume_training": "runs.run",
    "save_network": "inference.model_folder_writing",
    "train_model": "runs.run",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from forestgaps_core.components import Augmentation as Augmentation
    from forestgaps_core.components import Batch as Batch
    from forestgaps_core.components import Data as Data
    from forestgaps_core.components import Executor as Executor
    from forestgaps_core.components import InputLayer as InputLayer
    from forestgaps_core.components import Loss as Loss
    from forestgaps_core.components import LossContext as LossContext
    from forestgaps_core.components import Metric as Metric
    from forestgaps_core.components import NormFactory as NormFactory
    from forestgaps_core.components import Scheduler as Scheduler
    from forestgaps_core.components import Source as Source
    from forestgaps_core.components import Tile as Tile
    from forestgaps_core.components import Tiles as Tiles
    from forestgaps_core.config.reading import load_config as load_config
    from forestgaps_core.config.run_file import Config as Config
    from forestgaps_core.config.thresholds import Thresholds as Thresholds
    from forestgaps_core.data.batch_maker import BatchMaker as BatchMaker
    from forestgaps_core.data.loader import TileLoader as TileLoader
    from forestgaps_core.errors import CheckpointError as CheckpointError
    from forestgaps_core.errors import ConfigError as ConfigError
    from forestgaps_core.errors import DataError as DataError
    from forestgaps_core.errors import ForestgapsError as ForestgapsError
    from forestgaps_core.errors import PluginError as PluginError
    from forestgaps_core.hookspecs import hookimpl as hookimpl
    from forestgaps_core.inference.model_folder_writing import save_network as save_network
    from forestgaps_core.inference.predictor import Predictor as Predictor
    from forestgaps_core.inference.predictor import load_predictor as load_predictor
    from forestgaps_core.kinds import BuildContext as BuildContext
    from forestgaps_core.kinds import Command as Command
    from forestgaps_core.kinds import Kind as Kind
    from forestgaps_core.kinds import Pretrained as Pretrained
    from forestgaps_core.kinds import Recipe as Recipe
    from forestgaps_core.kinds import Renamed as Renamed
    from forestgaps_core.plugins.config_forms import make_config as make_config
    from forestgaps_core.plugins.registry import register as register
    from forestgaps_core.runs.run import evaluate_run as evaluate_run
    from forestgaps_core.runs.run import resume_training as resume_training
    from forestgaps_core.runs.run import train_model as train_model
    from forestgaps_core.runtime.environment import Environment as Environment
    from forestgaps_core.settings import Component as Component
    from forestgaps_core.training.trainer import Trainer as Trainer


__getattr__, _ = lazy_exports(__name__, [f"{__name__}.{module}:{name}" for name, module in _PUBLIC.items()])


def __dir__() -> list[str]:
    return sorted(__all__)


if os.environ.get("FORESTGAPS_PLUGIN_FILES"):  # a process started by `forestgaps -p FILE`: pickles name the file's module
    from forestgaps_core.plugins.local_files import LocalFiles

    sys.meta_path.append(LocalFiles)
