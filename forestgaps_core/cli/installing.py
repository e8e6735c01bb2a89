"""The command that installs packages into the environment in which this process runs, whichever program made it.

pipx marks its environments with `pipx_metadata.json`, uv those of its tools with `uv-receipt.toml`, Python virtual ones with
`pyvenv.cfg`, and package managers of operating systems their Python with `EXTERNALLY-MANAGED` (PEP 668).
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from forestgaps_core.config.toml_files import read_table
from forestgaps_core.errors import ConfigError, PluginError, shorten
from forestgaps_core.plugins.hook_checks import CORE
from forestgaps_core.plugins.names import normalize_name

KEPT_BY_UV = {"requirements", "entrypoints", "python"}  # what is known of a receipt; anything else would be lost


def read_packages(texts: Sequence[str]) -> dict[str, str]:
    """Return what is to be installed by its normalized name, or by its path where it is a folder.

    Raises:
        ConfigError: Something is neither the name of a package, with or without extras and versions, nor the folder of one.
    """
    packages: dict[str, str] = {}
    problems = []
    for text in texts:
        try:
            key, package = read_package(text)
        except (ValueError, OSError) as error:
            problems.append(f"{shorten(text)!r}: {error}")
            continue
        if key in packages:
            problems.append(f"{shorten(text)!r}: this package is given twice")
        packages[key] = package
    if problems:
        raise ConfigError(problems, "plugins install")
    return packages


def read_package(text: str) -> tuple[str, str]:
    if "://" not in text and ("/" in text or "\\" in text or text.startswith(".")):
        folder = Path(text).resolve()
        if not (folder / "pyproject.toml").is_file():
            raise ValueError("no folder with a pyproject.toml")
        return str(folder), str(folder)
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise ValueError("expected the name of a package, such as forestgaps-losses or 'forestgaps-losses>=0.1'") from None
    if requirement.url or requirement.marker:
        raise ValueError("expected a name without address and marker")
    if normalize_name(requirement.name) == CORE:
        raise ValueError("this is the program itself, not a plugin")
    return normalize_name(requirement.name), str(requirement)


def compose_install_command(packages: Mapping[str, str], prefix: Path) -> list[str]:
    """Return program and arguments that install packages into the environment in the folder `prefix`, that of this process.

    Raises:
        PluginError: Nothing may be installed there, or not without losing something.
    """
    if (prefix / "pipx_metadata.json").is_file():
        return ["pipx", "inject", prefix.name, *packages.values()]
    receipt = prefix / "uv-receipt.toml"
    if receipt.is_file():
        return compose_uv_command(packages, receipt)
    mark = find_managed_mark()
    if mark.is_file() and not (prefix / "pyvenv.cfg").is_file():
        raise PluginError(
            f"{prefix} is externally managed: only the package manager that it belongs to may install there ({mark}). "
            "Make an environment with `python3 -m venv forestgaps-env`, and install forestgaps and its plugins in it"
        )
    if find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", *packages.values()]
    return ["uv", "pip", "install", "--python", sys.executable, *packages.values()]


def find_managed_mark() -> Path:
    return Path(sysconfig.get_path("stdlib", sysconfig.get_default_scheme()), "EXTERNALLY-MANAGED")


def compose_uv_command(packages: Mapping[str, str], receipt: Path) -> list[str]:
    """Return the command that installs a tool of uv again, with what its receipt lists: uv removes what is not named again.

    Raises:
        PluginError: The receipt lists what this command would lose.
    """
    try:
        tool = read_table(receipt)["tool"]
        if unknown := sorted({*tool} - KEPT_BY_UV):
            raise ValueError(f"it has the option {unknown[0]!r}")
        (_, option, program), *others = map(read_uv_requirement, tool["requirements"])
        options = ["--python", str(tool["python"])] if "python" in tool else []
    except (AttributeError, ConfigError, KeyError, TypeError, ValueError) as error:
        again = shlex.join(word for package in packages.values() for word in ("--with", package))
        raise PluginError(
            f"{receipt}: how uv installed forestgaps cannot be repeated from it ({type(error).__name__}: {error}). Repeat your own "
            f"`uv tool install` with {again} added"
        ) from error
    words = ["uv", "tool", "install", *options, *(["--editable"] if option == "--with-editable" else []), program]
    kept = [(option, package) for name, option, package in others if name not in packages and package not in packages]
    for option, package in [*kept, *(("--with", package) for package in packages.values())]:
        words += [option, package]
    return words


def read_uv_requirement(requirement: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return name, option and value of one package in a receipt.

    Raises:
        ValueError: It is from an address, or from anything else that is not known.
    """
    if unknown := sorted({*requirement} - {"name", "extras", "specifier", "directory", "editable"}):
        raise ValueError(f"{requirement.get('name')} has {unknown[0]!r}")
    name = normalize_name(requirement["name"])
    extras = f"[{','.join(requirement['extras'])}]" if "extras" in requirement else ""
    if "editable" in requirement:
        return name, "--with-editable", f"{requirement['editable']}{extras}"
    if "directory" in requirement:
        return name, "--with", f"{requirement['directory']}{extras}"
    return name, "--with", f"{requirement['name']}{extras}{requirement.get('specifier', '')}"


def run_install_command(words: Sequence[str]) -> int:
    """Run the command, without a shell, and return its exit status.

    Raises:
        PluginError: Its program is not found.
    """
    program = shutil.which(words[0])
    if program is None:
        raise PluginError(f"{words[0]} is needed to install into this environment, and is not on the PATH")
    status = subprocess.run([program, *words[1:]], check=False).returncode
    return status if status >= 0 else 128 - status  # ended by a signal
