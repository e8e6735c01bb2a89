"""Files and folders that are there whole or not at all, and never in the place of others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forestgaps_core.errors import DataError, DiskError
from forestgaps_core.writing import free_at, size, sync_file, sync_folder, told

# Whose errors, some of no public class, tell in words only why GDAL could not write. None comes from reading: that says DataError.
WRITERS = ("pyogrio", "rasterio")


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """A temporary file of the same name that takes its place when the block ends, and vanishes on any error.

    Raises:
        DataError: `out` exists.
        DiskError: It could not be written.
    """
    with new_folder(out) as folder:
        yield folder / out.name  # formats look at the suffix, and GeoPackage names itself by it


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name when the block ends, or gives it to a file in it called the same.

    Raises:
        DataError: `out` exists.
        DiskError: It could not be written.
    """
    refuse_existing(out)
    temporary = out.parent / f".{out.name}.{os.getpid()}.partial"
    made = [parent for parent in out.absolute().parents if not parent.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        refuse_existing(out)
        for path in temporary.rglob("*"):
            if path.is_file():
                sync_file(path)
        alone = temporary / out.name
        if alone.is_file():
            alone.replace(out)
        else:
            temporary.replace(out)
        sync_folder(out.parent)
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith(WRITERS):
            raise
        raise DiskError(sentence(out, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            for parent in made:
                if parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()


def sentence(out: Path, error: Exception) -> str:
    after = "nothing was left behind"
    if isinstance(error, OSError) and error.errno is not None:
        return told(out, error, after=after)
    free = free_at(out)
    room = "an unknown amount" if free is None else size(free)
    return f"{out} could not be written: {' '.join(str(error).split())[:300]} ({room} free on its disk); {after}"


def refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise DataError(f"{out}: exists already; nothing is overwritten, so give another name or remove this one")
