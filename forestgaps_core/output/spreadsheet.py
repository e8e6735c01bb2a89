"""Escape text in CSV files that a spreadsheet would read as a formula.

Names of runs, sites, labels and scores come from files, and a spreadsheet executes a cell that begins with one of `=+-@`. Source:
OWASP, CSV Injection.
"""

from __future__ import annotations

import re
from typing import TypeVar

Value = TypeVar("Value")
# At the start of a cell, or of what is one where another separator is set; with the wide forms that some programs fold.
FORMULA = re.compile(r"(^|[;,|])(\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
CONTROLS = re.compile(r"[\0-\x1f\x7f]")


def neutralize_formula(value: Value) -> Value | str:
    """Return a text for a CSV cell that no spreadsheet executes; anything but a text is returned as it is.

    An apostrophe before the first character makes the cell text. Control characters, which can hide it, become spaces.
    """
    return FORMULA.sub(r"\1'\2", CONTROLS.sub(" ", value)) if isinstance(value, str) else value
