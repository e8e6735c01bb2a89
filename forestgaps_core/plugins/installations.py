"""Installed packages that discovery cannot see, or sees only in part: an entry-point group with a typo, an interrupted uninstall.

Looked for by `forestgaps plugins list` and `check`, and not at each start.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from attrs import frozen

from forestgaps_core.plugins.hook_checks import CORE
from forestgaps_core.plugins.loading import GROUP
from forestgaps_core.plugins.names import format_install_command, normalize_name

ALIKE = 0.8  # from which a name of a group is taken for a typo of ours
MAX_BYTES = 1_000_000  # of a file that is read


@frozen
class Information:
    """A folder `NAME-VERSION.dist-info`."""

    folder: Path
    name: str  # of the folder, normalized
    version: str

    def text(self, file: str) -> str | None:
        """Return what a file of it holds, or None without it."""
        try:
            with open(self.folder / file, encoding="utf-8", errors="replace") as stream:
                return stream.read(MAX_BYTES)
        except OSError:
            return None

    @property
    def groups(self) -> list[str]:
        return re.findall(r"^\s*\[([^\]\n]+)\]\s*$", self.text("entry_points.txt") or "", re.MULTILINE)

    @property
    def ours(self) -> bool:
        """Whether it is a plugin, or depends on the core."""
        requires = re.findall(r"^Requires-Dist:\s*([\w.-]+)", self.text("METADATA") or "", re.MULTILINE)
        return self.name.startswith("forestgaps") or GROUP in self.groups or CORE in map(normalize_name, requires)


def find_damaged_installations(path: Sequence[str] | None = None) -> list[str]:
    """Return a sentence about each package in the folders of `sys.path` that is there only in part, or cannot be seen."""
    sentences: list[str] = []
    seen: dict[str, Information] = {}
    for information in read_installations(sys.path if path is None else path):
        sentences += list_problems(information)
        if information.text("METADATA") and information.ours:
            first = seen.setdefault(information.name, information)
            if first is not information and first.folder.parent == information.folder.parent:
                sentences.append(
                    f"{information.name} is installed twice, {first.folder} and {information.folder.name}; reinstall it"
                )
    return sentences


def read_installations(path: Sequence[str]) -> Iterator[Information]:
    for place in dict.fromkeys(path):
        folder = Path(place or ".")
        try:
            entries = sorted(entry for entry in folder.iterdir() if entry.name.endswith(".dist-info") and entry.is_dir())
        except OSError:  # an archive, or a folder that is not there
            continue
        for entry in entries:
            name, _, version = entry.name.removesuffix(".dist-info").partition("-")
            yield Information(entry, normalize_name(name), version)


def list_problems(information: Information) -> Iterator[str]:
    folder, name = information.folder, information.name
    again = (
        format_install_command(name, information.version).replace("pip install", "pip install --force-reinstall").removeprefix("; ")
    )
    if name.startswith("~"):  # how pip renames what it is about to remove
        yield f"{folder} is what pip left of a package that it could not remove, and is not used; remove the folder"
        return
    if not information.text("METADATA"):
        yield (
            f"{folder} has no METADATA, as after an interrupted uninstall: {name} is not seen as installed. Remove the folder, or "
            f"reinstall the package{f': {again}' if again else ''}"
        )
        return
    for group in information.groups:
        if group != GROUP and is_similar_group(group):
            yield (
                f"{name} {information.version} has entry points in the group {group!r}, which is not read; the group of plugins is "
                f"{GROUP!r}: change its pyproject.toml and reinstall it"
            )
    if not information.ours:
        return
    record = information.text("RECORD")
    if record is None:
        yield f"{folder} has no RECORD, so pip can neither upgrade nor remove {name}; reinstall it{f': {again}' if again else ''}"
        return
    files = [row[0] for row in csv.reader(record.splitlines()) if row]
    gone = [file for file in files if not file.endswith(".pyc") and not (folder.parent / file).exists()]
    if gone:
        yield (
            f"{name} {information.version}: {len(gone)} of its {len(files)} files are missing, such as {gone[0]}; "
            f"reinstall it{f': {again}' if again else ''}"
        )


def is_similar_group(group: str) -> bool:
    """Whether the name of an entry-point group may be meant for plugins of this program."""
    letters = re.sub(r"[^a-z]", "", group.lower())
    return "forestgap" in letters or SequenceMatcher(None, letters, GROUP).ratio() >= ALIKE
