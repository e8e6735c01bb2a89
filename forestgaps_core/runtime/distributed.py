"""One run in several processes, started by torchrun: who they are, and what they tell each other.

A batch is split among them, so the batches, their order and the schedule are those of one process; gradients are summed once a
step.
The first process writes; the others compute. With one process everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from attrs import frozen
from torch import Tensor, distributed, nn

from forestgaps_core.errors import ForestgapsError

Thing = TypeVar("Thing")
PATIENCE = timedelta(minutes=30)  # for the slowest of them, as in a validation


@frozen
class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: Of this one, from 0.
        count: Of all.
        local: Of this one among those of its machine: the number of its GPU.
        local_count: How many are on its machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    local_count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    # --- on the device --------------------------------------------------------------------------------------------------

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Each of these becomes its sum over the processes, in one message, in place."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1).to(torch.float32) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def follow_first(self, model: nn.Module) -> None:
        """Buffers (running statistics) as the first process has them."""
        if self.count > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    # --- on the CPU -----------------------------------------------------------------------------------------------------

    def any_of(self, reason: str | None) -> str | None:
        """A reason to stop, if any process has one; the first's in the order of ranks. Does not touch the device."""
        if self.count == 1:
            return reason
        said = torch.tensor([self.count if reason is None else self.rank])
        distributed.all_reduce(said, distributed.ReduceOp.MIN, group=_cpu[0])
        return None if int(said) == self.count else next(said for said in self.gathered(reason) if said is not None)

    def of_first(self, thing: Thing) -> Thing:
        """What the first process has."""
        if self.count == 1:
            return thing
        things: list[Any] = [thing]
        distributed.broadcast_object_list(things, 0, group=_cpu[0])
        chosen: Thing = things[0]
        return chosen

    def gathered(self, thing: Thing) -> list[Thing]:
        """What each has, in the order of ranks. Sent by pickle among the run's own processes."""
        if self.count == 1:
            return [thing]
        things: list[Any] = [None] * self.count
        distributed.all_gather_object(things, thing, group=_cpu[0])
        return things


ALONE = Processes()
_cpu: list[Any] = [None]  # the group that speaks without a GPU


def find_processes(environment: Mapping[str, str] = os.environ) -> Processes:
    """What torchrun says in the environment.

    Raises:
        ForestgapsError: It says only a part.
    """
    if "RANK" not in environment or int(environment.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    try:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return Processes(*(int(environment[name]) for name in names))
    except (KeyError, ValueError) as error:
        raise ForestgapsError(f"RANK is set but {error} is not: start several processes with torchrun") from error


@contextmanager
def join(here: Processes, device: torch.device) -> Iterator[None]:
    """Speak with the other processes during the block.

    Raises:
        ForestgapsError: One of them ended meanwhile.
    """
    if here.count == 1:
        yield
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    _cpu[0] = distributed.new_group(backend="gloo", timeout=PATIENCE) if backend != "gloo" else None
    try:
        yield
    except RuntimeError as error:
        if not is_lost_process(error):
            raise
        raise ForestgapsError(
            f"process {here.rank} of {here.count} lost another one ({' '.join(str(error).split())[:200]}). The last checkpoint is "
            "whole; resume from it with --resume, in any number of processes"
        ) from error
    finally:
        distributed.destroy_process_group()


def is_lost_process(error: RuntimeError) -> bool:
    """Whether torch says that another process is gone."""
    if isinstance(error, distributed.DistError):
        return True
    return any(word in str(error) for word in ("gloo", "Connection closed by peer", "Connection reset", "Broken pipe", "NCCL"))
