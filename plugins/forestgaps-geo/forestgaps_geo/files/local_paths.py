"""Reject addresses that are not local files."""

from __future__ import annotations

import re
from pathlib import Path

from forestgaps_core.errors import DataError

ARCHIVE_SYSTEMS = ("zip", "tar", "gzip", "7z", "rar")
# A path has lost one of the two slashes of "s3://", and may begin with the folder of the list that names it.
SHORTENED_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")
ADDRESS = re.compile(r"(?:^|/)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)")
VIRTUAL = re.compile(r"(?:^|/)vsi(?P<system>[a-z0-9_]+)[/?].*")


def require_utf8_name(path: Path) -> None:
    """
    Raises:
        DataError: The path is not UTF-8. GDAL cannot open such a file.
    """
    try:
        str(path.absolute()).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: its path is not UTF-8 (at character {error.start + 1}), and GDAL opens no such file; rename it or its folder"
        ) from error


def explain_missing_file(path: Path, what: str = "no such file") -> str:
    """Return a sentence on a path where there is nothing: an address says that only local files are read."""
    text = str(path)
    if found := VIRTUAL.search(text):
        text = SHORTENED_ADDRESS.sub(lambda address: address["scheme"] + restore_slashes(address["scheme"]), text)
        inside = found["system"].startswith(ARCHIVE_SYSTEMS)
        fault, remedy = ("is inside an archive", "Unpack") if inside else ("is an address for GDAL, not a file", "Download")
        return f"{text}: {fault}; only local files are read. {remedy} it, and give the path of the copy"
    if found := ADDRESS.search(text):
        address = f"{found['scheme']}{restore_slashes(found['scheme'])}{found['rest']}"
        return f"{address}: is an address; only local files are read. Download it, and give the path of the copy"
    return f"{text}: {what}"


def restore_slashes(scheme: str) -> str:
    """Return what stands between a scheme and the rest: "file:///home/x" names no host."""
    return ":///" if scheme.lower() == "file" else "://"
