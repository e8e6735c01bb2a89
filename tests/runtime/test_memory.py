from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Planes of 64 MB, taken and given back as the layers of a network do, and the pages the system had to clear for them.
PLANES = """
import resource, sys
import torch
from forestgaps_core.runtime.memory import reuse_memory

arranged = reuse_memory() if sys.argv[1] == "reuse" else None
for _ in range(12):  # glibc lays the first eight beside one another
    torch.ones(16 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(16 * 2**20)
print(arranged, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(how: str, **environment: str) -> tuple[str, int]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    line = [sys.executable, "-c", PLANES, how]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env={**clean, **environment})
    arranged, faults = done.stdout.split()
    return arranged, int(faults)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="only glibc is told so")
def test_planes_that_are_given_back_are_taken_again_without_new_pages() -> None:
    arranged, reused = pages("reuse")
    _, anew = pages("not")
    assert arranged == "True"
    assert anew > 8 * 64 * 2**20 / 2**21, "else nothing is to be gained here"
    assert reused < anew / 4


def test_who_tuned_the_allocator_is_left_alone() -> None:
    assert pages("reuse", MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
