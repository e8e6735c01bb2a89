"""Files and folders that are there whole or not at all, and never in the place of others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forestgaps_core.errors import DataError


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """A temporary file of the same name that takes its place when the block ends, and vanishes on any error.

    Raises:
        DataError: `out` exists, or its folder cannot be written.
    """
    with new_folder(out) as folder:
        yield folder / out.name  # formats look at the suffix, and GeoPackage names itself by it


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name when the block ends, or gives it to a file in it called the same.

    Raises:
        DataError: `out` exists, or cannot be made.
    """
    refuse_existing(out)
    temporary = out.parent / f".{out.name}.{os.getpid()}.partial"
    made = [parent for parent in out.absolute().parents if not parent.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        raise DataError(f"{out}: cannot be made ({error.strerror})") from error
    try:
        yield temporary
        refuse_existing(out)
        alone = temporary / out.name
        if alone.is_file():
            alone.replace(out)
        else:
            temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise DataError(f"{out}: exists already; nothing is overwritten, so give another name or remove this one")
