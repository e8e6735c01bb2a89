from __future__ import annotations

import pytest

from forestgaps_core.config.toml_files import read_table
from forestgaps_core.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[data\n", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"a = " + b"[" * 3000, "more than 32 deep"),
        (b"seed: 1", "is not TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_reported(tmp_path, content, sentence):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        read_table(path)


def test_a_missing_file_is_reported_with_the_nearest_one_there(run_file):
    with pytest.raises(ConfigError, match=r"no such file \(did you mean 'run.toml'\?\)"):
        read_table(run_file.with_name("rum.toml"))
