"""What callbacks declare to change, and how `config check` finds changes that are not declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from forestgaps_core.errors import PluginError, nearest

if TYPE_CHECKING:
    from forestgaps_core.hookspecs import TrainerView

PARTS = {
    "weights": "the weights of the network",
    "model": "the layers or settings of the network",
    "gradients": "the gradients",
    "optimizer": "the optimizer",
}


def read_changes(callback: object, name: Callable[[], str]) -> frozenset[str]:
    """Return the parts of a run that a callback declares to change, its attribute `changes`.

    Raises:
        PluginError: It declares a part that does not exist.
    """
    declared = getattr(callback, "changes", ())
    if isinstance(declared, str) or not isinstance(declared, Iterable) or not all(isinstance(part, str) for part in declared):
        raise PluginError(f"{name()}: changes is {declared!r}, expected a set of: {', '.join(PARTS)}")
    for part in declared:
        if part not in PARTS:
            raise PluginError(f"{name()}: changes has {part!r}{nearest(part, PARTS)}; there is: {', '.join(PARTS)}")
    return frozenset(declared)


def check_changes(
    function: Callable[..., None], event: str, declared: frozenset[str], name: Callable[[], str]
) -> Callable[..., None]:
    """Return a function of a trainer and the arguments of `function`, which fails if a part changes that is not declared.

    It reads all weights twice, so it is for runs of a few steps.
    """

    def checked(trainer: TrainerView, *arguments: Any) -> None:
        before = compute_fingerprints(trainer)
        function(*arguments)
        after = compute_fingerprints(trainer)
        changed = [part for part in PARTS if part not in declared and before[part] != after[part]]
        if changed:
            parts = ", ".join(repr(part) for part in sorted({*declared, *changed}))
            raise PluginError(
                f"{name()} changes {' and '.join(PARTS[part] for part in changed)} at {event}, which it does not declare; "
                f"add the attribute changes = {{{parts}}} to its class"
            )

    return checked


def compute_fingerprints(trainer: TrainerView) -> dict[str, str]:
    """Return words for the state of each part that differ if the state does."""
    model, optimizer = trainer.model, trainer.optimizer
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    plain = [
        (place, {key: value for key, value in vars(module).items() if isinstance(value, bool | int | float | str | None)})
        for place, module in model.named_modules()
    ]
    flags = [(place, parameter.requires_grad) for place, parameter in model.named_parameters()]
    state = optimizer.state_dict() if optimizer is not None else {}
    groups = [
        {key: value for key, value in group.items() if not isinstance(value, Tensor)} for group in state.get("param_groups", [])
    ]
    return {
        "weights": summarize(model.state_dict().values()),
        "model": repr((plain, flags)),
        "gradients": summarize(gradients),
        "optimizer": repr(groups) + summarize(iterate_tensors(state)),
    }


def summarize(tensors: Iterable[Tensor]) -> str:
    """Return sum and norm of each tensor, in words: NaN is equal to itself in these."""
    numbers = []
    for tensor in tensors:
        wide = tensor.detach().to(torch.float32 if tensor.device.type == "mps" else torch.float64)
        numbers += [wide.sum(), torch.linalg.vector_norm(wide)]
    return repr([number.item() for number in numbers])


def iterate_tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from iterate_tensors(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from iterate_tensors(value)
