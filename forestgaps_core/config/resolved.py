"""What a run file results in, and where each value comes from (`config explain RUN.toml --resolved`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from forestgaps_core.config.inheritance import Place, find_lines, list_places, read_run_file
from forestgaps_core.config.mistakes import format_place
from forestgaps_core.config.overrides import apply_overrides
from forestgaps_core.config.reading import drop_changed, find_value, read_config
from forestgaps_core.config.run_file import Config
from forestgaps_core.config.writing import find_components, make_table
from forestgaps_core.files.safe_opening import read_bytes
from forestgaps_core.plugins.config_forms import view_settings
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.plugins.renamed_settings import list_old_names


def explain_resolved(path: Path, overrides: Iterable[str], plugins: Plugins) -> str:
    """Return a line for each value of a run, such as `loss.gamma = 1.5  # run.toml, line 12`.

    Raises:
        ConfigError: With every mistake of the run file.
    """
    inherited, sources = read_run_file(path)
    table = apply_overrides(inherited, overrides)
    kept = drop_changed(sources, inherited, table)
    config = read_config(table, plugins, source=str(path), folder=path.parent, sources=kept)
    lines = {file: find_lines(read_bytes(file).decode("utf-8-sig")) for file in set(kept.values())}
    written = set(list_places(table))
    old_names = list_old_places(config, plugins)

    def find_origin(place: Place) -> str:
        known = place if place in written else old_names.get(place, place)
        if (file := kept.get(known)) is None:
            return "--set" if known in written else "default"
        return f"{file}, line {lines[file][known]}" if known in lines[file] else str(file)

    resolved = make_table(config, plugins)
    return "\n".join(
        f"{format_place(place)} = {format_toml(find_value(resolved, place))}  # {find_origin(place)}"
        for place in list_places(resolved)
    )


def list_old_places(config: Config, plugins: Plugins) -> dict[Place, Place]:
    """Return the places that values had under old names of settings, by their places now."""
    components = find_components(config, plugins).items()
    return {
        (*place.split("."), new): (*place.split("."), old)
        for place, component in components
        for old, new, _ in list_old_names(view_settings(component.load()))
    }


def format_toml(value: Any) -> str:
    """Return a value on one line, as TOML has it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{format_place([key])} = {format_toml(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_toml, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)
