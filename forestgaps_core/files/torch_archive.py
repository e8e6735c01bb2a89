"""The parts of a file that `torch.save` wrote, where every reader of zip files finds the same ones.

A zip file can be read in several ways: it may have two directories, an end within its comment, parts that overlap, or parts whose
own header differs from the directory. Only the one shape that `torch.save` writes is accepted: stored parts one after the other
from the first byte on, then one directory, then its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from struct import Struct, error, unpack_from

from attrs import frozen

END = Struct("<4s4H2LH")  # signature, disk, disk, entries here, entries, bytes of the directory, its start, bytes of a comment
LARGE_END = Struct("<4sQ2H2L4Q")  # signature, own bytes, 2 versions, disk, disk, entries, entries, bytes, start
LOCATOR = Struct("<4sLQL")  # signature, disk, position of the large end, disks
ENTRY = Struct("<4s6H3L5H2L")  # of the directory
HEADER = Struct("<4s5H3L2H")  # before a part
DESCRIPTORS = (Struct("<4s3L"), Struct("<4sL2Q"))  # after a part whose sizes were not known before: signature, CRC, size, size
UNKNOWN_SIZES, UTF8_NAME = 0x08, 0x800
SMALL, TINY = 0xFFFFFFFF, 0xFFFF  # the value where the real one is in a wider field
MAX_PARTS = 100_000
NAME = re.compile(
    r"([^/\\\0]{1,255})/(data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id|data/\d{1,9})"
)


class ArchiveError(ValueError):
    """Not what `torch.save` writes. The message is a predicate: "has two directories"."""


@frozen
class Entry:
    """Of the directory."""

    name: bytes
    flags: int
    size: int
    start: int  # of the part's own header


def find_parts(data: bytes) -> Mapping[str, slice]:
    """Return where the content of each part is, by its name below the archive's own.

    Args:
        data: The whole file, without a tail.

    Raises:
        ArchiveError: It has another shape.
    """
    try:
        start, end, count = find_directory(data)
        entries = sorted(read_directory(data, start, end, count), key=lambda entry: entry.start)
        contents, at = [], 0
        for entry in entries:
            if entry.start != at:
                raise ArchiveError("has parts that overlap, or bytes between its parts")
            content = find_content(data, entry, start)
            contents.append(content)
            at = skip_descriptor(data, entry, content)
        if at != start:
            raise ArchiveError("has bytes between its parts and its directory")
    except error:
        raise ArchiveError("is cut short") from None
    return dict(zip(name_parts(entries), contents, strict=True))


def find_directory(data: bytes) -> tuple[int, int, int]:
    """Where the directory starts and ends, and the number of its entries; nothing may follow but its end."""
    last = len(data) - END.size
    if last < 0:
        raise ArchiveError("is cut short")
    signature, disk, first, here, count, size, start, comment = END.unpack_from(data, last)
    if signature != b"PK\x05\x06" or comment:
        raise ArchiveError("does not end with the directory of its parts")
    end = last
    if data[max(last - LOCATOR.size, 0) : last].startswith(b"PK\x06\x07"):
        _, large_disk, end, disks = LOCATOR.unpack_from(data, last - LOCATOR.size)
        if large_disk or disks != 1 or end != last - LOCATOR.size - LARGE_END.size:
            raise ArchiveError("has two directories")
        signature, own, _, _, large_disk, large_first, large_here, large_count, large_size, large_start = LARGE_END.unpack_from(
            data, end
        )
        small = ((here, large_here, TINY), (count, large_count, TINY), (size, large_size, SMALL), (start, large_start, SMALL))
        agree = all(value in (wide, most) for value, wide, most in small) and (large_disk, large_first) == (disk, first)
        if signature != b"PK\x06\x06" or own != LARGE_END.size - 12 or not agree:
            raise ArchiveError("has two directories")
        here, count, size, start = large_here, large_count, large_size, large_start
    if disk or first or here != count or start + size != end:
        raise ArchiveError("has two directories, or bytes after its directory")
    if not 1 <= count <= MAX_PARTS:
        raise ArchiveError(f"has {count:,} parts; at least one and at most {MAX_PARTS:,} are read")
    return start, end, count


def read_directory(data: bytes, start: int, end: int, count: int) -> Iterator[Entry]:
    at = start
    for _ in range(count):
        signature, _, _, flags, method, _, _, _, packed, size, named, more, comment, disk, _, _, where = ENTRY.unpack_from(data, at)
        if signature != b"PK\x01\x02" or disk or comment or flags & ~(UNKNOWN_SIZES | UTF8_NAME):
            raise ArchiveError("has a damaged directory")
        if method:
            raise ArchiveError("has compressed parts")
        at += ENTRY.size
        name, extra = data[at : at + named], data[at + named : at + named + more]
        at += named + more
        size, packed, where = widened(extra, size, packed, where)
        if size != packed:
            raise ArchiveError("has compressed parts")
        yield Entry(name, flags, size, where)
    if at != end:
        raise ArchiveError("has a damaged directory")


def widened(extra: bytes, *values: int) -> list[int]:
    """Values that are too large for their 32 bits are in the first extra field."""
    wide = sum(value == SMALL for value in values)
    if not wide:
        return list(values)
    if unpack_from("<2H", extra) != (1, 8 * wide):
        raise ArchiveError("has a damaged directory")
    more = iter(unpack_from(f"<{wide}Q", extra, 4))
    return [next(more) if value == SMALL else value for value in values]


def find_content(data: bytes, entry: Entry, directory: int) -> slice:
    """The bytes of a part, whose own header agrees with the directory."""
    signature, _, flags, method, _, _, _, packed, size, named, more = HEADER.unpack_from(data, entry.start)
    begin = entry.start + HEADER.size
    sizes = {(entry.size, entry.size), *([(0, 0)] if flags & UNKNOWN_SIZES else []), (SMALL, SMALL)}
    same = flags == entry.flags and not method and (packed, size) in sizes and data[begin : begin + named] == entry.name
    if signature != b"PK\x03\x04" or not same:
        raise ArchiveError("has a part that is not what its directory says")
    content = slice(begin + named + more, begin + named + more + entry.size)
    if content.stop > directory:
        raise ArchiveError("has a part that is not what its directory says")
    return content


def skip_descriptor(data: bytes, entry: Entry, content: slice) -> int:
    """Where the next part begins."""
    if not entry.flags & UNKNOWN_SIZES:
        return int(content.stop)
    for kind in DESCRIPTORS:
        if len(data) >= content.stop + kind.size:
            signature, _, packed, size = kind.unpack_from(data, content.stop)
            if signature == b"PK\x07\x08" and packed == size == entry.size:
                return int(content.stop) + kind.size
    # Parts of no bytes have none.
    return int(content.stop)


def name_parts(entries: list[Entry]) -> list[str]:
    """The names below the archive's own."""
    found = [NAME.fullmatch(entry.name.decode("utf-8", "replace")) for entry in entries]
    roots = {match[1] for match in found if match}
    names = [match[2] for match in found if match]
    if None in found or len(roots) != 1 or len(set(names)) != len(names):
        raise ArchiveError("has parts that no checkpoint has, or two of one name")
    return names
