"""The rules of a kind, checked one by one: each in a test of its own, or all at once.

    from forestgaps_core.testing import parametrize_checks

    @parametrize_checks("loss", Focal(), Focal(gamma=1.5))
    def test_contract(check):
        check()

`forestgaps plugins check` checks the same rules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from forestgaps_core.errors import nearest
from forestgaps_core.kinds import COMMAND_KINDS, KINDS, Kind
from forestgaps_core.plugins.config_forms import make_config_class, view_settings
from forestgaps_core.plugins.names import load_target
from forestgaps_core.settings import has_settings
from forestgaps_core.testing.rules import config as config_rules

if TYPE_CHECKING:
    import pytest

Rule = Callable[..., None]
CORE_KINDS: Mapping[str, Kind] = {**KINDS, **COMMAND_KINDS}


@frozen
class Check:
    """One rule for one config; calling it raises an `AssertionError` if the rule is broken."""

    rule: Rule
    config: Any
    arguments: Mapping[str, Any] = field(factory=dict)

    @property
    def name(self) -> str:
        """Name of the rule, such as `invalid_pixels`."""
        return self.rule.__name__.removeprefix("check_")

    def __call__(self) -> None:
        self.rule(self.config, **self.arguments)


def load_rules(name: str, kind: Kind) -> tuple[Rule, ...]:
    """Return the rules that a kind declares with `check`; none if it declares nothing.

    Raises:
        PluginError: What it declares cannot be imported.
        AssertionError: It is neither a function nor a sequence of functions.
    """
    if not kind.check:
        return ()
    declared = load_target(kind.check, f"the check of the kind {name!r}")
    rules = tuple(declared) if isinstance(declared, list | tuple) else (declared,)
    assert rules and all(map(callable, rules)), f"{kind.check} is not a function of a config, and not a list of such functions"
    return rules


def list_checks(kind: str, config: Any, *, known: Mapping[str, Kind] = CORE_KINDS, **arguments: Any) -> Iterator[Check]:
    """Yield a check for each rule: those for every config, then those of the kind.

    Args:
        kind: Such as "loss".
        config: A config, or a function or class with defaults for all settings.
        known: The kinds, those of plugins too.
        arguments: Of `build`, in place of stand-ins.
    """
    if inspect.isroutine(config) or isinstance(config, type):
        config = make_config_class(config, kind, known[kind])()
    for rule in (*config_rules.RULES, *load_rules(kind, known[kind])):
        yield Check(rule, config, arguments)


def check_component(kind: str, config: Any, *, known: Mapping[str, Kind] = CORE_KINDS, **arguments: Any) -> None:
    """Raise an `AssertionError` that names all rules that the component breaks."""
    broken: dict[str, list[str]] = {}
    for check in list_checks(kind, config, known=known, **arguments):
        try:
            check()
        except AssertionError as error:
            broken.setdefault(str(error), []).append(check.name)
        except Exception:
            if broken:  # the reason is among them, such as a network that is not a module
                break
            raise
    if broken:
        raise AssertionError("; ".join(f"{sentence} ({', '.join(names)})" for sentence, names in broken.items()))


def parametrize_checks(
    kind: str,
    *configs: Any,
    expected_failures: Mapping[str, str] | None = None,
    known: Mapping[str, Kind] | None = None,
    **arguments: Any,
) -> pytest.MarkDecorator:
    """Call a test with `check`, once for each rule and config.

    Args:
        kind: Such as "loss".
        configs: Of components.
        expected_failures: Reasons by the names of rules. Such a test must fail: if it passes, it is reported.
        known: Further kinds by name, which plugins declare.
        arguments: Of `build`, in place of stand-ins.

    Raises:
        ValueError: No such kind or rule.
    """
    import pytest

    kinds, expected = {**CORE_KINDS, **(known or {})}, expected_failures or {}
    if kind not in kinds:
        raise ValueError(f"kind: no kind {kind!r}{nearest(kind, kinds)}; there is: {', '.join(kinds)}")
    if not configs:
        raise ValueError(f"configs: none is given; give at least one config of a {kind}")
    checks = [check for config in configs for check in list_checks(kind, config, known=kinds, **arguments)]
    names = list(dict.fromkeys(check.name for check in checks))
    for name in expected:
        if name not in names:
            raise ValueError(f"expected_failures: no rule {name!r}{nearest(name, names)}; there is: {', '.join(names)}")
    parameters = [
        pytest.param(
            check,
            id=f"{format_config(check.config)}-{check.name}",
            marks=[pytest.mark.xfail(reason=expected[check.name], strict=True)] if check.name in expected else [],
        )
        for check in checks
    ]
    return pytest.mark.parametrize("check", parameters)


def format_config(config: Any) -> str:
    """Return class and settings that are not the default, such as `Focal(gamma=1.5)`."""
    kind = type(config)
    if not has_settings(kind):
        return kind.__name__
    settings = [
        f"{attribute.name}={value!r}"
        for attribute in attrs.fields(view_settings(kind))
        if attribute.init and (value := getattr(config, attribute.name)) != attribute.default
    ]
    return f"{kind.__name__}({', '.join(settings)})" if settings else kind.__name__


def check_config(config: Any) -> None:
    """Check a frozen class of settings, documented, with help on every field, that a run file can contain."""
    for rule in config_rules.RULES:
        rule(config)


def check_callback(config: Any, run_folder: Path) -> None:
    """Check names and arguments of the events, and that the state survives a checkpoint."""
    check_component("callbacks", config, run_folder=run_folder)


check_augmentation = partial(check_component, "augmentations")
check_exporter = partial(check_component, "exporter")
check_loss = partial(check_component, "loss")
check_metric = partial(check_component, "metrics")
check_optimizer = partial(check_component, "optimizer")
check_postprocessor = partial(check_component, "postprocessor")
check_reader = partial(check_component, "reader")
check_report_section = partial(check_component, "report_section")
check_scheduler = partial(check_component, "scheduler")
check_normalization = partial(check_component, "normalization")
check_model = partial(check_component, "model")
check_data = partial(check_component, "data")
