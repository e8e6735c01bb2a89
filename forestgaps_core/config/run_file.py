"""The contents of a run file: TOML tables that choose components by name and contain their settings.

One table per kind; `name` chooses the component, the other keys are its fields. Kinds that may be several are keyed by a
label, `[metrics.gaps]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, optional

from forestgaps_core.config.plain_values import validate_path
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runtime.environment import Environment


@frozen(kw_only=True)
class Training:
    """Length of a run and what happens in a step."""

    epochs: int = field(default=10, validator=and_(ge(1), le(1_000_000)), metadata={"help": "Passes over the training split."})
    batch_size: int = field(default=8, validator=and_(ge(1), le(65_536)), metadata={"help": "Tiles the device sees at once."})
    accumulate: int = field(default=1, validator=and_(ge(1), le(65_536)), metadata={"help": "Batches to an optimizer step."})
    max_gradient_norm: float = field(
        default=1.0, validator=gt(0), metadata={"help": "Gradients are scaled down to this norm; inf leaves them."}
    )
    max_gradient_value: float = field(
        default=inf, validator=gt(0), metadata={"help": "Each gradient value is clipped to this size; inf leaves them."}
    )
    nonfinite: Literal["stop", "skip"] = field(
        default="stop",
        metadata={
            "help": "At a step whose loss or gradient is not finite: stop the run, its weights as they were before, or skip the "
            "step. Either way its batch is kept in the folder `faults` of the run."
        },
    )
    check_every: int = field(
        default=50, validator=ge(1), metadata={"help": "Steps from one look for such steps to the next; each waits for the device."}
    )
    callback_errors: Literal["stop", "continue"] = field(
        default="stop",
        metadata={"help": "When a callback fails: stop the run, or continue without it. A full disk never stops training."},
    )
    start: str | None = field(
        default=None,
        validator=optional(validate_path),
        metadata={
            "help": "Trained weights to begin with: a run folder, checkpoint, network folder or the name of an installed network; "
            "left out: random weights. `train --from` sets it."
        },
    )


SETTINGS: Mapping[str, type] = {
    "thresholds": Thresholds,
    "training": Training,
    "environment": Environment,
}
REQUIRED = ("data", "model", "loss")
SECTIONS = (
    "data", "thresholds", "augmentations", "model", "normalization", "loss", "optimizer", "scheduler", "training", "metrics",
    "callbacks", "environment",
)  # fmt: skip


@frozen(kw_only=True)
class Config:
    """A whole run. Components are their config objects, such as `Focal(gamma=1.5)`.

    Attributes:
        further: Components of the kinds that plugins declare, by kind; where there may be several, by label.
        names: Full names of the components by place, `{"loss": "forestgaps-losses:focal"}`, as far as they are known. They play no
            part in comparisons.
    """

    data: Any
    model: Any
    loss: Any
    normalization: Any = None
    optimizer: Any = None
    scheduler: Any = None
    metrics: Mapping[str, Any] = field(factory=dict)
    callbacks: Mapping[str, Any] = field(factory=dict)
    thresholds: Thresholds = field(factory=Thresholds)
    augmentations: Mapping[str, Any] = field(factory=dict)
    training: Training = field(factory=Training)
    environment: Environment = field(factory=Environment)
    further: Mapping[str, Any] = field(factory=dict)
    names: Mapping[str, str] = field(factory=dict, eq=False, repr=False)


def list_sections(plugins: Plugins) -> tuple[str, ...]:
    """The tables that a run file may have: those of the core, then those of the kinds that plugins declare."""
    return (*SECTIONS, *(kind for kind in plugins.further_kinds if plugins.kinds[kind].table))


def get_section(config: Config, section: str) -> Any:
    """The settings or components of a table; None where the run has none."""
    return getattr(config, section) if section in SECTIONS else config.further.get(section)


def path_exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name for this disk, or a folder that may not be looked into
        return False
