"""Build the components of a run through the hook `forestgaps_build`, check what they are, and note who altered them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import define, field

from forestgaps_core.config.run_file import Config
from forestgaps_core.config.writing import find_components
from forestgaps_core.contracts import NamedErrors, check_built
from forestgaps_core.errors import format_class
from forestgaps_core.kinds import USES_FURTHER_KINDS, BuildContext
from forestgaps_core.plugins.registry import ComponentOffer, Plugins

Arguments = Mapping[str, Callable[[], Any]]


@define(eq=False)
class ComponentBuilder:
    """Builds the components of one run.

    Attributes:
        components: What is offered at each place, such as `metrics.gaps`.
        altered_by: The distributions that altered the component of a place, each with its version.
    """

    config: Config
    plugins: Plugins
    components: Mapping[str, ComponentOffer] = field(init=False)
    altered_by: dict[str, dict[str, str]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.components = find_components(self.config, self.plugins)

    def build(self, kind: str, config: Any, arguments: Arguments, label: str = "") -> Any:
        """Build a component and check its contract; errors name the component, and who altered it."""
        place = f"{kind}.{label}" if label else kind
        return self.build_part(kind, config, BuildContext(place, arguments, build_part=self.build_part))

    def build_part(self, kind: str, config: Any, context: BuildContext) -> Any:
        """Build the component of a place, which may be inside another."""
        place = context.place
        name = partial(describe_build, kind, config, context)
        with NamedErrors(name):
            thing = self.plugins.build(kind, self.components[place].full_name, config, context)
        if context.altered_by:
            self.altered_by[place] = context.altered_by
        check_built(kind, thing, name)
        return thing

    def build_metrics(self, resolution_m: float) -> dict[str, Callable[[], Any]]:
        """Return for each label a function that makes a metric for one pass."""
        arguments: Arguments = {"resolution_m": lambda: resolution_m}
        makers: dict[str, Callable[[], Any]] = {
            label: partial(self.build, "metrics", config, arguments, label) for label, config in self.config.metrics.items()
        }
        if self.plugins.list_altering():  # so that checkpoints record it
            for make in makers.values():
                make()
        return makers

    def build_further(self, arguments: Arguments) -> dict[str, Any]:
        """Build the components of the kinds that plugins declare; where there may be several, by label.

        Args:
            arguments: All of `RUN_ARGUMENTS` but the label.
        """
        built: dict[str, Any] = {}
        for kind, chosen in self.config.further.items():
            about = self.plugins.kinds[kind]

            def build_one(config: Any, label: str, kind: str = kind, wanted: Mapping[str, str] = about.arguments) -> Any:
                given: Arguments = {"label": partial(str, label or kind), **arguments}
                return self.build(kind, config, {name: given[name] for name in wanted}, label)

            built[kind] = (
                {label: build_one(one, label) for label, one in chosen.items()} if about.several else build_one(chosen, "")
            )
        return built

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return name, distribution and version of the component of each place, and who altered it, for checkpoints."""
        return {
            place: {
                "name": component.name,
                "distribution": component.plugin.distribution,
                "version": component.plugin.version,
                **({"altered_by": self.altered_by[place]} if place in self.altered_by else {}),
            }
            for place, component in self.components.items()
        }


def offer_further(kind: str, arguments: Arguments, further: Mapping[str, Any]) -> Arguments:
    """Return the arguments of a component, with those of the kinds that plugins declare if it may use them."""
    return {**arguments, **{name: partial(further.get, name) for name in further}} if kind in USES_FURTHER_KINDS else arguments


def describe_build(kind: str, config: Any, context: BuildContext) -> str:
    return f"{describe_class(kind, config)}{context}"


def describe_class(kind: str, config: Any) -> str:
    return f"{kind} {format_class(type(config))}"
