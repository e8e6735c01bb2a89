"""Read TOML files within limits, so that no file keeps a machine busy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forestgaps_core.config.plain_values import WHOLE
from forestgaps_core.errors import ConfigError, nearest
from forestgaps_core.files.safe_opening import read_bytes
from forestgaps_core.plugins.command_lines import format_command

# Far more than any run file has, and little enough that none keeps a machine busy; measured in docs/promises/bad-input.md.
LARGEST = 1_000_000  # bytes of a file
DEEPEST = 32  # tables and lists in one another
MOST = 10_000  # values, tables and lists
# Names joined by more dots than that take the parser time that grows with the square of their number.
MANY_DOTS = re.compile(rf"""(?:\.[ \t]*+(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+){{{DEEPEST}}}""")


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file of at most `LARGEST` bytes, `DEEPEST` levels and `MOST` values.

    Raises:
        ConfigError: There is no such file, it is not TOML, or it is more than that.
    """
    try:
        content = read_bytes(path, LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigError(f"is no run file: it has more than {LARGEST:,} bytes", str(path))
        return parse_toml(content.decode("utf-8-sig"))
    except FileNotFoundError:
        near = nearest(path.name, (other.name for other in path.parent.glob("*.toml")) if path.parent.is_dir() else ())
        raise ConfigError(f"no such file{near}", str(path)) from None
    except IsADirectoryError:
        if (path / "run.toml").is_file() and (path / "versions.json").is_file():
            hint = f"is a run folder, not a run file. To resume it: {format_command('train', '--resume', path)}"
            again = format_command("train", path / "run.toml")
            raise ConfigError(f"{hint}; to train it again: {again}", str(path)) from None
        example = f", such as {path / 'run.toml'}" if (path / "run.toml").is_file() else ""
        raise ConfigError(f"is a folder, not a run file; name a .toml file{example}", str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not TOML: byte {error.start} is not UTF-8", str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}"[:300], str(path)) from None
    except ValueError as error:
        raise ConfigError(f"is no run file: {error}", str(path)) from None


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a text in TOML.

    Raises:
        ValueError: It is not TOML, or more than a run file may be.
    """
    if many := MANY_DOTS.search(text):
        raise ValueError(f"more than {DEEPEST} names joined by dots (at line {text.count(chr(10), 0, many.start()) + 1})")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError(f"tables and lists in one another, more than {DEEPEST} deep") from None
    except ValueError:  # Python's own limit on digits
        raise ValueError(f"a whole number beyond {WHOLE}") from None
    check_extent(table)
    return table


def check_extent(table: Mapping[str, Any]) -> None:
    """Without recursion, whose depth is one of the things that are measured.

    Raises:
        ValueError: Too many values, too deep, or too large a whole number.
    """
    values: list[Any] = [table]
    count = depth = 0
    while values:
        count, depth = count + len(values), depth + 1
        if depth > DEEPEST + 1:
            raise ValueError(f"tables and lists in one another, more than {DEEPEST} deep")
        if count > MOST:
            raise ValueError(f"more than {MOST:,} values")
        if any(isinstance(value, int) and value.bit_length() > 63 for value in values):
            raise ValueError(f"a whole number beyond {WHOLE}")
        values = [
            inner
            for value in values
            if isinstance(value, Mapping | list)
            for inner in (value.values() if isinstance(value, Mapping) else value)
        ]
