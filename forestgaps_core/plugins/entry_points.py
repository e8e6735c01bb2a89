"""The entry points of installed plugins, read from the folders of `sys.path`.

`importlib.metadata` reads the same files. It imports the e-mail parser and parses the entry points of every installed package,
which would take a tenth of the start-up. It still reads what is not a plain folder `NAME-VERSION.dist-info`: eggs, archives, and
the packages of other finders.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import reduce
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any

from attrs import frozen

from forestgaps_core.plugins.names import normalize_name


@frozen
class EntryPoint:
    """An entry point, and what the metadata of its distribution contain.

    Attributes:
        name: Of the entry point.
        value: `module`, or `module:attribute`.
        distribution: Normalized name; "~..." for what pip left of a package that it could not remove.
        version: "?" if the metadata are missing or incomplete.
        requires: Requirements of the distribution.
    """

    name: str
    value: str
    distribution: str
    version: str = "?"
    requires: Sequence[str] = ()

    def load(self) -> Any:
        """Import the module and return what the entry point names."""
        module, _, attributes = self.value.partition("[")[0].partition(":")
        return reduce(getattr, filter(None, attributes.strip().split(".")), import_module(module.strip()))


def read_entry_points(group: str) -> list[EntryPoint]:
    """Return the entry points of a group, of the first distribution of each name in `sys.path`."""
    others = [finder for finder in sys.meta_path if finder is not PathFinder and hasattr(finder, "find_distributions")]
    try:
        if not others:
            return list(read_folders(group))
    except LookupError:
        pass
    return list(read_metadata(group))


def read_folders(group: str) -> Iterator[EntryPoint]:
    """Yield the entry points in folders `NAME-VERSION.dist-info`.

    Raises:
        LookupError: `sys.path` has a distribution in another form.
    """
    seen: set[str] = set()
    for place in dict.fromkeys(sys.path):
        try:
            folders = sorted(os.listdir(place or "."))
        except FileNotFoundError:
            continue
        except NotADirectoryError as error:
            raise LookupError(place) from error
        except OSError:
            continue
        if place.endswith(".egg"):
            raise LookupError(place)
        for folder in folders:
            if not folder.endswith((".dist-info", ".egg-info")):
                continue
            name = normalize_name(folder.rpartition(".")[0].partition("-")[0])
            if name in seen:
                continue
            seen.add(name)
            path = os.path.join(place, folder)
            points = [*parse_entry_points(read_if_present(os.path.join(path, "entry_points.txt")), group)]
            if points and folder.endswith(".egg-info"):
                raise LookupError(path)
            if points:
                headers = parse_headers(read_if_present(os.path.join(path, "METADATA")))
                yield from add_metadata(points, folder, headers)


def read_if_present(path: str) -> str:
    """Return the text of a file; '' if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def parse_entry_points(text: str, group: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each entry point of a group in a file `entry_points.txt`."""
    section = ""
    for line in map(str.strip, text.splitlines() if group in text else ()):
        if line.startswith("[") and line.endswith("]"):
            section = line.strip("[]")
        elif section == group and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def parse_headers(text: str) -> dict[str, list[str]]:
    """Return the values of each header in a file `METADATA`, by name in lower case."""
    headers: dict[str, list[str]] = {}
    last: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            break  # the description follows
        if line[0].isspace() and last:  # the value of the line before continues
            last[-1] = f"{last[-1]} {line.strip()}"
            continue
        name, _, value = line.partition(":")
        last = headers.setdefault(name.lower(), [])
        last.append(value.strip())
    return headers


def add_metadata(points: Sequence[tuple[str, str]], folder: str, headers: dict[str, list[str]]) -> Iterator[EntryPoint]:
    """Yield entry points with the metadata of their distribution.

    Args:
        folder: Name of the folder of metadata. It exists without METADATA too, and shows what pip could not remove.
    """
    (distribution, *_), (version, *_) = (headers.get(key) or [""] for key in ("name", "version"))
    for name, value in points:
        if folder.startswith("~") or not distribution:
            distribution = folder.rpartition(".")[0].partition("-")[0] or name
        yield EntryPoint(name, value, normalize_name(distribution), version or "?", headers.get("requires-dist", ()))


def read_metadata(group: str) -> Iterator[EntryPoint]:
    """Yield the entry points that `importlib.metadata` finds."""
    import importlib.metadata

    for point in importlib.metadata.entry_points(group=group):
        distribution = point.dist
        headers: dict[str, list[str]] = {}
        folder = os.path.basename(str(getattr(distribution, "_path", "")))
        try:
            metadata = distribution.metadata  # type: ignore[union-attr]
            headers = {"name": [metadata["Name"] or ""], "version": [metadata["Version"] or ""]}
            headers["requires-dist"] = list((distribution and distribution.requires) or ())
        except Exception:  # of a finder of another package
            pass
        yield from add_metadata([(point.name, point.value)], folder, headers)
