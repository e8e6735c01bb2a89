"""Bytes to a config, guided by what they reach in the code: for hours, by hand. Needs atheris (`pip install atheris`).

    python tests/fuzz/fuzz_run_files.py -max_total_time=300 -max_len=4096 CORPUS_FOLDER

CORPUS_FOLDER collects what reached something new; an empty one is filled with the recipes first. A crash is written to `crash-*`:
put it, made small with `-minimize_crash=1`, into tests/fuzz/corpus/run_files, where the tests take it up.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["tomllib", "cattrs", *(f"forestgaps_core.config.{module}" for module in ("reading", "toml_files", "converter"))]
):
    from forestgaps_core.config.reading import read_config
    from forestgaps_core.config.toml_files import parse_toml
    from forestgaps_core.config.writing import make_table
    from forestgaps_core.errors import ConfigError
    from forestgaps_core.plugins.registry import Plugins

PLUGINS = Plugins.discover()
SLOWEST = 10  # seconds, where -timeout is not given


def one(content: bytes) -> None:
    """Read or refuse one file."""
    import tomli_w

    try:
        config = read_config(parse_toml(content.decode("utf-8-sig")), PLUGINS, folder=Path("/"))
    except (ConfigError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return
    except ValueError as error:  # of the others only what `parsed` names
        if any(words in str(error) for words in ("more than", "beyond")):
            return
        raise
    assert read_config(tomllib.loads(tomli_w.dumps(make_table(config, PLUGINS))), PLUGINS, folder=Path("/")) == config


def main() -> None:
    for name, (_, recipe) in PLUGINS.recipes().items():
        from importlib.resources import files

        package, _, file = recipe.target.partition(":")
        for folder in [Path(word) for word in sys.argv[1:] if not word.startswith("-")]:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((Path(str(files(package))) / file).read_bytes())
    if not any(word.startswith("-timeout") for word in sys.argv):
        sys.argv.append(f"-timeout={SLOWEST}")
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
