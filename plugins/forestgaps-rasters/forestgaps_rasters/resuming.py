"""A folder beside the result where what is finished is kept until all is.

`OUT.partial` holds one file for each finished block, and what the work is made of: inputs, settings, network. Interrupted in any
way, the same command finds it and goes on; anything else is refused. When the result is complete it becomes `OUT` in one step.
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define
from rasterio.errors import RasterioError

from forestgaps_core.bounded_reading import read_bytes, read_json
from forestgaps_core.errors import BusyError, DataError, DiskError
from forestgaps_core.locking import LOCK, held
from forestgaps_core.writing import free_at, is_of_the_disk, size, write_json
from forestgaps_rasters.blending import Bytes
from forestgaps_rasters.folders import finish, ran_full
from forestgaps_rasters.lattice import Item

WORK = "work.json"
DRAFT = ".draft"  # how names of what is not finished end
SUM = 4  # bytes of the checksum at the end of a block's file
NOTHING = b"no data"  # in the file of a block without any; an empty file is what a power failure leaves
NAME = re.compile(r"(\d{5,})-(\d{5,})\.block")


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
        if (found := shutil.disk_usage(disk).free) < self.room - there:
            raise DiskError(full(self.out, self.room - there, size(found), "Nothing was written"))
        self.blocks.mkdir(exist_ok=True)
        if not self.resumed:
            write_json(self.folder / WORK, about)
        self.result.mkdir()

    def finished(self) -> set[Item]:
        """The blocks that are there."""
        names = (NAME.fullmatch(path.name) for path in self.blocks.glob("*.block"))
        return {(int(name[1]), int(name[2])) for name in names if name}

    def kept(self) -> int:
        """How many parts are there."""
        return sum(path.suffix != DRAFT for path in self.blocks.glob("*"))

    def keep(self, item: Item, values: Bytes | None) -> None:
        """A block is finished. It gets its name when it is whole; a process may be killed at any moment."""
        path = self.file(item)
        draft = path.with_suffix(DRAFT)
        with draft.open("wb") as file:
            if values is None:
                file.write(NOTHING)
            else:
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
        content = read_bytes(path)
        if content == NOTHING:
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

    def interrupted(self) -> None:
        """Leave what is finished; without any, nothing."""
        shutil.rmtree(self.result, ignore_errors=True)
        if not self.kept():
            self.drop()

    def drop(self) -> None:
        """Leave nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in self.made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


@contextmanager
def work_folder(
    out: Path, about: Mapping[str, Any], room: int, *, fresh: bool = False, purpose: str = "predict"
) -> Iterator[WorkFolder]:
    """The folder of a work, new or found. On an error it is left for the same command if any part is finished, else removed.

    Args:
        about: All that the blocks depend on, fit for JSON, by words for messages.
        room: Bytes the folder will need at most, checked before anything is written.
        fresh: Throw away what an earlier process left.
        purpose: What for, for the message of another process that wants the same folder.

    Raises:
        DataError: `out` exists, or other work stands in its place.
        BusyError: Another process is at it; says which, and since when.
        DiskError: There is too little room, or the disk fails; says what is kept.
    """
    refuse_existing(out)
    folder = partial(out)
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise DataError(f"{out}: cannot be made, {existing} is a file")
    if folder.exists() and not is_ours(folder):
        raise DataError(f"{folder}: is in the way and was not left by this command; remove or rename it")
    work = WorkFolder(out, folder, room, made=tuple(parent for parent in out.absolute().parents if not parent.exists()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder, purpose):
            refuse_existing(out)  # which another process may have finished meanwhile
            try:
                work.begin(about, existing, fresh=fresh)
                yield work
            except NotOursError:
                raise
            except BaseException:
                work.interrupted()  # while nobody else can begin
                raise
    except (BusyError, NotOursError):
        raise
    except BaseException as error:
        if sentence := of_the_disk(error, work, existing):
            raise DiskError(sentence) from error
        raise


def is_ours(folder: Path) -> bool:
    """Whether a work was begun there, be it that its process was killed before it could say which."""
    if not folder.is_dir():
        return False
    files = {path.name for path in folder.rglob("*") if not path.is_dir()}
    return WORK in files or all(name == LOCK or name.startswith(f".{WORK}.") for name in files)


def of_the_disk(error: BaseException, work: WorkFolder, place: Path) -> str:
    """What to say where the disk failed, '' where something else did."""
    left = work.kept()
    kept = f"{left} finished parts are kept in {work.folder}" if left else "Nothing was left behind"
    if ran_full(error, place):
        return full(
            work.out, work.room, free(place), kept + ("; with more room the same command goes on from there" if left else "")
        )
    if isinstance(error, OSError | RasterioError):  # rasterio's tell why in words only
        why = " ".join(str(error.strerror if is_of_the_disk(error) else error).split())[:300]
        needs = f"up to {size(work.room)} needed, {free(place)} free"
        after = "; the same command goes on from there" if left else ""
        return f"{work.out}: may not be written or its disk fails ({why}; {needs}). {kept}{after}"
    return ""


def refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise DataError(f"{out}: exists already; nothing is overwritten, so name another folder or remove this one")


def full(out: Path, room: int, free: str, after: str) -> str:
    return f"{out}: the disk is full; up to {size(room)} are needed and {free} are free. {after}"


def free(place: Path) -> str:
    found = free_at(place)
    return "an unknown amount" if found is None else size(found)


def refuse_other(folder: Path, about: Mapping[str, Any]) -> None:
    try:
        before = read_json(folder / WORK)
        if not isinstance(before, dict):
            raise ValueError("it is no table")
    except (OSError, ValueError, RecursionError) as error:
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


class NotOursError(DataError):
    """Other work: nothing may be touched."""
