"""Every command line that the documentation and the messages of the program contain: the command and its options exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from forestgaps_core.cli.app import app
from forestgaps_core.cli.commands.installed import plugins
from forestgaps_core.plugins.registry import load_target

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
SOURCES = [path for folder in (ROOT / "forestgaps_core", *ROOT.glob("plugins/*/forestgaps_*")) for path in folder.rglob("*.py")]
LINE = re.compile(r"forestgaps((?: +-p \S+)? (?:[a-z]+)(?: [^\n`#|]*)?)")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|-[a-zA-Z])(?![\w-])")


def commands() -> dict[str, Any]:
    """Name of each command, such as "config init", and its options."""
    found = {name: options_of(typer.main.get_command(app).commands[name]) for name in ("train", "test", "publish")}
    for group in ("config", "plugins"):
        inner = typer.main.get_command(app).commands[group].commands
        found |= {f"{group} {name}": options_of(command) for name, command in inner.items()}
    for name, (plugin, command) in plugins().commands().items():
        inner = typer.Typer()
        inner.command()(load_target(command.target, f"the command {name} of {plugin}"))
        found[name] = options_of(typer.main.get_command(inner))
    return found


def options_of(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"-h", "--help"}


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return commands()


def lines_of(path: Path) -> Iterator[str]:
    """The command lines of a page or a source file, from the word after the program on."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for match in LINE.finditer(text):
        yield match[1].strip()


def check(line: str, known: dict[str, Any]) -> str:
    """What is wrong with a command line; nothing if it is right, or not one."""
    line = re.sub(r"^-p \S+ ", "", line)
    words = line.split()
    name = " ".join(words[:2]) if words[0] in ("config", "plugins") else words[0]
    if name not in known:
        return ""  # words of a sentence; test_commands_in_code_exist looks at what is marked as code
    wrong = [option for option in OPTION.findall(line) if option not in known[name]]
    return f"forestgaps {line}: {name} has no {', '.join(wrong)}" if wrong else ""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_in_the_documentation_exist(path: Path, known: dict[str, Any]) -> None:
    if path.name != "CHANGELOG.md":
        assert not [problem for line in lines_of(path) if (problem := check(line, known))]


def test_options_in_messages_exist(known: dict[str, Any]) -> None:
    problems = [f"{path.name}: {problem}" for path in SOURCES for line in lines_of(path) if (problem := check(line, known))]
    assert not problems


def test_commands_in_code_exist(known: dict[str, Any]) -> None:
    names = {name.split()[0] for name in known}
    marked = re.compile(r"^(?:\$ )?forestgaps (?:-p \S+ )?([a-z-]+)", re.MULTILINE)
    for path in PAGES:
        if path.name != "CHANGELOG.md":
            for block in re.findall(r"```(?:bash|console|shell)?\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
                assert set(marked.findall(block)) <= names | {""}, path


def test_a_wrong_option_is_noticed(known: dict[str, Any]) -> None:
    assert check("predict dsm.tif --scheduler x", known) and not check("predict dsm.tif --cluster x", known)
    assert check("-p own.py train run.toml", known) == "" and check("-p own.py train run.toml -p", known)
