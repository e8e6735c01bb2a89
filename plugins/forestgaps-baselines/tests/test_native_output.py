from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from forestgaps_baselines.native_output import discard_native_output


def write_inside(number: int) -> None:
    with discard_native_output():
        os.write(1, b"inside ")
        time.sleep(0.05 + 0.05 * number)  # who comes first leaves first, while the others are inside


def test_the_output_is_restored_however_many_threads_discard_theirs(capfd: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write_inside, range(4)))
    os.write(1, b"after")
    assert capfd.readouterr().out == "after"


def test_the_output_is_restored_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), discard_native_output():
        raise ValueError("inside")
    os.write(1, b"after")
    assert capfd.readouterr().out == "after"
