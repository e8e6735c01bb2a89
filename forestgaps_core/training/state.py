"""What the parts of a training run keep in its checkpoints, and whether what a checkpoint holds is theirs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from torch import nn

from forestgaps_core.contracts import Name, NamedErrors
from forestgaps_core.errors import CheckpointError, PluginError
from forestgaps_core.files.checkpoint import load_part
from forestgaps_core.files.state_tree import find_unstorable

TO_RESUME = ("position", "loss", "loss_sum", "optimizer", "scheduler", "schedule", "scaler")


def read_state(thing: object) -> Any:
    return thing.state_dict() if hasattr(thing, "state_dict") else None


def load_state(thing: object, state: Any) -> None:
    if state is not None and hasattr(thing, "load_state_dict"):
        thing.load_state_dict(state)


def list_further(further: Mapping[str, Any]) -> dict[str, Any]:
    """Return the components of plugins' kinds by place, such as `teacher` or `probes.first`."""
    rows = {kind: thing if isinstance(thing, dict) else {"": thing} for kind, thing in further.items()}
    return {f"{kind}.{label}" if label else kind: thing for kind, things in rows.items() for label, thing in things.items()}


def list_modules(further: Mapping[str, Any]) -> list[nn.Module]:
    return [thing for thing in list_further(further).values() if isinstance(thing, nn.Module)]


def read_plain_state(thing: object, name: Name) -> Any:
    """Refused here what would be refused when the checkpoint is read."""
    with NamedErrors(name):
        state = read_state(thing)
    if reason := find_unstorable(state):
        raise PluginError(f"{name()}: its state_dict cannot be kept, {reason}")
    return state


def evaluated_weights(callbacks: Mapping[str, object]) -> dict[str, str] | None:
    """Return which callback declares the weights that the network is evaluated with, and their key in its state.

    Raises:
        PluginError: Two callbacks declare some.
    """
    declared = {label: key for label, callback in callbacks.items() if (key := getattr(callback, "evaluated_weights", None))}
    if len(declared) > 1:
        raise PluginError(f"the callbacks {' and '.join(declared)} each keep the weights to evaluate with; remove all but one")
    for label, key in declared.items():
        if not isinstance(key, str):
            raise PluginError(f"callback {label!r}: evaluated_weights is {key!r}; name a key of its state_dict")
        return {"callback": label, "key": key}
    return None


def load_network(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Raises:
    CheckpointError: They are of another network.
    """
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint belongs to another network: {str(error).splitlines()[0]}") from error


def read_components(
    callbacks: Mapping[str, object], further: Mapping[str, Any], name: Callable[[str, object], Name]
) -> dict[str, Any]:
    """Return what callbacks and the components of plugins' kinds keep in a checkpoint, by label and by place.

    Args:
        name: Words for the component at a place of the run file.
    """
    parts = {label: read_plain_state(callback, name(f"callbacks.{label}", callback)) for label, callback in callbacks.items()}
    others = {place: read_plain_state(part, name(place, part)) for place, part in list_further(further).items()}
    return {"callbacks": parts, **({"further": others} if further else {})}


def load_components(
    state: Mapping[str, Any], callbacks: Mapping[str, object], further: Mapping[str, Any], added: Collection[str]
) -> None:
    """Load what `read_components` returned.

    Args:
        added: Labels of callbacks that were added later. One that the state does not contain starts without a state.

    Raises:
        CheckpointError: The state is of other callbacks or parts, or lacks something that a continuation needs.
    """
    known = {label: callback for label, callback in callbacks.items() if label in state["callbacks"] or label not in added}
    check_resumable(state, known, further)
    for label, callback in known.items():
        load_part(f"callback {label!r}", partial(load_state, callback), state["callbacks"][label])
    for place, part in list_further(further).items():
        load_part(place, partial(load_state, part), state["further"][place])


def check_resumable(state: Mapping[str, Any], callbacks: Mapping[str, object], further: Mapping[str, Any]) -> None:
    """Raises:
    CheckpointError: The state is of other callbacks or parts, or lacks something that a continuation needs.
    """
    unknown = set(state["callbacks"]) ^ set(callbacks)
    if unknown:
        raise CheckpointError(f"the checkpoint was made with other callbacks: {', '.join(sorted(map(str, unknown)))}")
    other = set(state.get("further", ())) ^ set(list_further(further))
    if other:
        raise CheckpointError(f"the checkpoint was made with other parts: {', '.join(sorted(map(str, other)))}")
    missing = [key for key in TO_RESUME if key not in state]
    if missing:
        raise CheckpointError(f"the checkpoint is incomplete: {', '.join(missing)} missing; it serves to map with, not to resume")
