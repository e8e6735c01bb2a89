"""A trained network, ready to map: needs the network's plugin, and not the loss, the schedule or the callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import define, evolve, field
from torch import Tensor, nn

from forestgaps_core.batches import fill_invalid
from forestgaps_core.checkpoint import load_checkpoint, weights_to_use
from forestgaps_core.components import build
from forestgaps_core.config import SETTINGS
from forestgaps_core.environment import Environment
from forestgaps_core.errors import CheckpointError, ConfigError, PluginError
from forestgaps_core.plugins import Plugins
from forestgaps_core.structuring import structured


@define(eq=False, kw_only=True)
class Predictor:
    """Probabilities of gap from a DSM.

    Attributes:
        thresholds: Metres, those the network was validated at; others may be asked.
        resolution_m: Pixel size the network was trained at.
    """

    model: nn.Module
    thresholds: tuple[float, ...]
    resolution_m: float
    environment: Environment = field(factory=Environment)
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
        asked = torch.tensor(self.thresholds if thresholds is None else tuple(thresholds), dtype=torch.float32)
        ascending, order = asked.sort()
        with torch.inference_mode(), self.environment.autocast(self.device):
            dsm, valid = dsm.to(self.device), valid.to(self.device)
            planes = ascending.to(self.device).expand(len(dsm), -1)
            logits = self.model(fill_invalid(dsm, valid), valid, planes).float()
        # A network that is nested by construction is not changed by the running maximum.
        nested = logits.cummax(dim=1).values.sigmoid().cpu()
        probabilities: Tensor = nested[:, order.argsort()]
        return probabilities


def checkpoint_of(run: Path, which: str | None = None) -> Path:
    """The checkpoint file of a run folder: `which`, or the best one, or the last; a file stands for itself.

    Raises:
        CheckpointError: There is none.
    """
    if run.is_file():
        return run
    folder = run / "checkpoints"
    for name in [which] if which else ["best", "last"]:
        if (folder / f"{name}.pt").is_file():
            return folder / f"{name}.pt"
    there = ", ".join(sorted(file.stem for file in folder.glob("*.pt"))) or "none"
    what = f"no checkpoint {which!r}" if which else "no trained network"
    raise CheckpointError(f"{what} in {run}; checkpoints there: {there}. `forestgaps train` makes a run folder")


def load_predictor(
    run: Path | str, *, device: str | None = None, checkpoint: str | None = None, plugins: Plugins | None = None
) -> Predictor:
    """Load a trained network from a run folder or a checkpoint file.

    Args:
        device: As in `[environment]`; by default the best there is.
        checkpoint: Which of the run's checkpoints, such as "last"; by default "best" if there is one.

    Raises:
        CheckpointError: No checkpoint, a damaged one, or the package of its network is missing.
    """
    path = checkpoint_of(Path(run), checkpoint)
    state = load_checkpoint(path)
    plugins = plugins or Plugins.discover()
    model = model_of(state, plugins, path)
    table = state["about"]["config"]
    environment, problems = structured(table["environment"], SETTINGS["environment"])
    thresholds, more = structured(table["thresholds"], SETTINGS["thresholds"])
    if problems or more:
        raise CheckpointError(f"{path} holds settings this version cannot read: {'; '.join(problems + more)}")
    if device is not None and device not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(f"found device {device!r}, expected auto, cpu, cuda or mps", "predict")
    environment = evolve(environment, device=device or "auto")
    return Predictor(
        model=model, thresholds=thresholds.values, resolution_m=state["about"]["resolution_m"], environment=environment
    )


def model_of(state: dict[str, Any], plugins: Plugins, path: Path) -> nn.Module:
    """The network of a checkpoint, with its weights."""
    about = state["about"]
    table = about["config"]
    resolution_m, thresholds = about["resolution_m"], tuple(table["thresholds"]["values"])
    model: nn.Module = build(
        "model",
        chosen_in(table, "model", about, plugins, path),
        {
            "resolution_m": lambda: resolution_m,
            "thresholds": lambda: thresholds,
            "normalization": lambda: build(
                "normalization",
                chosen_in(table, "normalization", about, plugins, path),
                {"batch_per_device": lambda: table["training"]["batch_size"]},
            ),
        },
    )
    try:
        model.load_state_dict(weights_to_use(state))
    except RuntimeError as error:
        found = str(error).splitlines()[0]
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
