"""All hooks that a plugin can implement, in one file.

`PluginHooks` is what a plugin package offers: tables of names. They are read when a list of components is needed and
must cost nothing: no torch, no files. `TrainingEvents` is what a callback may listen to in a run that names it.

Mark implementations with `forestgaps_core.hookimpl`. Take only the arguments you use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from forestgaps_core.components import Batch, Data, Loss
    from forestgaps_core.kinds import BuildContext, Command, Kind, Pretrained, Recipe, Renamed
    from forestgaps_core.runtime.environment import Environment

PROJECT = "forestgaps"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class PluginHooks:
    """One hook per kind, each returning `{name: "package.module:ConfigClass"}`.

    Names are lower case with underscores. The target is imported when a run file says the name, not before. The old name of a
    component may stand there with `Renamed("new_name", since="0.5")`.
    """

    @hookspec
    def forestgaps_augmentations(self) -> Mapping[str, str]:
        """Augmentations of training tiles by name; `[augmentations.LABEL]` of a run file."""

    @hookspec
    def forestgaps_losses(self) -> Mapping[str, str]:
        """Losses by name; `[loss]` of a run file."""

    @hookspec
    def forestgaps_metrics(self) -> Mapping[str, str]:
        """Metrics by name; `[metrics.LABEL]` of a run file."""

    @hookspec
    def forestgaps_optimizers(self) -> Mapping[str, str]:
        """Optimizers by name; `[optimizer]` of a run file."""

    @hookspec
    def forestgaps_schedulers(self) -> Mapping[str, str]:
        """Learning-rate schedules by name; `[scheduler]` of a run file."""

    @hookspec
    def forestgaps_normalizations(self) -> Mapping[str, str]:
        """Normalization layers by name; `[normalization]` of a run file."""

    @hookspec
    def forestgaps_callbacks(self) -> Mapping[str, str]:
        """Callbacks by name; `[callbacks.LABEL]` of a run file."""

    @hookspec
    def forestgaps_models(self) -> Mapping[str, str]:
        """Networks by name; `[model]` of a run file."""

    @hookspec
    def forestgaps_data(self) -> Mapping[str, str]:
        """Data sets by name; `[data]` of a run file."""

    @hookspec
    def forestgaps_kinds(self) -> Mapping[str, Kind]:
        """Further kinds of components by name; `[NAME]` of a run file, or for the components of others only.

        Called when the tables of components are read. The core declares its own kinds through this hook.
        """

    @hookspec
    def forestgaps_components(self) -> Mapping[str, Mapping[str, str | Renamed]]:
        """Components of further kinds: `{"kind": {name: "package.module:ConfigClass"}}`, whichever package declares the kind.

        Called when the tables of components are read. The kinds of the core have hooks of their own.
        """

    @hookspec(firstresult=True)
    def forestgaps_build(self, kind: str, name: str, config: Any, context: BuildContext) -> Any:
        """Build a component; called once for each component when a run or the network of a model folder is built.

        The core's implementation comes last and calls `config.build`. With `wrapper=True` yours runs around it, and may return
        another object than it received. Without, yours comes first, and None leaves the component to the next. A metric is built
        for each pass over a split. Checkpoints record whose implementation made another object.

        Args:
            kind: Such as "loss".
            name: Full name, `distribution:name`; '' where no plugin offers the class of the config.
            config: Of the component.
            context: The component's place in the run file, and the arguments that `build` may ask for.
        """

    @hookspec
    def forestgaps_commands(self) -> Mapping[str, Command]:
        """Commands added to `forestgaps`, by name."""

    @hookspec
    def forestgaps_recipes(self) -> Mapping[str, Recipe]:
        """Complete run files for `forestgaps config init --recipe NAME`, by name."""

    @hookspec
    def forestgaps_networks(self) -> Mapping[str, Pretrained]:
        """Trained networks to map with or to start training from, by name, where a run folder would serve."""

    @hookspec
    def forestgaps_executors(self) -> Mapping[str, str]:
        """Places to compute, by the scheme of their address: `{"tcp": "package.module:function"}`.

        The function takes the whole address, such as `tcp://host:8786`, and returns an `Executor`. Asked by commands with an
        option `--cluster`; imported when such an address is given.
        """

    @hookspec
    def forestgaps_exporters(self) -> Mapping[str, str]:
        """Formats for trained networks by name; `forestgaps export --to NAME`.

        Called when `export` runs or prints its help. `build` returns an `Exporter`, which is called with the network.
        """

    @hookspec
    def forestgaps_postprocessors(self) -> Mapping[str, str]:
        """Steps that change maps, by name; `forestgaps predict --postprocess NAME`.

        Called when `predict` runs or prints its help. `build` returns a `Postprocessor`, which is called with each part of the map.
        """

    @hookspec
    def forestgaps_readers(self) -> Mapping[str, str]:
        """Readers of files by name; `forestgaps prepare` and `forestgaps predict`, with `--reader NAME`.

        Called when one of these commands runs or prints its help. `build` returns a `Reader`, which is asked about each file that
        GDAL does not open.
        """

    @hookspec
    def forestgaps_report_sections(self) -> Mapping[str, str]:
        """Further sections of the pages of `forestgaps report`, by name.

        Called when `report` writes a page. `build` returns a `ReportSection`, which is called with what the page is about.
        """

    @hookspec
    def forestgaps_engines(self) -> Mapping[str, str]:
        """What runs exported networks, by name: `{"onnxruntime": "package.module:Class"}`, where `Class()` is an `Engine`.

        Asked by `load_predictor`, and so by commands with an option `--engine`; imported when such a network is loaded.
        """


class TrainerView(Protocol):
    """What a callback sees of the trainer: it may read these attributes and call these methods.

    Attributes:
        model: The network, on `device`.
        loss: None in a trainer that only evaluates.
        optimizer: None in a trainer that only evaluates.
        epoch: Completed epochs.
        step: Completed optimizer steps.
        epochs: Epochs of the whole run.
        total_steps: Optimizer steps of the whole run; None where the training data has no length.
        rate: Learning rate of the optimizer's first group at the current step.
        gradient_norm: Of the last step before clipping, (), on the device; None before the first step.
        scores: Of the last completed epoch.
        stopped: Why training stopped before its end, or None.
        logged: Means of what was logged in the current step, by name without prefix; tensors (), on the device. At `step_end` they
            are complete for those that hear it with `@hookimpl(trylast=True)`.
        about: Plain values that go into every checkpoint: the resolved run file, versions.
        data: The data set of the run, or None.
        further: Components of the kinds that plugins declare, by kind; where there may be several, by label.
    """

    model: nn.Module
    loss: Loss | None
    optimizer: torch.optim.Optimizer | None
    device: torch.device
    environment: Environment
    epoch: int
    step: int
    epochs: int
    scores: dict[str, float]
    gradient_norm: Tensor | None
    stopped: str | None
    logged: Mapping[str, float | Tensor]
    about: Mapping[str, Any]
    data: Data | None
    further: Mapping[str, Any]

    @property
    def total_steps(self) -> int | None: ...

    @property
    def rate(self) -> float: ...

    def stop(self, reason: str, *, final: bool = True) -> None:
        """Leave the loop after the current step. With `final=False` a resumed run continues from here."""

    def checkpoint(self, path: Path) -> None:
        """Write a checkpoint after all callbacks have received the current event."""

    def log(self, name: str, value: float | Tensor) -> None:
        """Log a number, or a detached tensor of shape () on the device, which is read when a log or tracker writes.

        From `step_start` to `step_end`: logs write `train/NAME`, the mean over the steps of an interval, and the scores of the
        epoch have the mean over its steps. From `evaluation_start` to `evaluation_batch`: the scores have `SPLIT/NAME`, the mean
        over the pass. At `evaluation_end` and `epoch_end`: the scores have the value itself. At other events it is an error, and
        so is a name that another component logs. In a run of several processes, steps log what the first process has.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""


class TrainingEvents:
    """What happens in a run, in this order.

        fit_start
            epoch_start
                step_start                   once for each optimizer step, and so are the next two
                backward_end
                step_end
                ...
            evaluation_start                 validation
                evaluation_batch ...
            evaluation_end
            epoch_end
        fit_end

    Events return nothing. Callbacks hear them in the order of the run file. A callback may read every attribute of
    `trainer`, and call `trainer.stop` and `trainer.checkpoint`. Tensors are on the run's device: reading one (`.item()`)
    waits for the device, so read at intervals, not at every step.

    A callback declares what it changes with a class attribute, a set: `changes = {"weights"}`. The parts are "weights" (of the
    network, its buffers too), "model" (layers, settings of layers, which parameters are trained), "gradients" and "optimizer"
    (rates, state). Without the attribute it changes nothing. In a run of several processes, the first process sends the events to
    all its callbacks, the others only to those that change something. `forestgaps config check` reports changes that are not
    declared.

    A callback whose state holds the weights that the network is evaluated with (EMA weights) declares it with a class attribute:
    `evaluated_weights = "KEY"`, the key of its `state_dict`. Checkpoints record the declaration, and whatever loads the network
    uses those weights. At most one callback of a run may declare it.

    `forestgaps config check` tells all callbacks the events of one short epoch, with a temporary run folder. One that writes
    elsewhere, such as to a server, has a class attribute `remote = True`, and is only built there.
    """

    @hookspec
    def fit_start(self, trainer: TrainerView) -> None:
        """Training starts, or continues after a resume (then `trainer.step > 0`)."""

    @hookspec
    def epoch_start(self, trainer: TrainerView) -> None:
        """An epoch begins. After a resume in the middle of an epoch this event is sent again."""

    @hookspec
    def step_start(self, trainer: TrainerView) -> None:
        """A step begins, before the forward pass of its first batch. The scheduler has set the learning rates of the step.

        `trainer.step` counts the steps before it. Random numbers that a callback draws here do not change those of the step.
        """

    @hookspec
    def backward_end(self, trainer: TrainerView) -> None:
        """The gradients of the step are complete: of all accumulated batches and all processes. They are not clipped yet.

        Sent before the optimizer moves the weights. Gradients are never scaled: with float16 the loss scale is removed before. A
        parameter that the loss does not depend on has the gradient None. A callback may change gradients in place.
        """

    @hookspec
    def step_end(self, trainer: TrainerView, loss: Tensor) -> None:
        """An optimizer step is done; `loss` is its mean over the batches accumulated, a detached scalar on the device."""

    @hookspec
    def evaluation_start(self, trainer: TrainerView, split: str, batches: int | None) -> None:
        """A pass over `split` ("validation" or "test") of so many batches begins."""

    @hookspec
    def evaluation_batch(self, trainer: TrainerView, split: str, batch: Batch, logits: Tensor) -> None:
        """The metrics have seen one more batch of the pass."""

    @hookspec
    def evaluation_end(self, trainer: TrainerView, split: str, scores: Mapping[str, float], metrics: Mapping[str, Any]) -> None:
        """The pass is over. `scores` are named `split/label/value`; `metrics` holds the metric objects by label. Both are empty
        if the pass was interrupted.
        """

    @hookspec
    def epoch_end(self, trainer: TrainerView, scores: Mapping[str, float]) -> None:
        """An epoch is over: `train/loss`, `train/rate` and the validation's scores. `trainer.epoch` counts it already."""

    @hookspec
    def fit_end(self, trainer: TrainerView) -> None:
        """Training ended: finished, stopped (`trainer.stopped` says why) or by an error. No checkpoint is written any more."""
