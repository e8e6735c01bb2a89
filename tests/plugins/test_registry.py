from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement
from typer.testing import CliRunner

from forestgaps_core.cli.app import app
from forestgaps_core.cli.commands import installed
from forestgaps_core.errors import PluginError
from forestgaps_core.plugins.hook_checks import explain_unmet_requirement, meets_plain_requirement
from forestgaps_core.plugins.registry import Plugins

GOOD = """
from attrs import frozen
from forestgaps_core import hookimpl

@hookimpl
def forestgaps_losses():
    return {"mine": "MODULE:Mine"}

@frozen(kw_only=True)
class Mine:
    def build(self):
        return None
"""


def record(plugins, name):
    return next(plugin for plugin in plugins.records if plugin.distribution == name)


def test_an_installed_plugin_is_found_and_its_component_imported_by_name(site):
    site("t-good", GOOD)
    plugins = Plugins.discover()
    component = plugins.component("loss", "mine")
    assert str(component.plugin) == "t-good 1.0"
    assert component.load().__name__ == "Mine"


@pytest.mark.parametrize(
    ("source", "requires", "stage", "reason"),
    [
        ("raise RuntimeError('boom')", "forestgaps-core", "import", "RuntimeError: boom"),
        ("import sys; sys.exit(3)", "forestgaps-core", "import", "SystemExit: 3"),
        ("import not_there", "forestgaps-core", "import", "ModuleNotFoundError: No module named 'not_there'"),
        (GOOD, "forestgaps-core>=99", "requirement", "needs forestgaps-core >=99, this is"),
        (GOOD.replace("forestgaps_losses", "forestgaps_lossses"), "forestgaps-core", "hooks", "did you mean 'forestgaps_losses'?"),
        (GOOD.replace("@hookimpl", ""), "forestgaps-core", "hooks", "without @hookimpl"),
        ("hello = 1", "forestgaps-core", "hooks", "implements no hook"),
        (GOOD + "def __dir__():\n    return []", "forestgaps-core", "hooks", "implements no hook"),
        (GOOD.replace("forestgaps_losses()", "forestgaps_losses(extra)"), "forestgaps-core", "hooks", "extra"),
        (GOOD.replace('"mine"', '"My Loss"'), "forestgaps-core", "table", "a name is lower case"),
        (
            GOOD.replace('"MODULE:Mine"', '"Mine"'),
            "forestgaps-core",
            "table",
            "is not 'package.module:NAME' of a class or function",
        ),
        (GOOD.replace('return {"mine": "MODULE:Mine"}', "raise ValueError('no')"), "forestgaps-core", "table", "ValueError: no"),
        ("forestgaps_lossses = {}", "forestgaps-core", "hooks", "not a hook (did you mean 'forestgaps_losses'?)"),
        ("forestgaps_build = {}", "forestgaps-core", "hooks", "has a table 'forestgaps_build'; this hook is a function"),
    ],
)
def test_a_broken_plugin_is_kept_as_a_record_and_the_others_work(site, source, requires, stage, reason):
    site("t-broken", source, requires=requires, version="2.5")
    site("t-good", GOOD.replace('"mine"', '"other"'))
    plugins = Plugins.discover()
    assert plugins.component("loss", "other").load()
    broken = record(plugins, "t-broken")
    assert (broken.failed, broken.version) == (stage, "2.5")
    assert reason in broken.reason
    with pytest.raises(PluginError, match=r"t-broken 2.5 \(" + stage):
        plugins.component("loss", "mine_or_whatever")


def test_a_hook_may_be_a_plain_table_beside_functions(site):
    site("t-good", GOOD + '\nforestgaps_schedulers = {"slow": "MODULE:Mine"}\nforestgaps_metrics = {}\n')
    plugins = Plugins.discover()
    assert plugins.component("loss", "mine").load()
    assert plugins.component("scheduler", "slow").load()
    assert record(plugins, "t-good").failed is None
    assert "forestgaps_schedulers" in dir(sys.modules["t_good"])


def test_a_plugin_with_an_unmet_requirement_is_not_imported(site):
    site("t-old", "raise SystemError('imported')", requires="forestgaps-core<0.1")
    assert record(Plugins.discover(), "t-old").failed == "requirement"


def test_a_requirement_of_an_extra_does_not_count():
    assert explain_unmet_requirement(['forestgaps-core>=99; extra == "future"', "torch>=99"]) == ""
    assert explain_unmet_requirement(["forestgaps_core >= 99"])
    assert explain_unmet_requirement(["Forestgaps.Core<99,>=0.1"]) == ""


bounds = st.lists(
    st.tuples(
        st.sampled_from([">=", "<=", "<", ">", "==", "!=", "~="]),
        st.sampled_from(["0", "0.1", "0.1.0", "0.1.1", "0.2", "1.0rc1", "1"]),
    ),
    max_size=3,
)


@given(
    bounds,
    st.sampled_from(["forestgaps-core", "forestgaps_core[tracking]", "Forestgaps.Core[networks,tracking]"]),
    st.sampled_from(["", " ; python_version >= '3'", '; extra == "future"']),
    st.sampled_from(["0.1.0", "0.1", "0.2.0", "0.2.0rc1", "1.0"]),
)
def test_a_plain_requirement_is_matched_as_packaging_does(found, name, marker, version):
    text = name + ",".join(f"{operator}{release}" for operator, release in found)
    try:
        requirement = Requirement(text + marker)
    except InvalidRequirement:
        assert not meets_plain_requirement(text + marker, version)
        return
    within = requirement.specifier.contains(version, prereleases=True)
    if meets_plain_requirement(text + marker, version):
        assert within
    elif within:  # then packaging is asked; it must not be for what packages usually require
        usual = found and not marker and all(">" in operator or "<" in operator for operator, _ in found)
        assert not usual or any("rc" in release for _, release in [*found, ("", version)])


def test_a_name_offered_twice_must_be_chosen(site):
    site("t-one", GOOD)
    site("t-two", GOOD)
    plugins = Plugins.discover()
    with pytest.raises(PluginError, match=r"t-one 1.0 and t-two 1.0; choose with name = \"t-one:mine\" or name = \"t-two:mine\""):
        plugins.component("loss", "mine")
    assert plugins.component("loss", "t-two:mine").plugin.distribution == "t-two"


def test_a_second_entry_point_of_one_distribution_is_reported(site):
    site("t-double", GOOD, points=["a = t_double", "b = t_double"])
    plugins = Plugins.discover()
    states = [plugin.reason for plugin in plugins.records if plugin.distribution == "t-double"]
    assert states[0] == ""
    assert "more than one entry point" in states[1]


def test_a_target_that_cannot_be_imported_is_reported_with_its_package(site):
    site("t-late", GOOD.replace('"MODULE:Mine"', '"t_late_missing:Mine"'))
    with pytest.raises(PluginError, match=r"the loss 'mine' of t-late 1.0 cannot be imported from t_late_missing:Mine"):
        Plugins.discover().component("loss", "mine").load()
    site("t-gone", GOOD.replace("mine", "gone").replace("MODULE:Mine", "MODULE:Mien"))
    with pytest.raises(PluginError, match=r"t_gone has no 'Mien' \(did you mean 'Mine'\?\)"):
        Plugins.discover().component("loss", "gone").load()


def test_what_a_plugin_prints_while_it_is_imported_stays_out_of_stdout(site, capsys):
    site("t-loud", "print('hello')\n" + GOOD)
    Plugins.discover()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


def test_an_unknown_name_is_reported_with_the_nearest(plugins):
    with pytest.raises(PluginError, match=r"no loss named 'binry' \(did you mean 'binary'\?\); there is: binary"):
        plugins.component("loss", "binry")


def test_a_local_file_offers_classes_and_is_known_by_its_hash(plugins):
    component = plugins.component("model", "net")
    assert component.plugin.distribution == "example_plugin.py"
    assert component.plugin.version.startswith("sha256:")
    assert plugins.component_of("model", component.load()()) == component


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("raise ValueError('x')", "ValueError: x"),
        ("def broken(:", "SyntaxError"),
        (GOOD.replace("_losses", "_loses"), "is not a hook"),
        (
            GOOD.replace("_losses", "_loses") + "\n\n@hookimpl\ndef forestgaps_metric():\n    return {}\n"
            "\n\ndef forestgaps_data():\n    return {}\n",
            r"implements 'forestgaps_loses', which is not a hook \(did you mean 'forestgaps_losses'\?\), nor is "
            r"'forestgaps_metric' \(did you mean 'forestgaps_metrics'\?\); has a function 'forestgaps_data' without",
        ),
    ],
)
def test_a_local_file_that_cannot_be_used_is_reported_at_once(tmp_path, source, sentence):
    path = tmp_path / "mine.py"
    path.write_text(source)
    with pytest.raises(PluginError, match=sentence):
        Plugins().add_file(path)


def test_every_misspelt_hook_is_named_however_many(site):
    names = [f"forestgaps_loses_{number}" for number in range(20)]
    site("t-many", "from forestgaps_core import hookimpl\n" + "".join(f"@hookimpl\ndef {name}(): return {{}}\n" for name in names))
    reason = record(Plugins.discover(), "t-many").reason
    assert all(f"{name!r}" in reason for name in names)
    assert "..." not in reason


def test_a_local_file_that_is_missing_is_reported():
    with pytest.raises(PluginError, match="no such file"):
        Plugins().add_file(Path("nowhere.py"))


def test_a_config_no_plugin_offers_cannot_be_named(plugins):
    with pytest.raises(PluginError, match="no installed plugin offers the loss"):
        plugins.component_of("loss", object())


PROJECT = """
[project]
name = "T-Folder"
version = "0.9"
dependencies = ["forestgaps-core>=0.1"]
[project.entry-points.forestgaps]
t-folder = "t_folder"
"""


def test_a_folder_is_loaded_without_installing_it(tmp_path, site):
    (tmp_path / "t_folder.py").write_text(GOOD.replace("MODULE", "t_folder"))
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    plugins = Plugins()
    plugin = plugins.add_folder(tmp_path)
    assert (str(plugin), plugin.failed) == ("t-folder 0.9", None)
    assert plugins.component("loss", "mine").load().__name__ == "Mine"


def test_a_folder_that_holds_no_plugin_is_reported(tmp_path, site):
    with pytest.raises(PluginError, match=r"no pyproject.toml with \[project.entry-points.forestgaps\]"):
        Plugins().add_folder(tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT.replace(">=0.1", ">=77"))
    assert Plugins().add_folder(tmp_path).failed == "requirement"
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    assert Plugins().add_folder(tmp_path).failed == "import"
    (tmp_path / "pyproject.toml").write_text(PROJECT + 'second = "t_folder"\n')
    assert Plugins().add_folder(tmp_path).failed == "hooks"


def test_a_place_to_compute_is_found_by_the_scheme_of_its_address(site):
    source = """
        from forestgaps_core import hookimpl

        @hookimpl
        def forestgaps_executors():
            return {"far": "MODULE:connect", "lost": "MODULE:nothing"}

        def connect(address):
            return f"connected to {address}"
    """
    site("t-far", source)
    plugins = Plugins.discover()
    owner, _ = plugins.executors()["far"]
    assert str(owner) == "t-far 1.0"
    assert plugins.executor("far")("far://host:1") == "connected to far://host:1"
    with pytest.raises(PluginError, match=r"executor for lost:// of t-far 1.0.*has no 'nothing'"):
        plugins.executor("lost")


def test_a_place_to_compute_that_is_no_target_is_kept_as_a_record(site):
    site("t-far", "from forestgaps_core import hookimpl\n@hookimpl\ndef forestgaps_executors():\n    return {'far': 7}\n")
    plugins = Plugins.discover()
    assert "far" not in plugins.executors()
    assert "forestgaps_executors offers 'far'" in record(plugins, "t-far").reason


def test_an_engine_is_found_by_its_name(site):
    source = """
        from forestgaps_core import hookimpl

        @hookimpl
        def forestgaps_engines():
            return {"paper": "MODULE:Paper"}

        class Paper:
            data_only = True
    """
    site("t-paper", source)
    plugins = Plugins.discover()
    assert plugins.engine("paper").data_only
    with pytest.raises(PluginError, match=r"no engine named 'papers' \(did you mean 'paper'\?\); installed engines: .*paper"):
        plugins.engine("papers")


ROW = """
from forestgaps_core import hookimpl
from forestgaps_core.kinds import Command, Pretrained, Recipe

class Silent:
    def __repr__(self):
        raise ValueError("no words")

class Name(str):
    __hash__ = str.__hash__

    def __eq__(self, other):
        raise ValueError("not comparable")

class Pairs(dict):
    def items(self):
        return self["items"]

class Wordless(BaseException):
    def __str__(self):
        raise ValueError("no words")

@hookimpl
def forestgaps_{hook}():
    {body}
"""


@pytest.mark.parametrize(
    ("hook", "body", "reason"),
    [
        ("losses", "return {'mine': Silent()}", "the target of type Silent is not"),
        ("losses", "return {Silent(): 'a:B'}", "offers of type Silent: a name is lower case"),
        ("losses", "return Pairs(items=[(1, 2, 3)])", "too many values to unpack"),
        ("losses", "return Pairs(items=[5])", "cannot unpack"),
        ("losses", "return Pairs(items=None)", "not iterable"),
        ("losses", "raise Wordless", "its message cannot be read"),
        ("losses", "return {'mine': 'x' * 10_000}", "xxx..."),
        ("commands", "return {'mine': Command(5, 'Help.')}", "its target is 5, expected a text"),
        ("commands", "return {'mine': Command('a:b', None)}", "its help is None, expected a text"),
        ("commands", "return {'mine': Command('a', 'Help.')}", "the target 'a' is not"),
        ("commands", "return {'mine': 'a:b'}", "not a Command under a name"),
        ("recipes", "return {'mine': Recipe(Silent(), 'Help.')}", "its target is of type Silent, expected a text"),
        ("recipes", "return {'mine': Recipe('', 'Help.')}", "the target '' is not"),
        ("networks", "return {'mine': Pretrained('a:b', ['Help.'])}", "its help is .'Help.'., expected a text"),
        ("networks", "return {'mine': Pretrained('a:', 'Help.')}", "the target 'a:' is not"),
        ("executors", "return {'mine': 'a'}", "the target 'a' is not"),
        ("engines", "return {Silent(): 'a:b'}", "not a str under a name"),
    ],
)
def test_a_row_of_any_other_form_concerns_its_plugin_only(site, hook, body, reason):
    """Code of a plugin may fail wherever it runs, `__repr__` and `__str__` included."""
    site("t-broken", ROW.format(hook=hook, body=body))
    site("t-good", GOOD.replace('"mine"', '"other"'))
    plugins = Plugins.discover()
    assert plugins.component("loss", "other").load()
    plugins.clashes()  # reads all tables
    broken = record(plugins, "t-broken")
    assert broken.failed == "table" and re.search(reason, broken.reason) and len(broken.reason) < 300
    assert "other" in plugins.components("loss")


@pytest.mark.parametrize("base", ["Exception", "BaseException"])
@pytest.mark.parametrize("text", ["raise ValueError('no words')", "return 5"])
def test_an_error_whose_message_cannot_be_read_concerns_its_plugin_only(site, base, text):
    site("t-broken", f"class Wordless({base}):\n    def __str__(self):\n        {text}\nraise Wordless\n")
    broken = record(Plugins.discover(), "t-broken")
    assert (broken.failed, broken.reason.partition(":")[0]) == ("import", "Wordless")
    assert "its message cannot be read" in broken.reason


def test_a_name_of_a_class_of_its_own_is_a_text_like_any_other(site):
    site("t-names", ROW.format(hook="losses", body="return {Name('other'): 'a:B'}"))
    site("t-good", GOOD.replace('"mine"', '"other"'))
    assert len(Plugins.discover().components("loss")["other"]) == 2


@pytest.mark.parametrize("text", ["[/red] closes what nothing opened", "heights [m]", "[link=x", "two\nlines"])
def test_the_help_of_a_command_is_no_markup(site, monkeypatch, text):
    """One that is taken for markup would end `forestgaps --help` for everybody."""
    monkeypatch.setenv("COLUMNS", "120")
    site("t-help", ROW.format(hook="commands", body=f"return {{'mine': Command('a:b', {text!r})}}"))
    monkeypatch.setattr(installed, "_found", [])
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert " ".join(text.split()) in result.output


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("run = 5", "is not a function"),
        ("def run(x: 'nothing_there'):\n    pass", "cannot be called"),
        ("class run:\n    pass", "is not a function"),
    ],
)
def test_a_command_that_is_no_function_is_reported(site, monkeypatch, source, words):
    site("t-command", source + ROW.format(hook="commands", body="return {'mine': Command('MODULE:run', 'Help.')}"))
    monkeypatch.setattr(installed, "_found", [])
    result = CliRunner().invoke(app, ["mine"])
    assert isinstance(result.exception, PluginError)
    assert f"the command 'mine' of t-command 1.0 {words}" in str(result.exception)


def test_streams_that_a_plugin_replaces_are_put_back(site):
    before = sys.stdout, sys.stderr
    site("t-streams", "import sys\nsys.stdout = sys.stderr = None\n" + GOOD)
    assert Plugins.discover().component("loss", "mine").load()
    assert (sys.stdout, sys.stderr) == before
