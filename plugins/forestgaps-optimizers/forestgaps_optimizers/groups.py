"""Parameter groups: which parameters decay, and how learning rates differ between layers.

By default weights decay; norms, biases and what a loss learns do not. Every optimizer has the settings `GroupSettings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from attrs import field, frozen
from attrs.validators import and_, deep_mapping, gt, instance_of, le
from torch import Tensor, nn

from forestgaps_core.errors import ConfigError, nearest


@frozen(kw_only=True)
class GroupSettings:
    """Learning rates and weight decay by parameter.

    The schedule multiplies the learning rate of each group by the same factor.
    """

    decay_all: bool = field(
        default=False,
        metadata={"help": "Whether norms, biases and scalars decay too; by default only weights of two or more dimensions decay."},
    )
    layer_decay: float = field(
        default=1.0,
        validator=and_(gt(0), le(1)),
        metadata={
            "help": "Learning rate of a layer divided by that of the next layer; the last layer has the full rate. 1: no decay."
        },
    )
    rates: Mapping[str, float] = field(
        factory=dict,
        validator=deep_mapping(instance_of(str), and_(gt(0), le(1000))),
        metadata={
            "help": "Factors on the learning rate by pattern of parameter names, such as 'encoder.*'; those of a loss start with "
            "'loss.'. The factors of all patterns that match a parameter are multiplied."
        },
    )


DEFAULTS = GroupSettings()
GROUPS = {"help": "Learning rates and weight decay by parameter."}  # metadata of the setting


def parameter_groups(
    modules: Sequence[nn.Module], weight_decay: float, learning_rate: float | None = None, settings: GroupSettings = DEFAULTS
) -> list[dict[str, Any]]:
    """Return groups of the parameters with `requires_grad`, the highest learning rate first; those that decay before the others.

    With the default settings these are two groups: weights of two or more dimensions, which decay, and the rest (norms, biases,
    scalars), which do not. A group without parameters is left out.

    Args:
        modules: The network first. Parameters of the others, such as a loss that learns a balance, do not decay.
        learning_rate: Base rate; None leaves the rates to the optimizer and ignores those of `settings`.

    Raises:
        ConfigError: A pattern of `settings.rates` matches no parameter that is trained.
    """
    network, *others = modules
    named = list_parameters(network, others)
    factors = compute_factors(network, named, settings) if learning_rate is not None else dict.fromkeys(named, 1.0)
    weights = {id(parameter) for parameter in network.parameters() if parameter.dim() > 1 or settings.decay_all}
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, parameter in named.items():
        groups.setdefault((factors[name], id(parameter) in weights), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay if decays else 0.0,
            **({} if learning_rate is None else {"lr": learning_rate * factor}),
        }
        for (factor, decays), parameters in sorted(groups.items(), key=lambda group: group[0], reverse=True)
    ]


def list_parameters(network: nn.Module, others: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Return the parameters with `requires_grad` by name, each once; names of the others start with `loss.`."""
    named = dict(network.named_parameters())
    known = {id(parameter) for parameter in named.values()}
    for module in others:
        named |= {f"loss.{name}": parameter for name, parameter in module.named_parameters() if id(parameter) not in known}
    return {name: parameter for name, parameter in named.items() if parameter.requires_grad}


def compute_factors(network: nn.Module, named: Mapping[str, Tensor], settings: GroupSettings) -> dict[str, float]:
    """Return the factor on the learning rate of each parameter.

    Layers are the modules with parameters of their own that are trained, in the order in which the network defines them. Source:
    Clark et al. 2020, section 3, arXiv:2003.10555
    """
    layers = [layer for layer in network.modules() if any(p.requires_grad for p in layer.parameters(recurse=False))]
    depth = {id(p): place for place, layer in enumerate(reversed(layers)) for p in layer.parameters(recurse=False)}
    factors = {name: settings.layer_decay ** depth.get(id(parameter), 0) for name, parameter in named.items()}
    problems = []
    for pattern, factor in settings.rates.items():
        matching = [name for name in named if fnmatchcase(name, pattern)]
        if not matching:
            examples = ", ".join(list(named)[:3])
            problems.append(
                f"optimizer.groups.rates: {pattern!r} matches no parameter that is trained{nearest(pattern, named)}; "
                f"write a pattern of names such as {examples}"
            )
        for name in matching:
            factors[name] *= factor
    if problems:
        raise ConfigError(problems)
    return factors


def can_fuse(groups: list[dict[str, Any]]) -> bool:
    """Return whether torch has one kernel for all these parameters (a third of the default's time on a CPU)."""
    return all(p.device.type in ("cpu", "cuda", "mps") and p.is_floating_point() for group in groups for p in group["params"])
