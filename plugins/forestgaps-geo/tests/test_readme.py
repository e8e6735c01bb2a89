"""All modules of the library are public, and its README lists them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_readme_lists_every_module() -> None:
    listed = re.findall(r"^\| `(forestgaps_geo[\w.]+)`", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    modules = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "forestgaps_geo").rglob("*.py")]
    assert sorted(listed) == sorted(".".join(path.parts) for path in modules if path.name != "__init__")
