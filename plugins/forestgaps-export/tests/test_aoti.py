from __future__ import annotations

import pytest

from forestgaps_core.components import Program
from forestgaps_core.errors import CheckpointError
from forestgaps_core.inference.model_folder import compute_sha256
from forestgaps_export import aoti


def opened(data: bytes = b"code", **changes: str) -> None:
    made_with = aoti.describe_machine() | changes
    aoti.Aoti().open(
        data, Program(engine="aoti", file="model.pt2", sha256=compute_sha256(data), bytes=len(data), made_with=made_with)
    )


def test_another_torch_system_or_processor_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(CheckpointError, match=r"compiled for torch 2\.0\.0, but this machine has"):
        opened(torch="2.0.0")
    with pytest.raises(CheckpointError, match="compiled for system Plan9 mips"):
        opened(system="Plan9 mips")
    with pytest.raises(CheckpointError, match="a processor with avx1024, which this processor does not have"):
        opened(instructions="avx1024")


def test_what_does_not_say_where_it_was_made_is_refused() -> None:
    with pytest.raises(CheckpointError, match="compiled for torch unknown"):
        aoti.refuse_other_machines({})


def test_a_damaged_archive_is_told() -> None:
    with pytest.raises(CheckpointError, match=r"model.pt2 cannot be loaded"):
        opened()


def test_without_a_compiler_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert aoti.compiler() is None
    with pytest.raises(CheckpointError, match=r"needs a C\+\+ compiler"):
        aoti.compile_program(None)  # type: ignore[arg-type]  # it does not come to that
