"""A trained network, ready to map: needs the network's plugin, and not the loss, the schedule or the callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import define, evolve, field
from torch import Tensor, nn

from forestgaps_core.batches import fill_invalid
from forestgaps_core.calibration import Calibration
from forestgaps_core.checkpoint import checkpoint_of as checkpoint_of
from forestgaps_core.checkpoint import weights_to_use
from forestgaps_core.components import build
from forestgaps_core.config import SETTINGS
from forestgaps_core.environment import Environment
from forestgaps_core.errors import CheckpointError, ConfigError, ForestgapsError, PluginError
from forestgaps_core.nesting import isotonic, running_maximum
from forestgaps_core.networks import checked, no_larger_than, trained_network
from forestgaps_core.plugins import Plugins
from forestgaps_core.structuring import structured


@define(eq=False, kw_only=True)
class Predictor:
    """Probabilities of gap from a DSM.

    Attributes:
        model: With an attribute `nested = True` if its logits rise with the threshold whatever its weights.
        thresholds: Metres, those the network was validated at; others may be asked.
        resolution_m: Pixel size the network was trained at.
        calibration: Of its logits; None leaves them.
        flips: Whether to answer with the mean over the eight flips and quarter turns of a tile: somewhat better, eight times
            the work.
    """

    model: nn.Module
    thresholds: tuple[float, ...]
    resolution_m: float
    environment: Environment = field(factory=Environment)
    calibration: Calibration | None = None
    flips: bool = False
    device: torch.device = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.device = self.environment.torch_device()
        self.model.to(self.device).eval()
        if self.environment.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs

    def __call__(self, dsm: Tensor, valid: Tensor, thresholds: Sequence[float] | None = None) -> Tensor:
        """Probability that canopy is lower than each threshold.

        Args:
            dsm: (B, 1, H, W) metres; anything may stand at invalid pixels.
            valid: (B, 1, H, W) bool.
            thresholds: Metres, in any order.

        Returns:
            (B, K, H, W) float32 on the CPU. A gap at one threshold is never less likely at a higher one.
        """
        return self.on_device(dsm, valid, self.thresholds if thresholds is None else thresholds).cpu()

    def on_device(self, dsm: Tensor, valid: Tensor, thresholds: Sequence[float]) -> Tensor:
        """The same, left on the device: nothing waits for it."""
        asked = torch.tensor(tuple(thresholds), dtype=torch.float32)
        ascending, order = asked.sort()
        with torch.inference_mode():
            dsm, valid = dsm.to(self.device), valid.to(self.device)
            surface, planes = fill_invalid(dsm, valid), ascending.to(self.device).expand(len(dsm), -1)
            turns = TURNS if self.flips else TURNS[:1]
            found = (turned_back(self._at(turned(surface, turn), turned(valid, turn), planes), turn) for turn in turns)
            mean = sum(found, start=torch.zeros((), device=self.device)) / len(turns)
            # By construction but for rounding: the running maximum takes care of that.
            nested = running_maximum(mean) if getattr(self.model, "nested", False) else isotonic(mean)
        probabilities: Tensor = nested[:, order.argsort()]
        return probabilities

    def _at(self, surface: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        with self.environment.autocast(self.device):
            logits: Tensor = self.model(surface, valid, thresholds)
        return (self.calibration(logits.float()) if self.calibration else logits.float()).sigmoid()


# Quarter turns, after a flip or none: all the ways to lay a square on itself. The first leaves it as it is.
TURNS = tuple((quarters, flipped) for flipped in (False, True) for quarters in range(4))


def turned(planes: Tensor, turn: tuple[int, bool]) -> Tensor:
    quarters, flipped = turn
    return (planes.flip(-1) if flipped else planes).rot90(quarters, (-2, -1))


def turned_back(planes: Tensor, turn: tuple[int, bool]) -> Tensor:
    quarters, flipped = turn
    upright = planes.rot90(-quarters, (-2, -1))
    return upright.flip(-1) if flipped else upright


def load_predictor(
    run: Path | str,
    *,
    device: str | None = None,
    checkpoint: str | None = None,
    flips: bool = False,
    plugins: Plugins | None = None,
) -> Predictor:
    """Load a trained network.

    Args:
        run: A run folder, a checkpoint file, a network folder, or the name of an installed network, such as "pretrained".
        device: As in `[environment]`; by default the best there is.
        checkpoint: Which of the run's checkpoints, such as "last"; by default "best" if there is one.
        flips: Average over the eight flips and turns of each tile.

    Raises:
        CheckpointError: No checkpoint, a damaged one, or the package of its network is missing.
    """
    plugins = plugins or Plugins.discover()
    path, state = trained_network(run, checkpoint, plugins)
    model = model_of(state, plugins, path)
    table = state["about"]["config"]
    environment = checked(table["environment"], SETTINGS["environment"], "environment", path)
    thresholds = checked(table["thresholds"], SETTINGS["thresholds"], "thresholds", path)
    if device is not None and device not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(f"found device {device!r}, expected auto, cpu, cuda or mps", "predict")
    environment = evolve(environment, device=device or "auto")
    return Predictor(
        model=model,
        thresholds=thresholds.values,
        resolution_m=state["about"]["resolution_m"],
        environment=environment,
        calibration=calibration_of(state, path),
        flips=flips,
    )


def calibration_of(state: dict[str, Any], path: Path) -> Calibration | None:
    said = state.get("calibration")
    return None if said is None else checked(said, Calibration, "calibration", path)


def model_of(state: dict[str, Any], plugins: Plugins, path: Path) -> nn.Module:
    """The network of a checkpoint, with its weights."""
    about, weights = state["about"], weights_to_use(state)
    if not about:
        raise CheckpointError(f"{path} does not say how to build its network again")
    table, resolution_m = about["config"], about["resolution_m"]
    thresholds = checked(table["thresholds"], SETTINGS["thresholds"], "thresholds", path).values

    def normalization() -> Any:
        if "normalization" not in table:
            raise CheckpointError(f"{path} does not name the normalization of its network")
        chosen = chosen_in(table, "normalization", about, plugins, path)
        return build("normalization", chosen, {"batch_per_device": lambda: table["training"]["batch_size"]})

    chosen = chosen_in(table, "model", about, plugins, path)
    available = {"resolution_m": lambda: resolution_m, "thresholds": lambda: thresholds, "normalization": normalization}
    try:
        with no_larger_than(weights, path):
            model: nn.Module = build("model", chosen, available)
        model.load_state_dict(weights)
    except ForestgapsError:
        raise
    except Exception as error:  # a network is made of what the file says, and may find anything wrong with it
        found = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: the weights do not fit the network its plugin makes now: {found}") from error
    return model


def chosen_in(table: dict[str, Any], kind: str, about: dict[str, Any], plugins: Plugins, path: Path) -> Any:
    """The config of the component of one kind that a checkpoint names."""
    settings = {key: value for key, value in table[kind].items() if key != "name"}
    made_with = about["components"].get(kind, {})
    package = f"{made_with.get('distribution', 'an unknown package')} {made_with.get('version', '')}".strip()
    try:
        config, problems = structured(settings, plugins.component(kind, table[kind]["name"]).load(), (kind,))
    except PluginError as error:
        raise CheckpointError(f"{path} was made with the {kind} {table[kind]['name']!r} of {package}: {error}") from error
    if problems:
        raise CheckpointError(f"{path} was made with {package}, whose settings have changed since: {'; '.join(problems)}")
    return config
