"""A plugin package to begin with: all that a published one has, with a small component that keeps its contract.

The files are `string.Template`s in the folder `templates`; `forestgaps plugins new` writes them.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from forestgaps_core.cli.scaffold_examples import COMPONENT_KINDS, EXAMPLES, NAMES, find_hook
from forestgaps_core.errors import ConfigError, nearest
from forestgaps_core.files.drafts import discard_draft, new_folder
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.registry import CORE
from forestgaps_core.version import __version__

SOURCE = "plugins new"
DISTRIBUTION = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
COMPONENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
FOLDERS = ("build", "dist", "runs", "tests")
LONGEST_DISTRIBUTION, LONGEST_COMPONENT = 36, 24  # characters; with longer names, lines of the templates would not fit
# Path in the package: name of the template; both are templates themselves.
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    ".github/workflows/tests.yml": "workflow.yml",
    "$package/__init__.py": "$contents",
    "$package/py.typed": "",
    "$package/$component$extension": "$kind$extension",
    "tests/test_table_of_contents.py": "test_$contents",
    "tests/test_$component.py": "test_$kind.py",
}


def write_plugin(name: str, kind: str, *, component: str | None = None, folder: Path | None = None) -> list[Path]:
    """Write a package whose tests pass, and return the files written.

    Args:
        name: Of the distribution, such as `forestgaps-squared`; the package to import is `forestgaps_squared`.
        kind: Of its component, in the singular, such as `loss` or `metric`; or what else it offers, such as `command`.
        component: Its name in run files; by default `name` without `forestgaps-`.
        folder: To make; by default `name` in the current one.

    Raises:
        ConfigError: A name cannot be used, or the folder exists.
        DiskError: It could not be written; nothing of it is left.
    """
    component = name.removeprefix("forestgaps-").replace("-", "_") if component is None else component
    folder = Path(name) if folder is None else folder
    problems = [*check_name(name), *check_kind(kind)]
    problems += [] if check_name(name) else check_component(component)
    if not problems and folder.exists():
        discard_draft(folder)
        problems = [f"--folder: {folder} exists, and nothing is written over; give a folder that does not: --folder DIR"]
    if problems:
        raise ConfigError(problems, SOURCE)
    texts = {path: text.encode() for path, text in render_files(make_placeholders(name, NAMES[kind], component)).items()}
    with new_folder(folder, needed=sum(map(len, texts.values())), contents=tuple(texts)) as draft:
        for path, data in texts.items():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).write_bytes(data)
    return [folder / path for path in texts]


# --- names ----------------------------------------------------------------------------------------------------------


def check_name(name: str) -> list[str]:
    if not DISTRIBUTION.fullmatch(name) or len(name) > LONGEST_DISTRIBUTION:
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST_DISTRIBUTION].strip("-")
        example = near if DISTRIBUTION.fullmatch(near) else "forestgaps-squared"
        return [
            f"NAME: found {name!r}; a name is lower-case letters, digits and single hyphens, begins with a letter and has at most "
            f"{LONGEST_DISTRIBUTION} characters, such as {example!r}"
        ]
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in FOLDERS:
        return [f"NAME: {name!r} is a word of Python or a folder beside the package; add to it, such as 'forestgaps-{name}'"]
    taken = find_spec(package)
    if taken is not None and taken.origin is not None:  # without an origin it is any folder of that name
        return [f"NAME: {package!r} is installed already; give another name, or uninstall that one first"]
    return []


def check_kind(kind: str) -> list[str]:
    return [] if kind in NAMES else [f"--kind: no kind {kind!r}{nearest(kind, NAMES)}; there is: {', '.join(NAMES)}"]


def check_component(component: str) -> list[str]:
    if COMPONENT.fullmatch(component) and not keyword.iskeyword(component) and len(component) <= LONGEST_COMPONENT:
        return []
    return [
        f"--component: found {component!r}; a name is lower-case letters, digits and single underscores, begins with a letter, has "
        f"at most {LONGEST_COMPONENT} characters and is no word of Python; give one with --component"
    ]


# --- files ----------------------------------------------------------------------------------------------------------


def make_placeholders(name: str, kind: str, component: str) -> dict[str, str]:
    example, about = EXAMPLES[kind], COMPONENT_KINDS.get(kind)
    class_name = "".join(word.capitalize() for word in component.split("_"))
    major, minor = __version__.split(".")[:2]
    needs = sorted(["attrs>=25.4", f"{CORE}>={major}.{minor},<{major}.{int(minor) + 1}", *example.needs])
    values = {
        "distribution": name,
        "Distribution": name[0].upper() + name[1:],
        "package": name.replace("-", "_"),
        "component": component,
        "name": component.replace("_", "-") if kind == "command" else component,
        "Class": class_name,
        "Config": class_name + example.suffix,
        "kind": kind,
        "one": example.one or next(one for one, its_kind in NAMES.items() if its_kind == kind),
        "hook": find_hook(kind),
        "table": f"{kind}.{component}" if about and about.several else kind,
        "setting": example.setting[0],
        "value": example.setting[1],
        "does": example.does,
        "Does": example.does[0].upper() + example.does[1:],
        "dependencies": ", ".join(f'"{text}"' for text in needs),
        "contents": example.contents,
        "extension": example.extension,
        "record": example.record,
    }
    values |= {"usage": Template(example.usage).substitute(values), "target": Template(example.target).substitute(values)}
    line = format_command("config", "explain", f"{kind}.{component}", portable=True)
    explained = f"`{line}` shows its settings, its formula and where that is from.\n\n"
    return values | {"explained": explained if about else ""}


def render_files(values: Mapping[str, str]) -> dict[str, str]:
    """The text of each file by its path.

    Raises:
        ConfigError: The component's name means something else in one of them already.
    """
    templates = files("forestgaps_core") / "templates"
    texts: dict[str, str] = {}
    for path_template, name_template in FILES.items():
        path, name = Template(path_template).substitute(values), Template(name_template).substitute(values)
        text = Template((templates / f"{name}.tmpl").read_text(encoding="utf-8")).substitute(values) if name else ""
        if twice := path if path in texts else find_duplicate_name(text) if path.endswith(".py") else "":
            raise ConfigError(
                f"--component: with {values['component']!r}, {path} would have two {twice!r}; give another with --component", SOURCE
            )
        texts[path] = text
    return texts


def find_duplicate_name(text: str) -> str:
    """The first name that a module binds more than once, or ''."""
    names: list[str] = []
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names += [alias.asname or alias.name for alias in statement.names]
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.append(statement.name)
    return next((name for name, count in Counter(names).items() if count > 1), "")


# --- what to do with them -------------------------------------------------------------------------------------------


def format_next_steps(written: list[Path], name: str) -> list[str]:
    """Lines for the person who has just made the package."""
    project, component = written[0], written[list(FILES).index("$package/$component$extension")]
    return [
        f"  {format_command(project.parent, program='cd')}",
        '  python -m pip install -e ".[test]"',
        "  python -m pytest",
        f"  {format_command('plugins', 'check', name)}",
        f"Then make {component.relative_to(project.parent)} your own, and its test with it.",
    ]
