"""Package and version of each part of a run or model. The recorded package is used, whatever else is installed.

Run folders, checkpoints and model folders record every component as `distribution:name`, with the version. Files of 0.1 have the
short name in their tables, and the distribution beside it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from forestgaps_core.kinds import Kind
from forestgaps_core.plugins.names import format_install_command, normalize_name
from forestgaps_core.plugins.registry import CORE, Plugins
from forestgaps_core.plugins.session import PREFIX as SESSION
from forestgaps_core.plugins.session import explain_unregistered, name_source_file
from forestgaps_core.version import __version__

log = logging.getLogger("forestgaps")
_reported: set[str] = set()
NOT_PACKAGES = ("torch", "python")  # whose versions are recorded too


def read_owners(about: Any) -> dict[str, str]:
    """Return the distribution of each place, such as `metrics.gaps`, that a checkpoint or model folder records."""
    components = about.get("components") if isinstance(about, Mapping) else None
    return {
        place: made_with["distribution"]
        for place, made_with in (components.items() if isinstance(components, Mapping) else ())
        if isinstance(made_with, Mapping) and isinstance(made_with.get("distribution"), str)
    }


def read_altered(about: Any, places: Iterable[str] | None = None) -> dict[str, str]:
    """Return the distributions that altered the components of these places, or of all, when they were built, with versions."""
    components = about.get("components") if isinstance(about, Mapping) else None
    found = components if isinstance(components, Mapping) else {}
    rows = [
        found[place].get("altered_by") for place in (found if places is None else places) if isinstance(found.get(place), Mapping)
    ]
    return {str(name): str(version) for row in rows if isinstance(row, Mapping) for name, version in row.items()}


def find_full_name(kind: str, name: str, owner: str | None, plugins: Plugins) -> str:
    """Return the full name of a component.

    A local file that is not given, or a component of a session that is not registered, is replaced by the given file that offers
    the name, since the user chose it.

    Args:
        name: As in a table that was recorded.
        owner: The distribution beside it, which decides if the name is short.
    """
    owner, _, short = name.rpartition(":") if ":" in name else (owner or "", "", name)
    if owner in ("", "unknown"):
        return plugins.current_name(kind, name)
    if (owner.endswith(".py") or owner.startswith(SESSION)) and not any(plugin.distribution == owner for plugin in plugins.records):
        given = [c.plugin.distribution for c in plugins.components(kind).get(short, ()) if c.plugin.distribution.endswith(".py")]
        owner = given[0] if len(given) == 1 else owner
    return plugins.current_name(kind, f"{owner}:{short}")


def apply_recorded_names(table: Mapping[str, Any], about: Any, plugins: Plugins, packages: Iterable[str] = ()) -> dict[str, Any]:
    """Return the tables of a run file with the full name of every component whose package is recorded.

    Args:
        about: Of a checkpoint or model folder.
        packages: With which the run was made, for what `about` does not record.
    """
    owners, used, names = read_owners(about), set(map(normalize_name, packages)), {}
    for place, kind, name in list_components(table, plugins.kinds):
        offers = [c for c in plugins.components(kind).get(name, ()) if normalize_name(c.plugin.distribution) in used]
        owner = owners.get(place) or (offers[0].plugin.distribution if len(offers) == 1 else None)
        names[place] = find_full_name(kind, name, owner, plugins)
    known = {*owners.values(), *packages}
    for key, row in table.items():
        for place, name in list_inner_names(row, key, known) if isinstance(row, Mapping) else ():
            kinds = (kind for kind in plugins.kinds if name.rpartition(":")[2] in plugins.components_and_aliases(kind))
            names.setdefault(place, find_full_name(next(kinds, "loss"), name, None, plugins))

    def named(value: Any, place: str) -> Any:
        if isinstance(value, list | tuple):
            return [named(item, f"{place}[{number}]") for number, item in enumerate(value)]
        if not isinstance(value, Mapping):
            return value
        rows = {key: named(row, f"{place}.{key}" if place else key) for key, row in value.items()}
        return {**rows, "name": names[place]} if place in names else rows

    changed: dict[str, Any] = named(table, "")
    return changed


def list_components(table: Mapping[str, Any], kinds: Mapping[str, Kind]) -> Iterable[tuple[str, str, str]]:
    """Yield place, kind and name of the components of a run file."""
    for kind, about in kinds.items():
        value = table.get(kind)
        if not isinstance(value, Mapping):
            continue
        rows = {f"{kind}.{label}": row for label, row in value.items()} if about.several else {kind: value}
        for place, row in rows.items():
            if isinstance(row, Mapping) and isinstance(row.get("name"), str):
                yield place, kind, row["name"]


def list_inner_names(value: Any, place: str, known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield place and full name of the components inside the components of a resolved run file.

    Args:
        known: Distributions that the run was made with. A setting `name` that begins with none of them is not a component's.
    """
    rows = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, row in rows:
        inner = f"{place}.{key}" if isinstance(value, Mapping) else f"{place}[{key}]"
        name = row.get("name") if isinstance(row, Mapping) else None
        if isinstance(name, str) and name.rpartition(":")[0] in known:
            yield inner, name
        yield from list_inner_names(row, inner, known)


def find_section(place: str) -> str:
    """Return the table of a run file that a place such as `model.inner` is in."""
    return re.split(r"[.\[]", place)[0]


# --- what is missing --------------------------------------------------------------------------------------------------


def explain_missing(owners: Iterable[str], versions: Mapping[str, Any], plugins: Plugins, folder: Path | None = None) -> str:
    """Return one sentence about packages that are needed and not there, with the command that installs them, or ''.

    Args:
        owners: Distributions that are needed.
        versions: Those that were recorded.
        folder: Of the run, whose copies of local files serve.
    """
    known = {normalize_name(plugin.distribution): plugin for plugin in plugins.records}
    absent, broken, files, parts = [], [], [], list[str]()
    for owner in dict.fromkeys(owners):
        version = str(versions.get(owner, ""))
        plugin = known.get(normalize_name(owner))
        if owner in (CORE, "unknown"):
            continue
        if plugin is None and owner.startswith(SESSION):
            copy = folder / "plugins" / name_source_file(owner, version) if folder is not None else None
            parts.append(explain_unregistered(owner, str(copy) if copy is not None and copy.is_file() else ""))
        elif plugin is None and owner.endswith(".py"):
            files.append(owner)
        elif plugin is None:
            absent.append((owner, version))
        elif not plugin.usable:
            broken.append(f"{plugin} {plugin.explain_failure()}")
    if absent:
        named = " and ".join(f"{owner} {version}".strip() for owner, version in absent)
        commands = [format_install_command(owner, version).removeprefix("; pip install ") for owner, version in absent]
        command = f": pip install {' '.join(commands)}" if all(commands) else ""
        parts.append(f"{named} {'is' if len(absent) == 1 else 'are'} not installed{command}")
    for file in files:
        copy = folder / "plugins" / file if folder is not None else None
        given = f"; if you trust it, give its copy: -p {copy}" if copy is not None and copy.is_file() else "; give it with -p"
        parts.append(f"the local file {file} is not given{given}")
    return "; ".join([*parts, *broken])


# --- other versions ---------------------------------------------------------------------------------------------------


def list_other_versions(versions: Mapping[str, Any], there: Mapping[str, str]) -> list[str]:
    """Return 'NAME 0.2 (made with 0.1)' for each package that is there in another version than was recorded."""
    return [
        f"{name} {version} (made with {versions[name]})"
        for name, version in there.items()
        if name in versions and str(versions[name]) not in (version, "unknown")
    ]


def read_versions(about: Any, places: Iterable[str] | None = None) -> dict[str, str]:
    """Return the versions of the distributions that a checkpoint or model folder records, of all places or of these."""
    components = about.get("components") if isinstance(about, Mapping) else None
    found = components if isinstance(components, Mapping) else {}
    chosen = [found.get(place) for place in (found if places is None else places)]
    owners = {
        str(made_with["distribution"]): str(made_with.get("version", "unknown"))
        for made_with in chosen
        if isinstance(made_with, Mapping) and isinstance(made_with.get("distribution"), str)
    }
    return {**owners, **read_altered(about, places)}


def warn_of_other_versions(path: Path | str, versions: Mapping[str, Any], plugins: Plugins, doing: str) -> None:
    """Print a warning where packages are there in other versions than those recorded."""
    there = {plugin.distribution: plugin.version for plugin in plugins.records if plugin.usable}
    there |= {CORE: __version__, **({"torch": str(torch.__version__)} if (torch := sys.modules.get("torch")) else {})}
    if (found := list_other_versions(versions, there)) and (sentence := f"{path}: {doing}: {', '.join(found)}") not in _reported:
        _reported.add(sentence)
        log.warning("%s: %s with %s; results may differ", path, doing, ", ".join(found))


def warn_of_other_alterations(path: Path | str, about: Mapping[str, Any], now: Mapping[str, Any], doing: str) -> None:
    """Print a warning where a component is altered by packages that did not alter it when the checkpoint was written."""
    for place in now.get("components", {}):
        before, here = read_altered(about, [place]), read_altered(now, [place])
        if new := [f"{name} {version}" for name, version in here.items() if name not in before]:
            log.warning("%s: %s with %s altered by %s; results may differ", path, doing, place, " and ".join(new))
