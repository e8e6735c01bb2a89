"""What a run folder holds beside checkpoints and logs: the resolved run file, versions, and local code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from forestgaps_core.config.reading import read_config
from forestgaps_core.config.run_file import Config
from forestgaps_core.config.toml_files import read_table
from forestgaps_core.config.writing import find_plugins
from forestgaps_core.errors import ConfigError, MissingPackageError
from forestgaps_core.files.atomic import write_text
from forestgaps_core.files.drafts import discard_draft, new_folder
from forestgaps_core.files.safe_opening import read_bytes, read_json
from forestgaps_core.inference.model_lookup import RUN_FILE
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.local_files import compute_digest
from forestgaps_core.plugins.provenance import (
    NOT_PACKAGES,
    apply_recorded_names,
    explain_missing,
    list_components,
    list_inner_names,
    read_altered,
    read_versions,
)
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.plugins.session import name_source_file
from forestgaps_core.runs.added_callbacks import add_callbacks
from forestgaps_core.runs.builder import BuiltRun

VERSIONS, HISTORY = "versions.json", "versions_history.json"


def write_run_folder(run: BuiltRun, folder: Path, plugins: Plugins) -> None:
    """The resolved run file, the versions it ran with, and local plugin code: enough to run it again. All of it, or no folder."""
    import tomli_w

    local = [plugin.path for plugin in plugins.records if plugin.path is not None and plugin.path.is_file()]
    texts = list_session_sources(run, plugins)
    contents = (RUN_FILE, VERSIONS, *(escape(f"plugins/{name}") for name in (*(path.name for path in local), *texts)))
    with new_folder(folder, purpose="train", contents=contents) as draft:
        (draft / RUN_FILE).write_text(tomli_w.dumps(run.trainer.about["config"]), encoding="utf-8")
        (draft / VERSIONS).write_text(json.dumps(list_versions(run, plugins), indent=2) + "\n", encoding="utf-8")
        for path in local:
            (draft / "plugins").mkdir(exist_ok=True)
            shutil.copyfile(path, draft / "plugins" / path.name)
        for name, text in texts.items():
            (draft / "plugins").mkdir(exist_ok=True)
            (draft / "plugins" / name).write_text(text, encoding="utf-8")


def list_session_sources(run: BuiltRun, plugins: Plugins) -> dict[str, str]:
    """Return the source texts of the components of this session that a run uses, by the names of their files."""
    used = find_plugins(run.config, plugins).values()
    return {name_source_file(plugin.distribution, plugin.version): plugin.source for plugin in used if plugin.source}


def list_versions(run: BuiltRun, plugins: Plugins) -> dict[str, str]:
    """Return what this process runs it with: versions of the core, of torch and of the packages that it uses."""
    used = find_plugins(run.config, plugins)
    packages = {**{name: plugin.version for name, plugin in used.items()}, **read_altered(run.trainer.about)}
    versions = {**run.trainer.about["versions"], **dict(sorted(packages.items()))}
    if start := run.trainer.about.get("start"):
        versions[f"weights of {start['place']}"] = f"sha256:{start['sha256']}"
    return versions


def record_versions(run: BuiltRun, folder: Path, plugins: Plugins) -> None:
    """Write the versions that a run is resumed with, where they are others; `versions_history.json` keeps the earlier ones."""
    before, now = read_recorded_versions(folder), list_versions(run, plugins)
    if before == now:
        return
    try:
        history = read_json(folder / HISTORY)
    except (OSError, ValueError):
        history = []
    trainer = run.trainer
    earlier = {"versions": before, "until": {"epoch": trainer.epoch, "step": trainer.step}}
    write_text(folder / HISTORY, json.dumps([*(history if isinstance(history, list) else []), earlier], indent=2) + "\n")
    write_text(folder / VERSIONS, json.dumps(now, indent=2) + "\n")
    for name, text in list_session_sources(run, plugins).items():
        (folder / "plugins").mkdir(exist_ok=True)
        write_text(folder / "plugins" / name, text)
    for plugin in plugins.records:
        copy = folder / "plugins" / plugin.path.name if plugin.path is not None and plugin.path.is_file() else None
        if copy is None or plugin.path is None or (copy.is_file() and read_bytes(copy) == read_bytes(plugin.path)):
            continue
        if copy.is_file():  # the code that the earlier epochs were trained with
            kept = copy.parent / "earlier" / f"{copy.stem}-{compute_digest(read_bytes(copy))}.py"
            kept.parent.mkdir(exist_ok=True)
            copy.rename(kept)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(plugin.path, copy)


def read_run_config(
    folder: Path, plugins: Plugins, about: Mapping[str, Any] | None = None, *, changes: Sequence[str] = ()
) -> Config:
    """The config of a run folder.

    Args:
        about: Of a checkpoint of the run, which records the package of each component.
        changes: Add callbacks, such as `callbacks.norms.name=monitor`.

    Raises:
        MissingPackageError: Packages that the run needs are not installed: one sentence.
        ConfigError: With, besides the mistakes, the packages the run was made with.
    """
    path, versions = folder / RUN_FILE, read_recorded_versions(folder)
    table = apply_recorded_names(read_table(path), about, plugins, versions)
    names = [name for _, _, name in list_components(table, plugins.kinds)]
    names += [name for place, row in table.items() for _, name in list_inner_names(row, place, versions)]
    needed = [name.rpartition(":")[0] for name in names if ":" in name]
    if len(needed) < len(names):  # a run of 0.1 without a checkpoint: all that it was made with may be needed
        needed += [name for name in versions if name not in NOT_PACKAGES and not name.startswith("weights of ")]
    needed += read_altered(about)
    if sentence := explain_missing(needed, {**versions, **read_versions(about)}, plugins, folder):
        raise MissingPackageError(f"the run {folder} cannot be used: {sentence}")
    try:
        return read_config(add_callbacks(table, changes), plugins, source=str(path))
    except ConfigError as error:
        made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
        note = f"the run was made with {made_with}" if made_with else "the run does not record what it was made with"
        raise ConfigError([*error.problems, note], error.source) from error


def read_recorded_versions(folder: Path) -> dict[str, str]:
    """Return what `versions.json` of a run folder records; nothing where it cannot be read."""
    try:
        versions = read_json(folder / VERSIONS)
        return {str(name): version for name, version in versions.items() if isinstance(version, str)}
    except (OSError, ValueError, AttributeError):
        return {}


def refuse_folder(folder: Path) -> None:
    """Raises:
    ConfigError: The run folder exists, or its place cannot be written to.
    """
    if folder.exists():
        discard_draft(folder)
        raise ConfigError(
            f"the run folder {folder} exists; give another, or resume it: {format_command('train', '--resume', folder)}", "train"
        )
    parent = next(place for place in folder.absolute().parents if place.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        what = "cannot be written to" if parent.is_dir() else "is not a folder"
        raise ConfigError(f"the run folder {folder} cannot be made: {parent} {what}; give another", "train")
