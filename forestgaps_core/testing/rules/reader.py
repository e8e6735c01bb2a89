"""The rules for readers: they say which files they read. Test what they return with files of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forestgaps_core.testing.building import build_component

LAYERS = ("dsm", "dtm", "chm")
STARTS = (b"", b"\0" * 64, b"{", b"\x89PNG\r\n\x1a\n", b"text\n")


def check_parts(config: Any, **arguments: Any) -> None:
    """The reader has suffixes in lower case that start with a dot, and a method `read`."""
    for layer in LAYERS:
        reader = build_component("reader", config, **({"layer": layer} | arguments))
        suffixes = getattr(reader, "suffixes", None)
        assert isinstance(suffixes, tuple) and suffixes, f"suffixes is {suffixes!r}, expected a tuple of texts such as ('.npy',)"
        for suffix in suffixes:
            assert isinstance(suffix, str) and suffix.startswith(".") and suffix == suffix.lower(), f"the suffix {suffix!r}"
        assert callable(getattr(reader, "read", None)), "there is no method read(path)"


def check_claims(config: Any, **arguments: Any) -> None:
    """`claims` answers for any file, also a short one, and does not claim all of them."""
    reader = build_component("reader", config, **({"layer": "dsm"} | arguments))
    answers = [reader.claims(Path(f"file{suffix}"), start) for start in STARTS for suffix in ("", ".unknown")]
    assert all(isinstance(answer, bool) for answer in answers), "claims(path, start) returns True or False"
    assert not any(answers), "claims(path, start) is True for files of other formats"


RULES = (check_parts, check_claims)
