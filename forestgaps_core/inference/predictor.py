"""A trained network for prediction. It needs the plugin of the network, not those of loss, schedule and callbacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import define, evolve, field
from torch import Tensor, nn

from forestgaps_core.components import InputLayer
from forestgaps_core.config.reading import read_component
from forestgaps_core.config.run_file import SETTINGS
from forestgaps_core.data.batch_maker import clear_invalid, fill_invalid
from forestgaps_core.errors import CheckpointError, ConfigError, ForestgapsError, PluginError
from forestgaps_core.files.checkpoint import choose_weights
from forestgaps_core.files.checkpoint import find_checkpoint as find_checkpoint
from forestgaps_core.inference.batch_norm_folding import fold_batch_norms
from forestgaps_core.inference.calibration import Calibration
from forestgaps_core.inference.engines import FORMATS, TORCH, is_exported, open_exported_network
from forestgaps_core.inference.input_layers import check_given_layers, read_layers
from forestgaps_core.inference.isotonic import isotonic_regression, running_maximum
from forestgaps_core.inference.model_folder import limit_parameters, load_trained_network, locate_network, structure_recorded
from forestgaps_core.kinds import BuildContext
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.provenance import (
    apply_recorded_names,
    explain_missing,
    find_full_name,
    find_section,
    list_inner_names,
    read_altered,
    read_owners,
    read_versions,
    warn_of_other_versions,
)
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runtime.environment import Environment

Kept = tuple[slice, slice]
WHOLE: Kept = (slice(None), slice(None))
NO_LAYERS: Mapping[str, Tensor] = {}
DEVICES, PRECISIONS = ("auto", "cpu", "cuda", "mps"), ("32", "bf16", "16")
STRIP_ROWS = 16  # of 1,000 columns and seven thresholds: half a megabyte, which fits a core's own cache


@define(eq=False, kw_only=True)
class Predictor:
    """Probabilities of gap from a DSM.

    Attributes:
        model: With an attribute `monotone = True` if its logits increase with the threshold for any weights. It may have
            `compute_distribution(dsm, valid)`, (B, C, H, W), and `compute_logits(distribution, thresholds)`, pixel by pixel, which
            together do the same. With `layers`, the first takes them too, by that name.
        thresholds: Meters, those the network was validated at; others may be asked.
        resolution_m: Pixel size the network was trained at.
        calibration: Of its logits; None leaves them.
        flips: Whether to answer with the mean over the eight flips and quarter turns of a tile: somewhat better, eight times
            the work.
        layers: Further layers that the network needs, by name.
    """

    model: nn.Module
    thresholds: tuple[float, ...]
    resolution_m: float
    environment: Environment = field(factory=Environment)
    calibration: Calibration | None = None
    flips: bool = False
    layers: Mapping[str, InputLayer] = field(factory=dict)
    device: torch.device = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.device = self.environment.torch_device()
        self.model.to(self.device).eval()
        if self.environment.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs

    def __call__(
        self,
        dsm: Tensor,
        valid: Tensor,
        thresholds: Sequence[float] | None = None,
        kept: Kept = WHOLE,
        layers: Mapping[str, Tensor] = NO_LAYERS,
    ) -> Tensor:
        """Probability that canopy is lower than each threshold.

        Args:
            dsm: (B, 1, H, W) meters; anything may stand at invalid pixels.
            valid: (B, 1, H, W) bool.
            thresholds: Meters, in any order.
            kept: Rows and columns to answer for; all by default.
            layers: Those that the network needs, (B, C, H, W) each, 0 where they have no data.

        Returns:
            (B, K, rows, columns) float32 on the CPU. A gap at one threshold is never less likely at a higher one.
        """
        return self.on_device(dsm, valid, self.thresholds if thresholds is None else thresholds, kept, layers).cpu()

    def on_device(
        self,
        dsm: Tensor,
        valid: Tensor,
        thresholds: Sequence[float],
        kept: Kept = WHOLE,
        layers: Mapping[str, Tensor] = NO_LAYERS,
    ) -> Tensor:
        """The same, left on the device: nothing waits for it."""
        check_given_layers(layers, self.layers, dsm)
        asked = torch.tensor(tuple(thresholds), dtype=torch.float32)
        ascending, order = asked.sort()
        with torch.inference_mode():
            dsm, valid = dsm.to(self.device), valid.to(self.device)
            # On a CPU it costs nothing to ask; a GPU would be waited for.
            surface = dsm if self.device.type == "cpu" and bool(valid.all()) else fill_invalid(dsm, valid)
            planes = ascending.to(self.device).expand(len(dsm), -1)
            clear = {name: clear_invalid(layer.to(self.device), valid) for name, layer in layers.items()}
            if self.flips:
                nested = self._by_turns(surface, valid, planes, clear)[..., *kept]
            else:
                nested = self._once(surface, valid, planes, kept, {"layers": clear} if clear else {})
        probabilities: Tensor = nested if torch.equal(asked, ascending) else nested[:, order.argsort()]
        return probabilities

    def _once(self, surface: Tensor, valid: Tensor, thresholds: Tensor, kept: Kept, further: Mapping[str, Any]) -> Tensor:
        """Probabilities of the pixels that are kept.

        If the network has `compute_distribution`, logits are computed for those pixels only, a few rows at a time
        so that intermediate values stay in the cache.
        """
        with self.environment.autocast(self.device):
            model: Any = self.model
            if not hasattr(model, "compute_distribution"):
                return self._nested(self._probabilities(model(surface, valid, thresholds, **further)[..., *kept]))
            distribution = model.compute_distribution(surface, valid, **further)[..., *kept]
            step = STRIP_ROWS if self.device.type == "cpu" else distribution.shape[-2]
            strips = distribution.split(step, dim=-2)
            return torch.cat(
                [self._nested(self._probabilities(model.compute_logits(strip, thresholds))) for strip in strips], dim=-2
            )

    def _by_turns(self, surface: Tensor, valid: Tensor, thresholds: Tensor, layers: Mapping[str, Tensor]) -> Tensor:
        total = torch.zeros((), device=self.device)
        for turn in TURNS:
            turned = {name: rotate(layer, turn) for name, layer in layers.items()}
            with self.environment.autocast(self.device):
                further = {"layers": turned} if turned else {}
                logits = self.model(rotate(surface, turn), rotate(valid, turn), thresholds, **further)
            total = total + rotate_back(self._probabilities(logits), turn)
        return self._nested(total / len(TURNS))

    def _probabilities(self, logits: Tensor) -> Tensor:
        logits = logits.float()
        return (self.calibration(logits) if self.calibration else logits).sigmoid()

    def _nested(self, probabilities: Tensor) -> Tensor:
        # By construction but for rounding: the running maximum takes care of that.
        return running_maximum(probabilities) if getattr(self.model, "monotone", False) else isotonic_regression(probabilities)


# Quarter turns, after a flip or none: all the ways to lay a square on itself. The first leaves it as it is.
TURNS = tuple((quarters, flipped) for flipped in (False, True) for quarters in range(4))


def rotate(planes: Tensor, turn: tuple[int, bool]) -> Tensor:
    quarters, flipped = turn
    return (planes.flip(-1) if flipped else planes).rot90(quarters, (-2, -1))


def rotate_back(planes: Tensor, turn: tuple[int, bool]) -> Tensor:
    quarters, flipped = turn
    upright = planes.rot90(-quarters, (-2, -1))
    return upright.flip(-1) if flipped else upright


def load_predictor(
    run: Path | str,
    *,
    device: str | None = None,
    precision: str | None = None,
    checkpoint: str | None = None,
    flips: bool = False,
    engine: str | None = None,
    fold: bool = False,
    plugins: Plugins | None = None,
) -> Predictor:
    """Load a trained network.

    Args:
        run: A run folder, a checkpoint file, a model folder, or the name of an installed network, such as "pretrained".
        device: As in `[environment]`; by default the best there is.
        precision: As in `[environment]`; by default that of the training.
        checkpoint: Which of the run's checkpoints, such as "last"; by default "best" if there is one.
        flips: Average over the eight flips and turns of each tile.
        engine: What runs an exported network, such as "onnxruntime"; by default what it was exported for, unless that is code,
            which must be asked for by name. "torch" for weights.
        fold: Fold batch norms into convolutions: faster, the same function but for rounding, and no longer the module as it
            was trained.

    Raises:
        CheckpointError: No checkpoint, a damaged one, one for another engine, or the package of its network is missing.
    """
    plugins = plugins or Plugins.discover()
    path = locate_network(run, plugins)
    for what, found, known in (("device", device, DEVICES), ("precision", precision, PRECISIONS)):
        if found is not None and found not in known:
            raise ConfigError(f"found {what} {found!r}, expected {', '.join(known[:-1])} or {known[-1]}", "predict")
    if is_exported(path):
        if precision not in (None, "32"):
            raise ConfigError(f"found precision {precision!r}; an exported network computes as it was exported", "predict")
        return load_exported_predictor(path, engine, plugins, device=device, checkpoint=checkpoint, flips=flips)
    if engine not in (None, TORCH):
        line = format_command("export", run, "--to", FORMATS[engine]) if engine in FORMATS else format_command("export", "--help")
        raise CheckpointError(f"{path} holds weights, which torch runs. Export them for the engine {engine} first: {line}")
    path, state = load_trained_network(path, checkpoint, plugins)
    model = build_network(state, plugins, path)
    if fold:
        fold_batch_norms(model.eval())
    table = state["about"]["config"]
    environment = structure_recorded(table["environment"], SETTINGS["environment"], "environment", path)
    thresholds = structure_recorded(table["thresholds"], SETTINGS["thresholds"], "thresholds", path)
    environment = evolve(environment, device=device or "auto", precision=precision or environment.precision)
    return Predictor(
        model=model,
        thresholds=thresholds.values,
        resolution_m=state["about"]["resolution_m"],
        environment=environment,
        calibration=read_calibration(state, path),
        flips=flips,
        layers=read_layers(state["about"], path),
    )


def load_exported_predictor(
    path: Path, engine: str | None, plugins: Plugins, *, device: str | None, checkpoint: str | None, flips: bool
) -> Predictor:
    """That of an exported network, on the CPU in float32.

    Raises:
        CheckpointError: As `forestgaps_core.inference.engines.open_exported_network`, or a checkpoint was named.
        ConfigError: Another device was asked for.
    """
    if checkpoint is not None:
        raise CheckpointError(f"{path} is an exported network, which has no checkpoint {checkpoint!r}")
    if device not in (None, "auto", "cpu"):
        raise ConfigError(f"found device {device!r}; an exported network computes on the cpu", "predict")
    model, plan = open_exported_network(path, engine, plugins)
    return Predictor(
        model=model,
        thresholds=structure_recorded(plan["config"]["thresholds"], SETTINGS["thresholds"], "thresholds", path).values,
        resolution_m=plan["resolution_m"],
        environment=Environment(device="cpu", channels_last=False),
        calibration=read_calibration(plan, path),
        flips=flips,
    )


def read_calibration(state: dict[str, Any], path: Path) -> Calibration | None:
    said = state.get("calibration")
    return None if said is None else structure_recorded(said, Calibration, "calibration", path)


def build_network(state: dict[str, Any], plugins: Plugins, path: Path) -> nn.Module:
    """The network of a checkpoint, with its weights."""
    about, weights = state["about"], choose_weights(state)
    places = [kind for kind in ("model", "normalization") if kind in about["config"]]
    refuse_missing(about, places, plugins, path)
    warn_of_other_versions(path, read_versions(about, places), plugins, "building its network")
    table, resolution_m = about["config"], about["resolution_m"]
    thresholds = structure_recorded(table["thresholds"], SETTINGS["thresholds"], "thresholds", path).values

    def normalization() -> Any:
        if "normalization" not in table:
            raise CheckpointError(f"{path} does not name the normalization of its network")
        chosen, names = read_recorded_component(table, "normalization", about, plugins, path)
        context = BuildContext("normalization", {"batch_per_device": lambda: table["training"]["batch_size"]}, names)
        return plugins.build("normalization", find_recorded_name("normalization", about, plugins), chosen, context)

    chosen, names = read_recorded_component(table, "model", about, plugins, path)
    layers = read_layers(about, path)
    available = {
        "resolution_m": lambda: resolution_m,
        "thresholds": lambda: thresholds,
        "normalization": normalization,
        "layers": lambda: layers,
    }
    try:
        with limit_parameters(weights, path):
            name = find_recorded_name("model", about, plugins)
            model: nn.Module = plugins.build("model", name, chosen, BuildContext("model", available, names))
        model.load_state_dict(weights)
    except ForestgapsError:
        raise
    except Exception as error:  # a network is made of what the file says, and may find anything wrong with it
        found = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: the weights do not fit the network its plugin makes now: {found}") from error
    return model


def read_recorded_component(
    table: dict[str, Any], kind: str, about: dict[str, Any], plugins: Plugins, path: Path
) -> tuple[Any, dict[str, str]]:
    """The config of the component of one kind that a checkpoint names, and the full names of it and those inside it, by place."""
    made_with = about["components"].get(kind, {})
    package = f"{made_with.get('distribution', 'an unknown package')} {made_with.get('version', '')}".strip()
    refuse_missing(about, [kind], plugins, path)
    recorded = apply_recorded_names({kind: table[kind]}, about, plugins)[kind]
    try:
        plugins.component(kind, recorded["name"]).load()
        config, names, problems = read_component(kind, recorded, plugins)
    except PluginError as error:
        raise CheckpointError(f"{path} was made with the {kind} {table[kind]['name']!r} of {package}: {error}") from error
    if problems:
        raise CheckpointError(f"{path} was made with {package}, whose settings have changed since: {'; '.join(problems)}")
    return config, names


def refuse_missing(about: dict[str, Any], places: Sequence[str], plugins: Plugins, path: Path) -> None:
    """Raises:
    CheckpointError: Packages that these parts were made with are not installed; one sentence for all of them.
    """
    names = [find_recorded_name(place, about, plugins) for place in places]
    inner = [place for place in about["components"] if find_section(place) in places]
    owners = set(read_owners(about).values())
    names += [name for place in places for _, name in list_inner_names(about["config"][place], place, owners)]
    needed = [*(name.rpartition(":")[0] for name in names if ":" in name), *read_altered(about, inner)]
    # A run folder has copies of its local files.
    folder = path.parent.parent if path.parent.name == "checkpoints" else None
    if sentence := explain_missing(needed, read_versions(about), plugins, folder):
        raise CheckpointError(f"{path} cannot be used: {sentence}")


def find_recorded_name(kind: str, about: dict[str, Any], plugins: Plugins) -> str:
    return find_full_name(kind, about["config"][kind]["name"], read_owners(about).get(kind), plugins)
