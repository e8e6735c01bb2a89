"""A folder beside the result where what is finished is kept until all is.

`OUT.partial` is a draft folder (`forestgaps_core.files.drafts`) that outlives an interruption. It holds one file for each
finished block, and what the work is made of: inputs, settings, network, versions. The same command finds it and resumes; anything
else is refused.
When the result is complete it becomes `OUT` in one step.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define
from rasterio.errors import RasterioError

from forestgaps_core.errors import DataError, DiskError
from forestgaps_core.files.atomic import ADVICE, format_size, is_disk_error, measure_free_space, sync_all, write_json
from forestgaps_core.files.draft_folder import DraftFolder, hold_draft, name_beside, read_identity, read_marker, refuse_foreign
from forestgaps_core.files.publishing import identify_file, refuse_existing, take_name
from forestgaps_core.files.removal import matches_any, remove_made, warn_of_foreign
from forestgaps_core.files.safe_opening import UnreadableError, describe_kind, read_bytes
from forestgaps_geo.files.local_paths import require_utf8_name
from forestgaps_rasters.prediction.blending import ByteArray
from forestgaps_rasters.prediction.window_grid import BlockIndex
from forestgaps_rasters.work.disk_space import find_disk_full_error
from forestgaps_rasters.work.work_identity import WORK_NAME, ForeignWorkError, check_same_work

DRAFT_SUFFIX = ".draft"  # how names of what is not finished end
REPEAT_ADVICE = "Repeat the command, which then makes the block again and resumes"
MOVE_ADVICE = "Move it elsewhere or remove it, and repeat the command, which then resumes"
CHECKSUM_BYTES = 4  # bytes of the checksum at the end of a block's file
EMPTY_BLOCK = b"no data"  # in the file of a block without any; an empty file is what a power failure leaves
BLOCK_NAME = re.compile(r"(\d{5,})-(\d{5,})\.block")
NUMBER_PATTERNS = tuple("[0-9]" * digits for digits in range(5, 9))  # not `*`, which fits names such as "00001-00001 (copy).block"
BLOCK_FILES = tuple(
    f"blocks/{row}-{column}{ending}" for row in NUMBER_PATTERNS for column in NUMBER_PATTERNS for ending in (".block", DRAFT_SUFFIX)
)


@define(eq=False)
class WorkFolder:
    """The work on one result.

    Attributes:
        out: The result's name.
        draft: The folder where its parts are kept, held by this process.
        room: Bytes all of it needs at most.
        contents: Names of what the work writes into the folder, as for `fnmatch`; nothing else in it is ever removed.
        resumed: Whether an earlier process left parts of it.
    """

    out: Path
    draft: DraftFolder
    room: int
    contents: tuple[str, ...] = BLOCK_FILES
    resumed: bool = False

    @property
    def folder(self) -> Path:
        return self.draft.folder

    @property
    def blocks(self) -> Path:
        return self.folder / "blocks"

    @property
    def result(self) -> Path:
        return self.folder / "result"

    def start(self, about: Mapping[str, Any], disk: Path, *, restart: bool) -> None:
        """Continue an existing work folder, or start one."""
        if linked := [path for path in (self.blocks, self.result) if path.is_symlink()]:
            raise ForeignWorkError(f"{linked[0]}: is a link, which this program does not make; remove it")
        self.check_file_kinds()
        if restart:
            self.remove()
        self.remove_result()
        self.resumed = (self.folder / WORK_NAME).is_file()
        if self.resumed:
            check_same_work(self.folder, json.loads(json.dumps(about)))
        self.require(self.room, disk)
        self.blocks.mkdir(exist_ok=True)
        if not self.resumed:
            write_json(self.folder / WORK_NAME, about)
        self.result.mkdir(exist_ok=True)

    def check_file_kinds(self) -> None:
        """
        Raises:
            NotOursError: A folder, a pipe or the like has the name of a file that this program writes, or a file that of a folder.
        """
        for path in (self.blocks, self.result):
            if path.exists() and not path.is_dir():
                raise ForeignWorkError(f"{path}: is {describe_kind(path)}, not the folder that this program makes. {MOVE_ADVICE}")
        for path in self.folder.rglob("*"):
            if matches_any(path.relative_to(self.folder), (WORK_NAME, *self.contents)) and not stat.S_ISREG(path.lstat().st_mode):
                raise ForeignWorkError(f"{path}: is {describe_kind(path)}, not the file that this program writes. {MOVE_ADVICE}")

    def largest_bytes(self) -> int:
        return max((path.lstat().st_size for path in self.folder.rglob("*") if path.is_file()), default=0)

    def require(self, room: int, disk: Path | None = None) -> None:
        """
        Args:
            disk: A folder on the disk; None: the work folder.

        Raises:
            DiskError: The work needs more bytes than are free.
        """
        self.room = room
        there = sum(path.stat().st_size for path in self.blocks.rglob("*") if path.is_file())
        if (found := shutil.disk_usage(disk or self.folder).free) < room - there:
            raise DiskError(format_disk_full(self.out, room - there, format_size(found), "Nothing was written"))

    def list_finished(self) -> set[BlockIndex]:
        """The blocks that are there."""
        names = (BLOCK_NAME.fullmatch(path.name) for path in self.blocks.glob("*.block"))
        return {(int(name[1]), int(name[2])) for name in names if name}

    def count_parts(self) -> int:
        """How many parts are there."""
        return sum(path.suffix != DRAFT_SUFFIX for path in self.blocks.glob("*"))

    def write_block(self, item: BlockIndex, values: ByteArray | None) -> None:
        """A block is finished. It gets its name when it is whole; a process may be killed at any moment."""
        path = self.get_path(item)
        draft = path.with_suffix(DRAFT_SUFFIX)
        draft.unlink(missing_ok=True)  # of a process that was killed; never written through, should it be a link
        with draft.open("xb") as file:
            if values is None:
                file.write(EMPTY_BLOCK)
            else:
                content = np.ascontiguousarray(values).data
                file.write(content)
                file.write(zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little"))
        draft.replace(path)

    def read_block(self, item: BlockIndex, shape: tuple[int, int, int]) -> ByteArray | None:
        """A finished block, (K, h, w); None where it has no data.

        Raises:
            DataError: Its file does not hold what was written, as after a power failure.
        """
        path = self.get_path(item)
        try:
            content = read_bytes(path)
        except (FileNotFoundError, IsADirectoryError, UnreadableError) as error:  # since the work began
            there = (
                f"is {describe_kind(path)}, not a finished block. {MOVE_ADVICE}"
                if os.path.lexists(path)
                else f"was removed. {REPEAT_ADVICE}"
            )
            raise DataError(f"{path}: {there}") from error
        if content == EMPTY_BLOCK:
            return None
        values = np.frombuffer(content, np.uint8, count=max(len(content) - CHECKSUM_BYTES, 0))
        if values.size != np.prod(shape) or zlib.crc32(values.data) != int.from_bytes(content[-CHECKSUM_BYTES:], "little"):
            path.unlink()
            raise DataError(f"{path}: is damaged and was removed; the same command makes it again and resumes")
        return values.reshape(shape)

    def get_path(self, item: BlockIndex) -> Path:
        return self.blocks / f"{item[0]:05d}-{item[1]:05d}.block"

    def complete(self) -> None:
        """The result takes its name; what it was made from goes."""
        sync_all(self.result)
        warn_of_foreign([self.result], [self.out], self.contents)
        self.draft.record(result=[*identify_file(self.result)])
        take_name(self.result, self.out)
        self.discard()

    def keep_finished(self) -> None:
        """Leave what is finished; without any, nothing."""
        self.remove_result()
        if not self.count_parts():
            self.discard()

    def discard(self) -> None:
        """Leave nothing but what the program did not write."""
        self.remove()
        self.draft.close()

    def remove(self) -> None:
        remove_made(self.folder, (WORK_NAME, *self.contents), keep_folder=True)

    def remove_result(self) -> None:
        remove_made(self.result, [name.removeprefix("result/") for name in self.contents if name.startswith("result/")])


def get_partial_folder(out: Path) -> Path:
    return name_beside(out, "{}.partial")


@contextmanager
def open_work_folder(
    out: Path,
    about: Mapping[str, Any],
    room: int,
    *,
    restart: bool = False,
    purpose: str = "predict",
    contents: Sequence[str] = ("result/*",),
) -> Iterator[WorkFolder]:
    """The folder of a work, new or found. On an error it is left for the same command if any part is finished, else removed.

    Args:
        about: All that the blocks depend on, fit for JSON, by words for messages.
        room: Bytes the folder will need at most, checked before anything is written.
        restart: Remove the blocks that an earlier process left.
        purpose: What for, for the message of another process that wants the same folder.
        contents: Names of what the work writes into the folder besides blocks, as for `fnmatch`.

    Raises:
        DataError: `out` exists, or other work or a folder of somebody else has the name of the work folder.
        BusyError: Another process is at it; says which, and since when.
        DiskError: There is too little room, or the disk fails; says what is kept.
    """
    check_output_is_free(out)
    require_utf8_name(out)
    folder, names = get_partial_folder(out), (*BLOCK_FILES, *contents)
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise DataError(f"{out}: cannot be made, {existing} is a file")
    with hold_draft(folder, out, purpose) as draft:
        work = WorkFolder(out, draft, room, names)
        if os.path.lexists(out) and read_marker(folder).get("result") == [*identify_file(out)]:
            work.discard()  # what a process left that was killed when it had just finished
        refuse_existing(out)
        try:
            work.start(about, existing, restart=restart)
            yield work
        except ForeignWorkError:
            raise
        except BaseException as error:
            cause = find_disk_full_error(error, work.folder, work.largest_bytes())  # before the room is given back
            work.keep_finished()  # while nobody else can begin
            if sentence := explain_disk_error(error, cause, work, existing):
                raise DiskError(sentence) from error
            raise


def check_output_is_free(out: Path) -> None:
    """
    Raises:
        DataError: The result exists, or what has the name of its work folder is not the program's.
    """
    if out.name in ("", ".."):
        refuse_existing(out.resolve())
    folder = get_partial_folder(out)
    refuse_foreign(folder)
    if read_identity(folder) is None:
        refuse_existing(out)


def explain_disk_error(error: BaseException, cause: OSError | None, work: WorkFolder, place: Path) -> str:
    """What to say where the disk failed, '' where something else did.

    Args:
        cause: Why there was no room, if that is the reason.
    """
    left = work.count_parts()
    kept = f"{left} finished parts are kept in {work.folder}" if left else "Nothing was left behind"
    if cause is not None and cause.errno == errno.ENOSPC:
        return format_disk_full(
            work.out,
            work.room,
            format_free_space(place),
            kept + ("; with more room the same command resumes from there" if left else ""),
        )
    if isinstance(error, OSError | RasterioError):  # rasterio's tell why in words only
        reason = cause or error
        why = " ".join(str(reason.strerror if isinstance(reason, OSError) and is_disk_error(reason) else reason).split())[:300]
        why += f"; {ADVICE[cause.errno]}" if cause is not None and cause.errno in ADVICE else ""
        needs = f"up to {format_size(work.room)} needed, {format_free_space(place)} free"
        after = "; the same command resumes from there" if left else ""
        return f"{work.out}: may not be written or its disk fails ({why}; {needs}). {kept}{after}"
    return ""


def format_disk_full(out: Path, room: int, free: str, after: str) -> str:
    return f"{out}: the disk is full; up to {format_size(room)} are needed and {free} are free. {after}"


def format_free_space(place: Path) -> str:
    found = measure_free_space(place)
    return "an unknown amount" if found is None else format_size(found)
