"""The rules for post-processors: the halo is enough, pixels without data stay, maps stay monotone in the threshold. Need numpy."""

from __future__ import annotations

from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from forestgaps_core.testing.building import build_component
from forestgaps_core.testing.examples import THRESHOLDS

ROWS, COLUMNS = 40, 56
PART = 12  # rows and columns of the parts that are compared with the whole


@frozen(eq=False)
class ExampleMap:
    """A map with its halo, what a step makes of it, and where it has data; (K, h, w) and (h, w)."""

    step: Any
    values: Tensor
    valid: Tensor
    found: Tensor
    known: Tensor


def apply_step(step: Any, values: Tensor, valid: Tensor) -> Tensor:
    found = step(values.numpy().copy(), valid.numpy().copy())
    result = torch.from_numpy(found.copy())
    assert result.shape == values.shape, f"the result has the shape {tuple(result.shape)}, expected {tuple(values.shape)}"
    assert result.dtype == values.dtype, f"the result is {result.dtype}, expected {values.dtype}"
    return result


def process_example(config: Any, arguments: dict[str, Any]) -> ExampleMap:
    """Apply the step to a map whose values are monotone in the threshold, with invalid pixels."""
    step = build_component("postprocessor", config, **arguments)
    halo, generator = step.halo, torch.Generator().manual_seed(0)
    shape = (len(THRESHOLDS), ROWS + 2 * halo, COLUMNS + 2 * halo)
    probabilities = torch.rand(shape, generator=generator).sort(dim=0).values
    valid = torch.zeros(shape[1:], dtype=torch.bool)
    valid[halo : halo + ROWS, halo : halo + COLUMNS] = torch.rand((ROWS, COLUMNS), generator=generator) > 0.1
    values = (probabilities > 0.7) & valid if step.changes == "gaps" else probabilities * valid
    found = apply_step(step, values, valid)[:, halo : halo + ROWS, halo : halo + COLUMNS]
    return ExampleMap(step, values, valid, found, valid[halo : halo + ROWS, halo : halo + COLUMNS])


def check_attributes(config: Any, **arguments: Any) -> None:
    """The post-processor is a function with `halo` and `changes`."""
    step = build_component("postprocessor", config, **arguments)
    assert callable(step), f"build made a {type(step).__name__}, expected a function of (values, valid)"
    halo, changes = getattr(step, "halo", None), getattr(step, "changes", None)
    assert isinstance(halo, int) and halo >= 0, f"halo is {halo!r}, expected a number of pixels"
    assert changes in ("probabilities", "gaps"), f"changes is {changes!r}, expected 'probabilities' or 'gaps'"


def check_values(config: Any, **arguments: Any) -> None:
    """Shape and type stay, and probabilities are within 0 and 1."""
    example = process_example(config, arguments)
    checked = example.found[:, example.known]
    assert bool(((checked >= 0) & (checked <= 1)).all()), "a result is not a probability"


def check_monotone(config: Any, **arguments: Any) -> None:
    """A map that is monotone in the threshold stays so."""
    example = process_example(config, arguments)
    checked = example.found[:, example.known]
    assert bool((checked[:-1] <= checked[1:]).all()), (
        "the result is not monotone in the threshold: a gap at 2 m must be a gap at 5 m. Change all thresholds by the same rule"
    )


def check_halo(config: Any, **arguments: Any) -> None:
    """Parts of a map give what the whole map gives."""
    example = process_example(config, arguments)
    halo = example.step.halo
    for row in range(0, ROWS, PART):
        for column in range(0, COLUMNS, PART):
            rows, columns = min(PART, ROWS - row), min(PART, COLUMNS - column)
            part = (slice(row, row + rows + 2 * halo), slice(column, column + columns + 2 * halo))
            known = example.known[row : row + rows, column : column + columns]
            found = apply_step(example.step, example.values[:, *part], example.valid[part])
            found = found[:, halo : halo + rows, halo : halo + columns]
            expected = example.found[:, row : row + rows, column : column + columns]
            assert torch.equal(found[:, known], expected[:, known]), (
                f"a part of the map gives other values than the whole map; a result depends on more than halo = {halo} pixels"
            )


RULES = (check_attributes, check_values, check_monotone, check_halo)
