"""Plugins that the user disabled: `forestgaps -p no:NAME`, `FORESTGAPS_DISABLE=a,b`, and `[plugins] disable` in a settings file.

A disabled plugin is not imported. It stays among the records, with who disabled it, so that whatever needs it can report that. The
processes that a command starts inherit its choice through the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from forestgaps_core.errors import ConfigError
from forestgaps_core.files.safe_opening import read_text
from forestgaps_core.plugins.names import normalize_name

DISABLE = "FORESTGAPS_DISABLE"  # names of distributions, joined by commas
SETTINGS = "FORESTGAPS_SETTINGS"  # path of the settings file; empty for none
OPTION = "no:"

_by_option: list[str] = []  # what this process was given with -p no:NAME
_sent: dict[str, str] = {}  # what came with a pickle from another process or machine


def list_disabled() -> dict[str, str]:
    """Return the normalized names of disabled distributions, each with what disabled it.

    Raises:
        ConfigError: The settings file cannot be used.
    """
    disabled = dict(_sent)
    path = find_settings_file()
    if path is not None:
        disabled |= {normalize_name(name): str(path) for name in read_disabled(path)}
    disabled |= {normalize_name(name.strip()): DISABLE for name in os.environ.get(DISABLE, "").split(",") if name.strip()}
    return disabled | {normalize_name(name): f"-p {OPTION}{name}" for name in _by_option}


def disable(names: Iterable[str]) -> Callable[[], None]:
    """Disable these distributions for this process and those it starts; returns what undoes it."""
    new, before, earlier = list(names), os.environ.get(DISABLE), list(_by_option)
    _by_option.extend(new)
    os.environ[DISABLE] = ",".join([*filter(None, [before]), *new])

    def undo() -> None:
        _by_option[:] = earlier
        if before is None:
            os.environ.pop(DISABLE, None)
        else:
            os.environ[DISABLE] = before

    return undo


def list_disable_options() -> list[str]:
    """Return the options `-p no:NAME` of this command, for command lines that messages print."""
    return [word for name in _by_option for word in ("-p", f"{OPTION}{name}")]


def accept_disabled(disabled: Mapping[str, str]) -> None:
    """Take the choice of the process that sent something here."""
    _sent.update(disabled)


# --- the settings file ------------------------------------------------------------------------------------------------


def find_settings_file() -> Path | None:
    """Return the settings file of the user, or None where there is none.

    Raises:
        ConfigError: `FORESTGAPS_SETTINGS` names a file that is not there.
    """
    chosen = os.environ.get(SETTINGS)
    if chosen is not None:
        if chosen and not Path(chosen).is_file():
            raise ConfigError(f"found {chosen!r}, which is not a file; unset it, or write the file", SETTINGS)
        return Path(chosen) if chosen else None
    path = find_settings_folder() / "settings.toml"
    return path if path.is_file() else None


def find_settings_folder() -> Path:
    home = os.path.expanduser("~")
    if sys.platform == "darwin":
        return Path(home, "Library", "Application Support", "forestgaps")
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or home, "forestgaps")
    given = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(given if os.path.isabs(given) else os.path.join(home, ".config"), "forestgaps")


def read_disabled(path: Path) -> list[str]:
    """Return the names in `[plugins] disable` of a settings file.

    Raises:
        ConfigError: It cannot be read, or has anything else in it; with every mistake.
    """
    import tomllib  # for those who have such a file only

    try:
        table = tomllib.loads(read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", str(path)) from error
    except ValueError as error:  # also what is not UTF-8
        raise ConfigError(f"is not TOML: {error}"[:300], str(path)) from error
    problems = [f"{key}: unknown table; there is: plugins" for key in table if key != "plugins"]
    plugins = table.get("plugins", {})
    if not isinstance(plugins, dict):
        raise ConfigError([*problems, "plugins: expected a table [plugins]"], str(path))
    problems += [f"plugins.{key}: unknown key; there is: disable" for key in plugins if key != "disable"]
    names = plugins.get("disable", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problems.append('plugins.disable: expected a list of names of distributions, such as ["canopy-extras"]')
    if problems:
        raise ConfigError(problems, str(path))
    return list(names)
