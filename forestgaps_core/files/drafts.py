"""Write results to a draft folder, and rename them when they are complete.

Four functions differ in what they make: `new_path` one file, `new_folder` one folder, `new_files` several files of one folder,
`new_results` any of them together. `forestgaps_core.files.draft_folder` describes the folder, and
`forestgaps_core.files.publishing` how results get their names.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from glob import escape
from pathlib import Path

from forestgaps_core.errors import BusyError, DataError, DiskError, ExistsError
from forestgaps_core.files.atomic import disk_errors, measure_free_space
from forestgaps_core.files.draft_folder import DraftFolder, hold_draft, locate_draft, name_content, read_identity, read_marker
from forestgaps_core.files.publishing import publish, refuse_existing, take_back
from forestgaps_core.files.removal import remove_made, warn_of_foreign


@contextmanager
def new_results(
    *outs: Path, needed: int | None = None, purpose: str = "write", contents: Sequence[str] = ()
) -> Iterator[tuple[Path, ...]]:
    """Draft paths for new files and folders, which get their names together when the block ends, and vanish on any error.

    Everything that can be known is checked when the block begins: that the names are free, that the folders can be written, that no
    other process makes the same result, that there is room.

    Args:
        outs: Their names. Those of one folder share a draft folder, named after the first.
        needed: Bytes they take, if that is known.
        contents: Names of all files that are made in result folders, as for `fnmatch`. No other file is removed: of an interrupted
            command or a failed one it stays where it is, and in a result a warning names it.

    Raises:
        ExistsError: A name is taken.
        DataError: Something that is not the program's has the name of a draft folder.
        BusyError: Another process makes the same.
        DiskError: They cannot be written.
    """
    refuse_taken(*outs)
    if len({out.parent.resolve() / out.name for out in outs}) < len(outs):
        raise DataError(f"{outs[0]}: is named twice; give each result a name of its own")
    drafts = [locate_draft(out) for out in outs]
    patterns = tuple(pattern for out in outs for pattern in list_patterns(out, contents))
    places: dict[Path, DraftFolder] = {}
    with ExitStack() as stack:
        for out, folder in zip(outs, drafts, strict=True):
            if out.absolute().parent not in places:
                draft = stack.enter_context(hold_draft(folder, out, purpose, contents=patterns))
                patterns = tuple(dict.fromkeys((*patterns, *read_patterns(folder))))
                places[out.absolute().parent] = draft
                stack.callback(discard_content, draft, patterns)  # the first, which knows what is being named, comes last
        made = list(places.values())
        paths = tuple(places[out.absolute().parent].content / name_content(out) for out in outs)
        with output_errors(outs, made, needed=needed):
            take_back(made[0], outs)
            refuse_existing(*outs)
            for draft in made:
                remove_made(draft.content, patterns)
                draft.contents = patterns
                if read_patterns(draft.folder) != patterns:  # another command left it
                    draft.record()
                draft.content.mkdir(exist_ok=True)
            refuse_full(outs[0], needed)
            yield paths
            warn_of_foreign(paths, outs, patterns)
            publish(made[0], paths, outs)


@contextmanager
def new_folder(folder: Path, *, contents: Sequence[str], needed: int | None = None, purpose: str = "write") -> Iterator[Path]:
    """A draft of one folder, as `new_results` makes it. `contents` names all files that are made in it."""
    with new_results(folder, needed=needed, purpose=purpose, contents=contents) as (draft,):
        draft.mkdir(exist_ok=True)
        yield draft


@contextmanager
def new_path(out: Path, *, needed: int | None = None, purpose: str = "write") -> Iterator[Path]:
    """A draft path of one file, with the suffix of `out`, for libraries that open files themselves."""
    with new_results(out, needed=needed, purpose=purpose) as (draft,):
        yield draft


@contextmanager
def new_files(folder: Path, names: Sequence[str], *, needed: int | None = None, purpose: str = "write") -> Iterator[Path]:
    """A folder in which these files are made: the files are added to `folder` where it exists, which else is made with them."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise ExistsError(f"{folder}: is a file; name a folder")
    if folder.is_dir():
        with new_results(*(folder / name for name in names), needed=needed, purpose=purpose) as drafts:
            yield drafts[0].parent
        return
    with new_folder(folder, needed=needed, purpose=purpose, contents=[escape(name) for name in names]) as draft:
        yield draft


def discard_draft(out: Path) -> None:
    """Remove what a process left beside a result that is whole, where it was killed in between. A draft in use stays."""
    folder = locate_draft(out)
    if read_identity(folder) is not None and not folder.is_symlink():
        with contextlib.suppress(BusyError, DiskError), hold_draft(folder, out, "clean up") as draft:
            discard_content(draft, (*list_patterns(out, ()), *read_patterns(folder)))


def discard_content(draft: DraftFolder, patterns: Sequence[str]) -> None:
    remove_made(draft.content, patterns)
    draft.close()


def refuse_taken(*outs: Path) -> None:
    """Refuse results that exist, unless an interrupted command left a draft, which may have named a part of them.

    For callers that know only later what their results contain: `new_results` begins with the same check.

    Raises:
        ExistsError: A name is taken.
    """
    refuse_existing(*(out.resolve() for out in outs if out.name in ("", "..")))
    if not any(os.path.lexists(locate_draft(out)) for out in outs):
        refuse_existing(*outs)


def refuse_full(out: Path, needed: int | None) -> None:
    free = measure_free_space(out)
    if needed is not None and free is not None and free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_patterns(folder: Path) -> tuple[str, ...]:
    """Return the patterns that a marker lists; nothing where it lists anything else."""
    listed = read_marker(folder).get("contents")
    return tuple(listed) if isinstance(listed, list) and all(isinstance(pattern, str) for pattern in listed) else ()


def list_patterns(out: Path, contents: Sequence[str]) -> Iterator[str]:
    """What the program makes on the way to one result: the file, temporary files of libraries beside it, the files of a folder."""
    name = escape(name_content(out))
    yield from (name, *(f"{name}{ending}" for ending in ("-journal", "-wal", "-shm", ".aux.xml", ".ovr.tmp", ".msk.ovr.tmp")))
    yield from (f"{name}/{pattern}" for pattern in contents)


@contextmanager
def output_errors(outs: Sequence[Path], drafts: Sequence[DraftFolder], *, needed: int | None) -> Iterator[None]:
    """As `disk_errors`, about the first result; errors that name a file elsewhere, such as an input, stay as they are."""
    try:
        with disk_errors(outs[0], needed=needed, after="nothing was left behind"):
            yield
    except DiskError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and isinstance(cause.filename, str | bytes):
            name = Path(os.fsdecode(cause.filename)).absolute()
            places = [path.absolute() for path in (*outs, *(draft.folder for draft in drafts))]
            if not any(name.is_relative_to(place) or place.is_relative_to(name) for place in places):
                raise cause from None
        raise
