"""What the tests of the core share: a run file and a user's plugin file with one component of each kind."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from forestgaps_core.plugins.registry import Plugins

from .command_line import CommandLine

EXAMPLE_PLUGIN = Path(__file__).with_name("example_plugin.py")

RUN_FILE = """\
[data]
name = "hills"

[thresholds]
values = [2, 5, 10]

[model]
name = "net"

[normalization]
name = "batchwise"

[loss]
name = "binary"

[scheduler]
name = "falling"

[training]
epochs = 3
batch_size = 3

[metrics.share]
name = "share"

[callbacks.notes]
name = "recorder"

[environment]
device = "cpu"
threads = 1
"""


DEFAULTS = ("forestgaps-augmentations", "forestgaps-optimizers")  # offer what a run file uses without naming it


def default_plugins(*files: Path) -> Plugins:
    """The packages that every run file needs, and these local files."""
    found = Plugins()
    found.add_installed(*DEFAULTS)
    for file in files:
        found.add_file(file)
    return found


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    """Only the example plugin and what run files use by default, whatever is installed."""
    return default_plugins(EXAMPLE_PLUGIN)


@pytest.fixture(scope="session")
def command_line() -> Iterator[CommandLine]:
    """The real command line, in processes of its own that need not import torch anew."""
    with CommandLine() as line:
        yield line


@pytest.fixture
def mypy_cache() -> Iterator[Path]:
    """A folder that is kept, since the types of torch take long to read the first time; for one process at a time."""
    import fcntl

    folder = Path(__file__).parent.parent / ".cache" / "mypy-scaffold"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(RUN_FILE)
    return path


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed distributions that Python searches first."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = set(sys.modules)

    def install(distribution, source, *, version="1.0", requires="forestgaps-core>=0.1", points=None):
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source).replace("MODULE", module))
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\nRequires-Dist: {requires}\n"
        )
        lines = points or [f"{distribution} = {module}"]
        (info / "entry_points.txt").write_text("[forestgaps]\n" + "\n".join(lines) + "\n")
        importlib.invalidate_caches()

    yield install
    for name in set(sys.modules) - names:
        if name.startswith("t_"):
            del sys.modules[name]
