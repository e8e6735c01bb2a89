"""Compare the public API with that of the last release: `python .ci/public_api.py [--against TAG]`; 1 if something breaks users.

Public are the modules on the pages docs/reference/modules, and what `forestgaps_core`, `forestgaps_core.testing` and the other
packages export by name. A release is a tag such as v0.1.0. Before the first one there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parent.parent
PAGES = Path("docs", "reference", "modules")


def find_last_release(root: Path) -> str:
    """Return the tag of the last release that the commit contains, or ''."""
    line = ["git", "-C", str(root), "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()


def list_packages(root: Path) -> dict[str, Path]:
    """Return the folder that contains each package with a public module, relative to the root."""
    folders = {path.parent.name: path.parent.parent.relative_to(root) for path in root.glob("plugins/*/*/__init__.py")}
    return {"forestgaps_core": Path(), **dict(sorted(folders.items()))}


def list_public_modules(root: Path) -> set[str]:
    documented = {name for page in (root / PAGES).glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)}
    return {*documented, *list_packages(root), "forestgaps_core.testing"}


def find_breaking_changes(root: Path, tag: str) -> Iterator[str]:
    """Yield a line for each change of a public name that breaks code that uses it."""
    public = list_public_modules(root)
    for package, folder in list_packages(root).items():
        try:
            old = griffe.load_git(package, ref=tag, repo=root, search_paths=[str(folder)], resolve_aliases=True)
        except (ImportError, griffe.GitError):  # the release has no such package
            continue
        new = griffe.load(package, search_paths=[str(root / folder)], resolve_aliases=True)
        for breakage in griffe.find_breaking_changes(old, new):
            place = breakage.obj.path
            if any(place == module or place.startswith(f"{module}.") for module in public) and "._" not in place:
                yield re.sub(r"\x1b\[\d+m", "", breakage.explain(style=griffe.ExplanationStyle.ONE_LINE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", help="tag of a release; the last one by default")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the repository")
    arguments = parser.parse_args()
    tag = arguments.against or find_last_release(arguments.root)
    if not tag:
        print("There is no release yet: nothing to compare with.")
        return
    changes = list(dict.fromkeys(find_breaking_changes(arguments.root, tag)))
    print("\n".join([*changes, f"{len(changes)} changes since {tag} break users"]))
    sys.exit(bool(changes))


if __name__ == "__main__":
    main()
