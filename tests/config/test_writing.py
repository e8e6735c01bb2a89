from __future__ import annotations

import tomllib

import tomli_w

from forestgaps_core.config.reading import load_config, read_config
from forestgaps_core.config.writing import make_table


def test_the_resolved_file_gives_the_same_config(run_file, plugins):
    config = load_config(run_file, plugins=plugins)
    text = tomli_w.dumps(make_table(config, plugins))
    assert read_config(tomllib.loads(text), plugins) == config
