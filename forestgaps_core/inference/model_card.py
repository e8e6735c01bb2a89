"""Model cards (README.md), and the other files of a model folder, which go with the network when it is written again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from forestgaps_core.errors import CheckpointError
from forestgaps_core.files.safe_opening import open_regular_file
from forestgaps_core.plugins.command_lines import format_command

MAX_CARD_BYTES = 1_000_000
MAX_FILE_BYTES = 50_000_000  # of another file, such as scores or a license
MAX_FILES = 100
TO_ADD = "Before you publish it, add here: training data, scores, known failures, and license."


def read_card(path: Path) -> str | None:
    """Return the card of a model folder; None if it has none.

    Raises:
        CheckpointError: It is not a text of at most `MAX_CARD_BYTES`.
    """
    if not path.is_file():
        return None
    try:
        with open_regular_file(path) as file:
            content = file.read(MAX_CARD_BYTES + 1)
        if len(content) > MAX_CARD_BYTES:
            raise CheckpointError(f"{path} has more than {MAX_CARD_BYTES:,} bytes. Shorten it, or move it out of the folder")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as text ({error}). Repair it, or move it out of the folder") from error


def make_changed_card(facts: str, original: str) -> str:
    """Return the card of a network that was changed: its own facts, then the card of the network it was made from."""
    facts = facts.removesuffix(f"{TO_ADD}\n").rstrip()
    note = (
        "Its weights or calibration were changed. What follows is the card of the network it was made from, with the scores, the\n"
        "file size and the checksum of that network."
    )
    return f"{facts}\n\n{note}\n\n---\n\n{original.rstrip()}\n"


def list_companion_files(folder: Path, known: Iterable[str]) -> Iterator[Path]:
    """The other regular files of a model folder; hidden ones, links and folders are not part of it.

    Raises:
        CheckpointError: One is larger than `MAX_FILE_BYTES`, or there are more than `MAX_FILES`.
    """
    known = set(known)
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]
    others = [path for path in files if path.name not in known and not path.name.startswith((".", "__"))]
    if len(others) > MAX_FILES:
        raise CheckpointError(f"{folder} contains {len(others):,} files beside its network. Move out what does not belong to it")
    for path in others:
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise CheckpointError(f"{path} has {size:,} bytes, too many for a file beside a network. Move it out of the folder")
        yield path


# --- writing --------------------------------------------------------------------------------------------------------


def format_card(
    name: str,
    summary: str,
    rows: Mapping[str, str],
    *,
    notes: Iterable[str] = (),
    options: Iterable[str] = (),
    ending: str = "",
    maps: bool = True,
) -> str:
    """Return a card in Markdown: title, summary, a table of facts, notes as a list, and the command that maps with the network.

    Args:
        name: Of the model folder.
        rows: The table; keys are its first column.
        options: Of the command, such as `--engine onnxruntime`.
        maps: Whether forestgaps maps with the network; without, there is no command.
    """
    command = format_command(
        *("predict", "dsm.tif", "--network", format_name_for_code(name), *options, "--out", "maps"), portable=True
    )
    lines = [f"# {remove_markup(name)}", "", summary, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in rows.items()]
    lines += ["", *(f"- {note}" for note in notes), ""] if notes else [""]
    lines += ["```bash", command, "```", ""] if maps else []
    return "\n".join([*lines, ending, ""] if ending else lines)


def make_default_card(name: str, plan: Mapping[str, Any]) -> str:
    """Return the card of a model folder that has no card of its own."""
    weights = plan["weights"]
    return format_card(
        name,
        "A network that maps forest canopy gaps from a digital surface model (DSM), made with forestgaps.",
        {
            "input": f"DSM in meters, pixels of {plan['resolution_m']:g} m",
            "output": f"probability that canopy is lower than a threshold; validated at {format_levels(plan)} m",
            "parameters": f"{weights['parameters']:,}, stored as {weights['stored_as']}, {weights['bytes'] / 1e6:.1f} MB",
            "needs": format_components(plan),
        },
        ending=TO_ADD,
    )


def format_levels(plan: Mapping[str, Any]) -> str:
    """Return the thresholds that the network was validated at, in meters: "2, 5, 10"."""
    return ", ".join(f"{level:g}" for level in plan["config"]["thresholds"]["values"])


def format_components(plan: Mapping[str, Any]) -> str:
    """Return the components that build the network, each with its package and version."""
    return "; ".join(
        f"{kind} `{remove_markup(about['name'])}` of {remove_markup(about['distribution'])} {remove_markup(about['version'])}"
        for kind, about in plan["components"].items()
    )


def format_name_for_code(name: str) -> str:
    """Return the name of a folder for a command in a block of Markdown, which a line break or a fence would end."""
    return remove_markup(name) if re.search(r"[\x00-\x1f\x7f`]", name) else name


def remove_markup(text: str) -> str:
    """Return a text of a file for Markdown: other characters than letters, digits and `. : + -` become `_`, at most 80."""
    return re.sub(r"[^\w.:+ -]", "_", text)[:80]
