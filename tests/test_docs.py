"""The documentation tells what is there: generated pages are current, hooks are described, examples run, links lead somewhere."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from forestgaps_core import Trainer, hookimpl
from forestgaps_core.config.explain import list_settings
from forestgaps_core.config.inheritance import read_run_file
from forestgaps_core.config.reading import load_config, read_config
from forestgaps_core.hookspecs import PluginHooks, TrainingEvents
from forestgaps_core.kinds import KINDS
from forestgaps_core.plugins.config_forms import make_config_class
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.builder import build_run
from forestgaps_core.runs.run import train_model
from forestgaps_core.testing import example_batch
from forestgaps_core.testing.example_run import example_trainer, train_example
from forestgaps_core.testing.plugin_checks import check_plugin

from .small_run import make_small_run

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
PACKAGES = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/pyproject.toml"))
BLOCK = re.compile(r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.M | re.S)
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """Title ('' without one) and text of each fenced block in this language."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(block["title"] or "", block["text"]) for block in found if block["language"] == language]


def installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def everything() -> Plugins:
    missing = [name for name in PACKAGES if not installed(name)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return Plugins.discover()


@pytest.fixture
def generator(monkeypatch) -> ModuleType:
    """The script docs/generate.py, which imports the scripts next to it."""
    everything()
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("generate")


@pytest.mark.parametrize("folder", ["reference/catalogue", "reference/modules", "reference", "../forestgaps_core/plugins"])
def test_generated_files_are_what_the_code_generates_now(generator, folder):
    pages = {path: text for path, text in generator.generated_pages().items() if path.parent.resolve() == (DOCS / folder).resolve()}
    assert pages
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: python docs/generate.py"


@pytest.mark.parametrize("folder", ["catalogue", "modules"])
def test_a_generated_folder_has_only_generated_pages(generator, folder):
    assert {*(DOCS / "reference" / folder).iterdir()} <= generator.generated_pages().keys()


def test_public_modules_have_no_leading_underscore_and_are_imported_by_their_documented_name(generator):
    """What other packages import of the core and the libraries is on the pages of public modules, and nothing private is."""
    modules = sys.modules["generate_modules"]
    public = {module for package in modules.SOURCES for module in modules.public_modules(package)}
    assert not [module for module in public if "._" in module]
    imported = {name for name in modules.imported_modules() if name.startswith((*(f"{package}." for package in modules.SOURCES),))}
    assert [name for name in imported if not {name, name.rpartition(".")[0]} & (public | modules.SOURCES.keys())] == []


def test_the_page_of_commands_has_every_command():
    everything()
    text = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    for name in ("train", "test", "config check", "plugins list", *Plugins.discover().commands()):
        assert f"\n### forestgaps {name} {{" in text, f"{name} is not in commands.md: python docs/generate.py"


def test_every_command_has_examples_that_it_accepts(generator):
    importlib.import_module("generate_commands")
    commands = sys.modules["generate_commands"]
    built = {name: command for name, (command, *_) in commands.find_commands()}
    assert built.keys() == commands.EXAMPLES.keys()
    for name, examples in commands.EXAMPLES.items():
        for line, _ in examples:
            words = line.split()
            assert words[: 1 + len(name.split())] == ["forestgaps", *name.split()]
            with built[name].make_context(name, words[1 + len(name.split()) :]) as context:
                assert context.params


@pytest.mark.parametrize("hooks", [PluginHooks, TrainingEvents])
def test_every_hook_is_described(hooks):
    text = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    for name in vars(hooks):
        assert name.startswith("_") or f"`{name}`" in text, f"{hooks.__name__}.{name} is not described in docs/reference/hooks.md"


@pytest.mark.parametrize("hook", [name for name in vars(PluginHooks) if not name.startswith("_")])
def test_every_hook_has_a_how_to_page_with_an_example(hook):
    """`test_components_of_a_page_keep_the_contract` runs the example; files inside a folder are parts of a package."""
    pages = [page for page in HOW_TO if any(f"def {hook}(" in text for title, text in blocks(page, "python") if title)]
    assert pages, f"no page in docs/how-to has an example of {hook}"


def test_the_arguments_of_build_are_described():
    text = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    for kind, about in KINDS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {kind} |")]
        assert set(about.arguments) == set(re.findall(r"`(\w+)`", row.split("|")[3])), (
            f"the row of {kind} in docs/reference/hooks.md"
        )


def test_every_setting_of_every_component_has_help():
    plugins = everything()
    for kind in KINDS:
        for offers in plugins.components(kind).values():
            for component in offers:
                for row in list_settings(component.load()):
                    assert row["help"].endswith((".", ".)")), f"{component.place}.{row['name']}: {row['help']!r} is no sentence"


@functools.cache
def options_of_commands() -> dict[str, set[str]]:
    found = importlib.import_module("generate_commands").find_commands()
    return {
        name: {opt for one in built.params for opt in (*one.opts, *one.secondary_opts)} | {"--help"} for name, (built, *_) in found
    }


@pytest.mark.parametrize("page", [page for page in PAGES if "decisions" not in page.parts], ids=named)
def test_commands_of_a_page_have_these_options(generator, page):
    commands = options_of_commands()
    text = page.read_text(encoding="utf-8")
    lines = [line for language in ("bash", "text", "console") for _, block in blocks(page, language) for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`(forestgaps [^`]+)`", BLOCK.sub("", text))]:
        words = line.partition("  #")[0].strip().removeprefix("$ ").split()
        if words[:1] != ["forestgaps"]:
            continue
        words = [word for place, word in enumerate(words[1:], 1) if word != "-p" and words[place - 1] != "-p"]
        name = next((name for name in (" ".join(words[:2]), " ".join(words[:1])) if name in commands), None)
        if name:
            used = {word.partition("=")[0].rstrip(".,;)") for word in words if word.startswith("--")}
            assert used <= commands[name], line


def test_the_guide_to_the_code_names_files_that_exist():
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Find your way")[2].partition("## Rules")[0]
    named_files = re.findall(r"`([\w/-]+\.py)`", table)
    sources = [path.as_posix() for folder in ("forestgaps_core", "plugins") for path in (ROOT / folder).rglob("*.py")]
    assert len(named_files) > 15
    assert [name for name in named_files if not any(path.endswith(f"/{name}") for path in sources)] == []
    for file, function in re.findall(r"`([\w/-]+\.py)`, `([a-z_]+)`", table):
        (path,) = [path for path in sources if path.endswith(f"/{file}")]
        assert f"def {function}(" in Path(path).read_text(encoding="utf-8"), f"{file} has no {function}"


def test_the_sidebar_is_short():
    """At most 35 pages; further pages are linked from the page of their subject."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert 20 < len(re.findall(r": \S+\.md$", nav, re.M)) <= 35


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_lead_somewhere(page):
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.finditer(re.sub(r"`[^`\n]*`", "", prose)):
        target = link["target"].partition("#")[0]
        if target and "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{named(page)} links to {link['target']}"


@pytest.mark.parametrize(
    "page", [page for page in [*HOW_TO, DOCS / "reference" / "run-file.md"] if blocks(page, "toml")], ids=named
)
def test_run_files_of_a_page_can_be_read(page, tmp_path):
    """Each block is laid over a complete run file and read with the page's own code, if it has any."""
    plugins = everything()
    for path in written(page, tmp_path):
        if path.parent == tmp_path and is_plugin(path.read_text()):
            plugins.add_file(path)
    (recipe,) = (ROOT / "plugins" / "forestgaps-landscapes").glob("*/quick.toml")
    for title, text in blocks(page, "toml"):
        table = tomllib.loads(text)
        if title.endswith(".toml") and "/" not in title:
            (tmp_path / title).write_text(text)
        if title == "run.toml":
            table, _ = read_run_file(tmp_path / title)
            read_config(laid_over(tomllib.loads(recipe.read_text()), table), plugins)


def laid_over(complete: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The run file with the tables of a fragment in place of its own; labeled tables are added."""
    several = {kind for kind, about in KINDS.items() if about.several}
    return complete | {name: complete.get(name, {}) | table if name in several else table for name, table in change.items()}


def is_plugin(text: str) -> bool:
    return "@hookimpl" in text or "\nforestgaps_" in text


def written(page: Path, folder: Path) -> list[Path]:
    """The Python files a page shows, as a reader would make them."""
    paths = []
    for title, text in blocks(page, "python"):
        if title.endswith(".py"):
            paths.append(folder / title)
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            paths[-1].write_text(text)
    return paths


@pytest.mark.parametrize("page", [ROOT / "README.md", *(page for page in HOW_TO if blocks(page, "python"))], ids=named)
def test_components_of_a_page_keep_the_contract(page, tmp_path):
    plugins = Plugins()
    for path in written(page, tmp_path):
        if path.parent == tmp_path and is_plugin(path.read_text()):
            plugins.add_file(path)
    for plugin in plugins.records:
        found = [verdict for verdict in check_plugin(plugins, plugin) if verdict.place != "table"]
        assert found, f"{plugin} offers nothing"
        assert not any(verdict.wrong for verdict in found), list(map(str, found))


def test_the_package_of_the_page_on_losses_names_what_the_page_defines(tmp_path, monkeypatch):
    page = DOCS / "how-to" / "add-a-loss.md"
    paths = {path.name: path for path in written(page, tmp_path)}
    package = paths["__init__.py"].parent
    (package / "my_loss.py").write_text(paths["my_loss.py"].read_text().rpartition("\n\n\n")[0] + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        contents = importlib.import_module(package.name)
        for target in contents.forestgaps_losses.values():
            module, _, name = target.partition(":")
            config_class = make_config_class(getattr(importlib.import_module(module), name), "loss", KINDS["loss"])
            assert [row["name"] for row in list_settings(config_class)] == ["miss"]
        exec(paths["test_my_loss.py"].read_text(), found := {})
        found["test_the_contract"]()
    finally:
        for name in ("my_loss", package.name, f"{package.name}.my_loss"):
            sys.modules.pop(name, None)


def test_the_tests_of_the_page_on_tests_pass(tmp_path):
    everything()
    written(DOCS / "how-to" / "test-a-plugin.md", tmp_path)
    line = [sys.executable, "-m", "pytest", "-v", "-p", "no:randomly", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run([*line, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ((_, shown),) = blocks(DOCS / "how-to" / "test-a-plugin.md", "console")
    for line in shown.splitlines()[1:]:
        assert line == "..." or line.removesuffix(" PASSED") in done.stdout
    assert "test_the_contract[AbsoluteConfig-elevation] XFAIL" in done.stdout


def test_the_examples_of_the_pages_log_their_values():
    norm, growing = (
        next(text for title, text in blocks(DOCS / "how-to" / f"add-a-{page}.md", "python") if title == name)
        for page, name in (("callback", "my_norm.py"), ("loss", "my_parts.py"))
    )
    exec(norm, found := {})
    exec(growing, found)
    trainer = example_trainer({"norm": found["WeightNorm"]()})
    trainer = Trainer(
        model=trainer.model, loss=found["growing"], optimizer=trainer.optimizer, callbacks={"norm": found["WeightNorm"]()}
    )
    trainer.fit([example_batch(samples=2, size=16)], epochs=1)
    assert {"train/weight_norm", "train/main", "train/size"} <= trainer.scores.keys()


def test_the_distillation_of_the_page_trains_with_what_a_module_of_two_networks_returns(tmp_path):
    (path,) = [path for path in written(DOCS / "how-to" / "add-a-loss.md", tmp_path) if path.name == "my_distillation.py"]
    plugins = everything()
    plugins.add_file(path)
    (tmp_path / "large.toml").write_text(make_small_run(), encoding="utf-8")
    train_model(load_config(tmp_path / "large.toml", plugins=plugins), tmp_path / "large", plugins=plugins)
    changes = [*(f"loss.{key}={value}" for key, value in {"name": "distillation", "teacher": tmp_path / "large"}.items())]
    config = load_config(tmp_path / "large.toml", overrides=[*changes, "loss.module=body", "training.epochs=4"], plugins=plugins)
    run = build_run(config, tmp_path / "small", plugins)
    distances = []

    class Distances:
        @hookimpl
        def epoch_end(self, scores):
            distances.append(scores["train/distance"])

    trainer = run.trainer
    teacher = {name: tensor.clone() for name, tensor in trainer.loss.teacher.state_dict().items()}
    trainer = Trainer(
        model=trainer.model,
        loss=trainer.loss,
        optimizer=trainer.optimizer,
        make_train_batch=trainer.make_train_batch,
        environment=trainer.environment,
        callbacks={"distances": Distances()},
    )
    with closing(run.loader("train")) as train:
        trainer.fit(train, epochs=4)
    assert distances[-1] < distances[0]
    assert all(map(torch.equal, teacher.values(), trainer.loss.teacher.state_dict().values()))


def test_the_callbacks_of_the_page_change_gradients_and_freeze_layers():
    ((_, text),) = [block for block in blocks(DOCS / "how-to" / "add-a-callback.md", "python") if block[0] == "my_steps.py"]
    exec(text, found := {})
    plain, noisy = train_example({}, epochs=1), train_example({"noise": found["GradientNoise"](0.1)}, epochs=1, check_changes=True)
    assert not torch.equal(plain.model.layers[0].weight, noisy.model.layers[0].weight)
    start, frozen = example_trainer({}), train_example({"freeze": found["Freeze"](1, 2)}, epochs=1)
    assert torch.equal(start.model.layers[0].weight, frozen.model.layers[0].weight)
    assert not torch.equal(start.model.layers[-1].weight, frozen.model.layers[-1].weight)
    both = train_example({"freeze": found["Freeze"](1, 2)}, epochs=2, check_changes=True)
    assert not torch.equal(start.model.layers[0].weight, both.model.layers[0].weight)


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "reference" / "api.md"], ids=named)
def test_the_notebook_of_a_page_runs(page):
    everything()
    (text,) = [text for title, text in blocks(page, "python") if not title.endswith(".py")]
    exec(text, found := {})
    assert found["trainer"].epoch == 2
    assert "validation/gaps/gap_iou@mean" in found["trainer"].scores
