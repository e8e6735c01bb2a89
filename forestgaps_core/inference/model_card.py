"""The card and the other files of a model folder, which go with the network when it is written again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from forestgaps_core.errors import CheckpointError
from forestgaps_core.files.safe_opening import open_regular_file

MAX_CARD_BYTES = 1_000_000
MAX_FILE_BYTES = 50_000_000  # of another file, such as scores or a license
MAX_FILES = 100


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
    facts = facts.rpartition("Data it was trained on")[0].rstrip()
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
