"""Components of a notebook: registered, used by name, recorded, asked for when they are missing, and defined anew."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from forestgaps_core import PluginError, load_config, load_predictor, register, resume_training, train_model
from forestgaps_core.config.explain import explain_topic
from forestgaps_core.plugins import session
from forestgaps_core.plugins.local_files import FILES
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.plugins.session import read_source

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch) -> None:
    monkeypatch.setattr(session, "_registered", {})


def mine(logits, batch, *, weight: float = 1.0):
    """A loss."""
    cost = (logits.sigmoid() - batch.target).square() * batch.valid
    return weight * cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)


def other(logits, batch, *, weight: float = 2.0):
    """Another."""
    return mine(logits, batch, weight=weight)


def test_a_registered_component_is_offered_and_explained():
    register("loss", "mine", mine)
    plugins = Plugins.discover()
    component = plugins.component("loss", "mine")
    assert component.full_name == "session/loss.mine:mine"
    assert component.plugin.version.startswith("sha256:")
    assert "weight = 1.0  # float" in explain_topic("loss.mine", plugins)
    assert component.plugin in plugins.records


def test_registering_again_replaces_and_another_kind_is_another_component():
    register("loss", "mine", mine)
    before = Plugins.discover().component("loss", "mine")
    register("loss", "mine", other)
    register("scheduler", "mine", lambda step: 1.0)
    plugins = Plugins.discover()
    assert plugins.component("loss", "mine").target is other
    assert plugins.component("loss", "mine").plugin.version != before.plugin.version
    assert plugins.component("scheduler", "mine").plugin.version.startswith("sha256:")


@pytest.mark.parametrize(
    ("kind", "name", "component", "words"),
    [
        ("lost", "mine", mine, "no kind of components named 'lost' (did you mean 'loss'?)"),
        ("loss", "My Loss", mine, "'My Loss': a name is lower case letters, digits and underscores"),
        ("loss", "mine", lambda logits: 0, "takes (logits) before its settings; a loss is called with (logits, batch)"),
        ("loss", "mine", 7, "the target 7 is not 'package.module:NAME' of a class or function"),
        ("loss", "mine", lambda logits, batch, *, alpha: 0, "has a setting 'alpha' without a type hint"),
    ],
)
def test_what_cannot_be_registered_is_refused_and_leaves_what_was_there(kind, name, component, words):
    register("loss", "mine", mine)
    with pytest.raises(PluginError) as error:
        register(kind, name, component)
    assert words in str(error.value)
    assert Plugins.discover().component("loss", "mine").target is mine
    assert len(session.list_registered()) == 1


def test_a_name_that_a_package_offers_too_is_a_clash_with_a_way_to_choose(site):
    site("t-two", 'from forestgaps_core import hookimpl\n@hookimpl\ndef forestgaps_losses():\n    return {"mine": "MODULE:x"}')
    register("loss", "mine", mine)
    with pytest.raises(PluginError, match=r'choose with name = "session/loss.mine:mine" or name = "t-two:mine"'):
        Plugins.discover().component("loss", "mine")
    assert Plugins.discover().component("loss", "session/loss.mine:mine").target is mine


def test_the_source_of_a_class_without_a_file_is_found_through_its_methods():
    assert read_source(mine).startswith("def mine(")
    assert read_source(print) == read_source(type("Made", (), {})) == ""


@pytest.fixture
def run_file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(FILES, json.dumps([str(EXAMPLE_PLUGIN)]))
    path = tmp_path / "run.toml"
    path.write_text(RUN_FILE.replace("epochs = 3", "epochs = 1"))
    return path


def test_a_config_of_a_redefined_component_is_refused(run_file, tmp_path):
    register("loss", "mine", mine)
    config = load_config(run_file, overrides=["loss.name=mine"])
    changed: dict[str, Any] = {}
    exec(f"from __future__ import annotations\n__name__ = {__name__!r}\ndef mine(logits, batch):\n    return logits.sum()", changed)
    register("loss", "mine", changed["mine"])
    with pytest.raises(PluginError, match="was defined anew since this config was made; make the config again"):
        train_model(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_component_is_asked_for_and_a_given_file_takes_its_place(run_file, tmp_path, monkeypatch):
    register("loss", "mine", mine)
    folder = tmp_path / "run"
    train_model(load_config(run_file, overrides=["loss.name=mine", "loss.weight=3"]), folder)
    version = Plugins.discover().component("loss", "mine").plugin.version
    assert json.loads((folder / "versions.json").read_text())["session/loss.mine"] == version
    (text,) = (folder / "plugins").glob("session-loss.mine-*.txt")
    assert text.read_text().startswith("def mine(logits, batch, *, weight: float = 1.0):")
    assert load_predictor(folder)  # needs the network only

    monkeypatch.setattr(session, "_registered", {})
    with pytest.raises(PluginError) as error:
        resume_training(folder)
    assert str(error.value) == (
        f"the run {folder} cannot be used: the loss 'mine' was registered in a Python session: define it and call "
        f'forestgaps_core.register("loss", "mine", ...), or give a file that offers it with -p; its source text is in {text}'
    )
    file = tmp_path / "mine.py"
    file.write_text(
        text.read_text()
        + "\nfrom forestgaps_core import hookimpl\n@hookimpl\ndef forestgaps_losses():\n    return {'mine': mine}\n"
    )
    assert resume_training(folder, plugins=Plugins.discover([file])).epoch == 1


def test_a_network_of_a_session_is_asked_for_by_predict(run_file, tmp_path, monkeypatch):
    net = Plugins.discover().component("model", "net").load()
    register("model", "mine", net)
    folder = tmp_path / "run"
    train_model(load_config(run_file, overrides=["model.name=mine"]), folder)
    assert load_predictor(folder)
    monkeypatch.setattr(session, "_registered", {})
    with pytest.raises(Exception, match="the model 'mine' was registered in a Python session: define it and call"):
        load_predictor(folder)


# --- a real notebook ------------------------------------------------------------------------------------------------

CELLS = [
    """
import json, logging, sys, warnings
from pathlib import Path
import torch
from torch import nn
from forestgaps_core import load_config, register, resume_training, train_model

def mine(logits, batch, *, weight: float = 1.0):
    return weight * ((logits.sigmoid() - batch.target).square() * batch.valid).mean()

class Learned(nn.Module):
    def __init__(self, *, start: float = 1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(start))

    def forward(self, logits, batch):
        return mine(logits * self.scale, batch)

register("loss", "mine", mine)
register("loss", "learned", Learned)
config = load_config("run.toml", overrides=["loss.name=mine", "loss.weight=3", "environment.workers=1"])
print(train_model(config, "one").epoch)
print(train_model(load_config("run.toml", overrides=["loss.name=learned"]), "two").epoch)
""",
    """
for name in ("one", "two"):
    print(*(path.name.partition("-")[2].rpartition("-")[0] for path in Path(name, "plugins").glob("session-*.txt")))
print(*(path.read_text() for path in Path("two", "plugins").glob("session-*.txt")))
""",
    """
def mine(logits, batch, *, weight: float = 1.0):
    return 2 * weight * ((logits.sigmoid() - batch.target).square() * batch.valid).mean()

register("loss", "mine", mine)
try:
    train_model(config, "three")
except Exception as error:
    print(error)
""",
    """
logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(message)s")
print(resume_training("one").epoch)
earlier = json.loads(Path("one/versions_history.json").read_text())
print(len(earlier), len(list(Path("one/plugins").glob("session-loss.mine-*.txt"))))
""",
]


def execute_notebook(cells: list[str], folder: Path) -> list[str]:
    """Run cells in a kernel of its own; returns what each printed."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return ["".join(output.get("text", "") for output in cell.outputs if output.get("name") == "stdout") for cell in notebook.cells]


def test_a_notebook(run_file, tmp_path):
    shown = execute_notebook(CELLS, tmp_path)
    assert shown[0].split() == ["1", "1"]
    assert shown[1].startswith("loss.mine\nloss.learned\nclass Learned(nn.Module):\n")
    assert shown[1].rstrip().endswith("return mine(logits * self.scale, batch)")
    assert shown[2] == "the loss __main__:mine was defined anew since this config was made; make the config again\n"
    assert "one: resuming with session/loss.mine sha256:" in shown[3]
    assert shown[3].splitlines()[-2:] == ["1", "1 2"]


def test_the_notebook_of_the_page(run_file, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "how-to" / "use-a-notebook.md"
    cells = re.findall(r'^```python title="cell"\n(.*?)^```$', page.read_text(), re.M | re.S)
    assert len(cells) == 4
    assert execute_notebook(cells, tmp_path)[1].strip() == "session/loss.squared:squared"
