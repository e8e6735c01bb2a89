"""A folder beside the result where what is finished is kept until all is.

`OUT.partial` holds one file for each finished block, and what the work is made of: inputs, settings, network. Interrupted in any
way, the same command finds it and goes on; anything else is refused. When the result is complete it becomes `OUT` in one step.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define

from forestgaps_core.errors import DataError
from forestgaps_rasters.blending import Bytes
from forestgaps_rasters.folders import finish, ran_full, size, too_full
from forestgaps_rasters.lattice import Item

WORK = "work.json"
DRAFT = ".draft"  # how names of what is not finished end
SUM = 4  # bytes of the checksum at the end of a block's file


@define(eq=False)
class WorkFolder:
    """The work on one result.

    Attributes:
        out: The result's name.
        folder: Where its parts are kept.
        room: Bytes all of it needs at most.
        made: Folders above the result that did not exist before.
        resumed: Whether an earlier process left parts of it.
    """

    out: Path
    folder: Path
    room: int
    made: tuple[Path, ...]
    resumed: bool = False

    @property
    def blocks(self) -> Path:
        return self.folder / "blocks"

    @property
    def result(self) -> Path:
        return self.folder / "result"

    def begin(self, about: Mapping[str, Any], disk: Path, *, fresh: bool) -> None:
        """Take over what is there, or start."""
        if fresh:
            for path in (self.folder / WORK, self.blocks):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(self.result, ignore_errors=True)
        self.resumed = (self.folder / WORK).is_file()
        if self.resumed:
            refuse_other(self.folder, json.loads(json.dumps(about)))
        there = sum(path.stat().st_size for path in self.blocks.rglob("*"))
        if (free := shutil.disk_usage(disk).free) < self.room - there:
            raise DataError(too_full(self.out, self.room - there, free))
        self.blocks.mkdir(exist_ok=True)
        if not self.resumed:
            write_json(self.folder / WORK, about)
        self.result.mkdir()

    def finished(self) -> set[Item]:
        """The blocks that are there."""
        names = (path.stem.split("-") for path in self.blocks.glob("*.block"))
        return {(int(down), int(right)) for down, right in names}

    def kept(self) -> int:
        """How many parts are there."""
        return sum(path.suffix != DRAFT for path in self.blocks.glob("*"))

    def keep(self, item: Item, values: Bytes | None) -> None:
        """A block is finished. It gets its name when it is whole; a process may be killed at any moment."""
        path = self.file(item)
        draft = path.with_suffix(DRAFT)
        with draft.open("wb") as file:
            if values is not None:
                content = np.ascontiguousarray(values).data
                file.write(content)
                file.write(zlib.crc32(content).to_bytes(SUM, "little"))
        draft.replace(path)

    def block(self, item: Item, shape: tuple[int, int, int]) -> Bytes | None:
        """A finished block, (K, h, w); None where it has no data.

        Raises:
            DataError: Its file does not hold what was written, as after a power failure.
        """
        path = self.file(item)
        content = path.read_bytes()
        if not content:
            return None
        values = np.frombuffer(content, np.uint8, count=max(len(content) - SUM, 0))
        if values.size != np.prod(shape) or zlib.crc32(values.data) != int.from_bytes(content[-SUM:], "little"):
            path.unlink()
            raise DataError(f"{path}: is damaged and was removed; the same command makes it again and goes on")
        return values.reshape(shape)

    def file(self, item: Item) -> Path:
        return self.blocks / f"{item[0]:05d}-{item[1]:05d}.block"

    def complete(self) -> None:
        """The result takes its name; what it was made from goes."""
        finish(self.result, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)

    def drop(self) -> None:
        """Leave nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in self.made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


@contextmanager
def work_folder(out: Path, about: Mapping[str, Any], room: int, *, fresh: bool = False) -> Iterator[WorkFolder]:
    """The folder of a work, new or found. On an error it is left for the same command if any part is finished, else removed.

    Args:
        about: All that the blocks depend on, fit for JSON, by words for messages.
        room: Bytes the folder will need at most, checked before anything is written.
        fresh: Throw away what an earlier process left.

    Raises:
        DataError: `out` exists, other work stands in its place, or there is too little room.
    """
    refuse_existing(out)
    folder = partial(out)
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise DataError(f"{out}: cannot be made, {existing} is a file")
    ours = (folder.is_dir() and {path.name for path in folder.iterdir()} <= {"lock"}) or (folder / WORK).is_file()
    if folder.exists() and not ours:
        raise DataError(f"{folder}: is in the way and was not left by this command; remove or rename it")
    made = tuple(parent for parent in out.absolute().parents if not parent.exists())
    work = WorkFolder(out, folder, room, made)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            work.begin(about, existing, fresh=fresh)
            yield work
    except NotOursError:
        raise
    except BaseException as error:
        shutil.rmtree(work.result, ignore_errors=True)
        left = work.kept()
        if not left:
            work.drop()
        if ran_full(error, existing):
            kept = f"{left} finished parts are kept in {folder}; with more room the same command goes on from there"
            raise DataError(full(out, room, existing, kept if left else "Nothing was left behind")) from error
        if isinstance(error, PermissionError):
            raise DataError(f"{out}: may not be written ({error.strerror})") from error
        raise


def refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise DataError(f"{out}: exists already; nothing is overwritten, so name another folder or remove this one")


def full(out: Path, room: int, place: Path, after: str) -> str:
    return f"{out}: the disk is full; up to {size(room)} are needed and {size(shutil.disk_usage(place).free)} are free. {after}"


def refuse_other(folder: Path, about: Mapping[str, Any]) -> None:
    try:
        before = json.loads((folder / WORK).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotOursError(f"{folder}: cannot be gone on with ({error}); --fresh starts anew") from error
    other = [name for name in {**before, **about} if before.get(name) != about.get(name)]
    if other:
        told = ", ".join(difference(name, before.get(name), about.get(name)) for name in other)
        raise NotOursError(
            f"{folder}: was begun with something else, so going on would mix two maps: {told}; --fresh throws it away and starts "
            "anew, the former command goes on with it"
        )


def difference(name: str, before: Any, now: Any) -> str:
    simple = all(isinstance(value, int | float | str | None) and len(str(value)) < 40 for value in (before, now))
    return f"{name} ({before}, now {now})" if simple else name


def write_json(path: Path, content: Any) -> None:
    draft = path.with_suffix(DRAFT)
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


class NotOursError(DataError):
    """Other work, or another process at it: nothing may be touched."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """For this process alone. The system takes the lock away when the process ends, however it does."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NotOursError(f"{folder}: another process is working in it; wait for it, or name another --out") from error
        yield
    finally:
        os.close(handle)
