"""The pages of public modules: of the core those that other packages import, of a library all."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path

from generate_tables import escape_prose

ROOT = Path(__file__).parent.parent
SOURCES = {
    "forestgaps_core": ROOT / "forestgaps_core",
    "forestgaps_geo": ROOT / "plugins" / "forestgaps-geo" / "forestgaps_geo",
    "forestgaps_tracking": ROOT / "plugins" / "forestgaps-tracking" / "forestgaps_tracking",
}
PURPOSE = {
    "forestgaps_core": "The core: components, run files, training, inference, files.",
    "forestgaps_geo": "The library for rasters: open, check, read in strips, write.",
    "forestgaps_tracking": "The library for trackers: scalars, pictures, curves, settings.",
}


def module_pages(note: str) -> dict[str, str]:
    """Return the text of a page for each package, by the name of the package."""
    return {package: "\n".join(module_page(package, note)) + "\n" for package in SOURCES}


def module_page(package: str, note: str) -> Iterator[str]:
    modules = list(public_modules(package))
    yield from [f"# Modules of {package}", "", note, "", PURPOSE[package], ""]
    yield "These modules are public: [Compatibility](../../compatibility.md) says what that means."
    yield from ["", "| module | contents |", "|---|---|"]
    for module in modules:
        yield f"| [`{module}`](#{module}) | {escape_prose(first_sentence(module))} |"
    for module in modules:
        yield from ["", f"::: {module}", "    options:", "      heading_level: 2", "      show_root_full_path: true"]


def public_modules(package: str) -> list[str]:
    """Return the public modules of a package; none has a name with a leading underscore."""
    own = {module_name(package, path) for path in SOURCES[package].rglob("*.py") if "_" not in path.stem[:1]}
    return sorted(own & set(imported_modules()) if package == "forestgaps_core" else own)


def module_name(package: str, path: Path) -> str:
    return ".".join([package, *path.relative_to(SOURCES[package]).with_suffix("").parts])


def imported_modules() -> Iterator[str]:
    """Yield each module that a package other than the core imports, and each name that it imports from one."""
    for path in (ROOT / "plugins").glob("*/forestgaps_*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{name.name}" for name in node.names)
            elif isinstance(node, ast.Import):
                yield from (name.name for name in node.names)


def first_sentence(module: str) -> str:
    """Return the first line of a module's docstring, without importing the module."""
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return inspect.cleandoc(text).partition("\n\n")[0]
