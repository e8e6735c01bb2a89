"""Write a config as the tables of a run file, and list the components and plugins that it uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forestgaps_core.config.converter import unstructure
from forestgaps_core.config.run_file import SETTINGS, Config, get_section, list_sections, path_exists
from forestgaps_core.errors import PluginError
from forestgaps_core.plugins.names import format_error, full_name
from forestgaps_core.plugins.registry import ComponentOffer, Plugin, Plugins
from forestgaps_core.settings import list_inner_components


def make_table(config: Config, plugins: Plugins) -> dict[str, Any]:
    """The tables of the run file that says exactly this config, defaults included.

    Raises:
        PluginError: A component is offered by no plugin, so that no run file can name it.
    """
    table: dict[str, Any] = {}
    for section in list_sections(plugins):
        value = get_section(config, section)
        if section in SETTINGS:
            table[section] = unstructure(value)
        elif value is not None and plugins.kinds[section].several:
            table[section] = {
                label: make_component_table(section, chosen, plugins, config, label) for label, chosen in value.items()
            }
        elif value is not None:
            table[section] = make_component_table(section, value, plugins, config)
    if (start := config.training.start) is not None and not path_exists(Path(start)) and plugins.offers("network").get(start):
        table["training"]["start"] = full_name(plugins.offer("network", start))
    return table


def make_component_table(kind: str, chosen: Any, plugins: Plugins, config: Config, label: str = "") -> dict[str, Any]:
    place = f"{kind}.{label}" if label else kind
    component = plugins.component_of(kind, chosen, config.names.get(place))
    try:
        names = {
            inner: found.full_name for inner, found in find_inner_components(kind, chosen, place, plugins, config.names).items()
        }
        settings = unstructure(chosen, names, place)
    except PluginError:
        raise
    except Exception as error:  # fields may be of any type
        raise PluginError(f"{component.words}: its settings cannot be written to a run file: {format_error(error)}") from error
    if wrong := explain_unwritable(settings):
        raise PluginError(f"{component.words}: its settings cannot be written to a run file: found {wrong}")
    return {"name": component.full_name, **{key: value for key, value in settings.items() if key != "name"}}


def find_inner_components(
    kind: str, chosen: Any, place: str, plugins: Plugins, names: Mapping[str, str]
) -> dict[str, ComponentOffer]:
    """The component at a place and those inside it, by place.

    Args:
        names: Full names by place, as far as they are known.
    """
    found = {place: plugins.component_of(kind, chosen, names.get(place))}
    for inner, inner_kind, config in list_inner_components(chosen, place):
        found[inner] = plugins.component_of(inner_kind, config, names.get(inner))
    return found


def explain_unwritable(value: Any) -> str:
    """Words for the first value in a table that TOML does not have, or ''."""
    if isinstance(value, Mapping | list | tuple):
        inner = value.values() if isinstance(value, Mapping) else value
        return next((wrong for part in inner if (wrong := explain_unwritable(part))), "")
    return "" if isinstance(value, str | int | float) else f"a {type(value).__name__}"


def find_components(config: Config, plugins: Plugins) -> dict[str, ComponentOffer]:
    """The component behind each place of a config, such as `metrics.gaps` or, inside another, `loss.parts.b`."""
    found: dict[str, ComponentOffer] = {}
    for kind, about in plugins.kinds.items():
        value = get_section(config, kind)
        places = {f"{kind}.{label}": chosen for label, chosen in (value or {}).items()} if about.several else {kind: value}
        for place, chosen in places.items():
            if chosen is not None:
                found |= find_inner_components(kind, chosen, place, plugins, config.names)
    return found


def find_plugins(config: Config, plugins: Plugins) -> dict[str, Plugin]:
    """The plugins that a run needs, by distribution: those of its components, and of the network it starts from."""
    components = find_components(config, plugins).values()
    users = [*(component.plugin for component in components), *(plugins.further_kinds[kind] for kind in config.further)]
    used = {plugin.distribution: plugin for plugin in users}
    start = config.training.start
    if start is not None and not path_exists(Path(start)) and plugins.offers("network").get(start.rpartition(":")[2]):
        plugin = plugins.offer("network", start).plugin
        used[plugin.distribution] = plugin
    return used
