"""A run file is read, and says the same when it is written again; or it is refused with a sentence. Nothing else happens."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from forestgaps_core.config.overrides import apply_overrides
from forestgaps_core.config.reading import load_config, read_config
from forestgaps_core.config.run_file import Config
from forestgaps_core.config.writing import make_table
from forestgaps_core.errors import ConfigError
from forestgaps_core.plugins.names import full_name
from forestgaps_core.plugins.registry import Plugins

from .conftest import case, fuzzing
from .hostile import ABSURD, as_toml, composed, damaged, mutated, offered, parsed, recipes, scalars

CORPUS = sorted((Path(__file__).parent / "corpus" / "run_files").glob("*.toml"))
LONGEST_MESSAGE = 100_000  # characters
MEMORY = 300  # MB that the worst file may take
PLUGINS = Plugins.discover()
TEXTS = recipes(PLUGINS)
TABLES = parsed(TEXTS)
CLASSES = offered(PLUGINS)
SANE = {"data": {"name": "landscapes"}, "model": {"name": "unet"}, "loss": {"name": "dice"}, "normalization": {"name": "batch"}}

pytestmark = pytest.mark.skipif(not TEXTS, reason="no plugin with a recipe is installed")


def check(error: ConfigError, place: str) -> None:
    """A refusal names the file, and can be read."""
    assert str(error).startswith(place)
    assert all(error.problems)
    assert len(str(error)) < LONGEST_MESSAGE


def read(path: Path) -> Config | None:
    """The config of a file, or None if it is refused as it should be."""
    try:
        config = load_config(path, plugins=PLUGINS)
    except ConfigError as error:
        check(error, str(path))
        return None
    table = make_table(config, PLUGINS)
    again = read_config(tomllib.loads(tomli_w.dumps(table)), PLUGINS, folder=path.parent)
    assert make_table(again, PLUGINS) == table
    start = config.training.start
    if start is not None and again.training.start != start:  # written with the package that offers the network
        assert again.training.start == full_name(PLUGINS.offer("network", start))
        again = evolve(again, training=evolve(again.training, start=start))
    assert again == config
    return config


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "run.toml"


@pytest.mark.parametrize("name", TEXTS)
def test_every_recipe_is_read_and_equals_itself_when_written_again(path, name):
    path.write_bytes(TEXTS[name])
    assert read(path) is not None


@pytest.mark.parametrize("kind", ["mutated", "composed"])
def test_a_run_file_with_anything_in_it_is_read_or_refused(path, kind):
    strategy = mutated(TABLES) if kind == "mutated" else composed(CLASSES, SANE)

    @fuzzing(0.2)
    @given(table=strategy)
    def run(table):
        path.write_bytes(as_toml(table))
        with case(f"run files, {kind}") as outcome:
            outcome.accepted = read(path) is not None

    run()


def test_damaged_bytes_are_read_or_refused(path):
    @fuzzing(0.2)
    @given(content=damaged(list(TEXTS.values())))
    @example(content=b"\xef\xbb\xbf" + next(iter(TEXTS.values())))
    def run(content):
        path.write_bytes(content)
        with case("run files, damaged") as outcome:
            outcome.accepted = read(path) is not None

    run()


@fuzzing(0.1)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "loss.gamma",
                    "training.epochs",
                    "model.view.relief_m",
                    "metrics.a.name",
                    "loss",
                    "loss.",
                    ".a",
                    "a" * 99,
                    "a" + ".a" * 99_999,
                ]
            )
            | st.text(max_size=20),
            st.one_of(
                scalars.map(str),
                st.text(max_size=20),
                st.sampled_from(
                    [
                        "[" * 50_000,
                        "{a=" * 50_000,
                        "{" + "a." * 50_000 + "a=1}",
                        "1\n[training]\nepochs=3",
                        "0x" + "f" * 99_999,
                        "9" * 5000,
                    ]
                ),
            ),
        ).map("=".join),
        max_size=4,
    )
)
def test_changes_from_the_command_line_are_made_or_refused(changes):
    with case("run files, --set") as outcome:
        try:
            read_config(apply_overrides(TABLES[0], changes), PLUGINS)
        except ConfigError as error:
            check(error, "")
        else:
            outcome.accepted = True


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_file_is_refused_at_once(path, name):
    path.write_bytes(ABSURD[name])
    with case("run files, absurd"):
        assert read(path) is None


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_what_broke_once_is_read_or_refused(file):
    with case("run files, corpus"):
        read(file)


PROBE = """
import json, resource, sys
from pathlib import Path
from forestgaps_core.config.reading import load_config
from forestgaps_core.errors import ConfigError
from forestgaps_core.plugins.registry import Plugins
plugins, grown = Plugins.discover(), {}
for path in map(Path, sys.argv[1:]):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_config(path, plugins=plugins)
    except ConfigError:
        pass
    grown[path.stem] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
print(json.dumps(grown))
"""


def test_no_absurd_file_takes_much_memory(tmp_path):
    # The first file loads what is loaded once; peaks only rise, so each is blamed for what it adds to those before it.
    files = {"": TEXTS[next(iter(TEXTS))], **ABSURD}
    paths = []
    for place, content in enumerate(files.values()):
        paths.append(tmp_path / f"{place}.toml")
        paths[-1].write_bytes(content)
    done = subprocess.run([sys.executable, "-c", PROBE, *map(str, paths)], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout.splitlines()[-1])
    assert sum(grown[path.stem] for path in paths[1:]) < MEMORY, grown
