"""Components that an option of a command chooses by name, with settings such as `--set onnx.opset=18`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import frozen

from forestgaps_core.config.converter import structure_config, unstructure
from forestgaps_core.config.mistakes import format_key, limit_mistakes
from forestgaps_core.config.overrides import apply_overrides
from forestgaps_core.errors import ConfigError, PluginError, nearest
from forestgaps_core.kinds import BuildContext
from forestgaps_core.plugins.registry import ComponentOffer, Plugins


@frozen(eq=False)
class ChosenComponent:
    """A component, with the settings that the user gave."""

    component: ComponentOffer
    config: Any
    plugins: Plugins

    @property
    def words(self) -> str:
        return self.component.words

    def build(self, arguments: Mapping[str, Callable[[], Any]] | None = None) -> Any:
        """Build it through the hook `forestgaps_build`.

        Raises:
            PluginError: It cannot be built; the message names the package.
        """
        from forestgaps_core.contracts import NamedErrors

        context = BuildContext(self.component.kind, arguments or {})
        with NamedErrors(lambda: f"{self.words}{context}"):
            built = self.plugins.build(self.component.kind, self.component.full_name, self.config, context)
            if built is None:
                raise PluginError(f"{self.words}{context} made nothing. Let build return what its settings describe")
        return built

    def describe(self) -> dict[str, Any]:
        """Return full name, version and settings, for records in files."""
        version = self.component.plugin.version
        return {"name": self.component.full_name, "version": version, "settings": unstructure(self.config)}


def choose_components(
    kind: str, names: Iterable[str], settings: Iterable[str], plugins: Plugins, *, command: str
) -> list[ChosenComponent]:
    """Return the components of these names, in their order, each with its settings.

    Args:
        names: May be written `distribution:name`.
        settings: Such as `onnx.opset=18`; the first word is one of the names.
        command: Named in errors.

    Raises:
        ConfigError: With every mistake found.
    """
    tables = apply_overrides({}, settings)
    chosen: dict[str, ChosenComponent] = {}
    problems = []
    for name in names:
        short = name.rpartition(":")[2]
        given = tables.get(short, {})
        try:
            component = plugins.component(kind, name)
            config, mistakes = structure_config(given, component.load(), (short,))
        except PluginError as error:
            problems.append(str(error))
            continue
        if short in chosen:
            mistakes.append(f"{name} is named twice; name each {kind} once")
        chosen[short] = ChosenComponent(component, config, plugins)
        problems += mistakes
    known = [name.rpartition(":")[2] for name in names]
    for name in tables:
        if name not in known:
            option = plugins.kinds[kind].how.format(name)
            problems.append(f"--set {format_key(name)}: {option} is not chosen{nearest(name, known)}. Add {option}")
    if problems:
        raise ConfigError(limit_mistakes(problems), command)
    return list(chosen.values())
