"""Call the network and the loss of a run, check what they return, and give the loss its context if it takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from forestgaps_core.components import Batch, Loss, LossContext
from forestgaps_core.contracts import Name, NamedErrors, check_logits, check_loss
from forestgaps_core.errors import PluginError, nearest
from forestgaps_core.inference.input_layers import call_network
from forestgaps_core.runtime.environment import Environment
from forestgaps_core.training.logged_values import ValueLog


class ForwardPass:
    """The network and the loss of a trainer.

    Args:
        model: On the device.
        values: Receives what the loss logs.
        named: Words for a component at a place of the run file.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | None,
        environment: Environment,
        device: torch.device,
        values: ValueLog,
        named: Callable[[str, object], Name],
    ) -> None:
        self.model, self.loss, self.environment, self.device, self.values = model, loss, environment, device, values
        self.model_errors, self.loss_errors = NamedErrors(named("model", model)), NamedErrors(named("loss", loss))
        self.outputs: dict[str, Tensor] = {}  # of the modules that the loss names, in the last forward pass
        self.takes_context = loss is not None and takes_context(loss)
        for name in getattr(loss, "outputs", ()) if self.takes_context else ():
            find_module(model, name, self.loss_errors.name).register_forward_hook(partial(self._keep_output, name))
        self.network: Callable[..., Tensor] = torch.compile(model) if environment.compile else model

    def _keep_output(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self.outputs[name] = output

    def compute_logits(self, batch: Batch) -> Tensor:
        """Return logits (B, K, H, W) in float32: losses and metrics are computed in it, whatever the network's precision."""
        with self.model_errors, self.environment.autocast(self.device):
            logits: Tensor = call_network(self.network, batch)
        check_logits(logits, batch, self.model_errors.name)
        return logits.float()

    def compute_loss(self, logits: Tensor, batch: Batch, *, split: str, position: Callable[[], Mapping[str, Any]]) -> Tensor:
        """Return the loss, ().

        Args:
            split: "train", or the split that is evaluated.
            position: Returns step, epoch and total_steps of the run.
        """
        assert self.loss is not None
        with self.loss_errors:
            if self.takes_context:
                log = partial(self.values.log_from_loss, owner=self.loss_errors.name())
                context = LossContext(split=split, outputs=self.outputs, log=log, **position())
                loss: Tensor = self.loss(logits, batch, context=context)  # type: ignore[call-arg]  # as its signature says
                self.outputs.clear()
            else:
                loss = self.loss(logits, batch)
        check_loss(loss, self.loss_errors.name)
        return loss


def takes_context(loss: Loss) -> bool:
    """Return whether a loss has a parameter `context`."""
    try:
        parameters = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    except (TypeError, ValueError):  # a builtin
        return False
    return "context" in parameters


def find_module(model: nn.Module, name: str, loss: Name) -> nn.Module:
    known = [place for place, _ in model.named_modules()]
    if name in known:
        return model.get_submodule(name)
    raise PluginError(f"{loss()}: outputs names {name!r}, which is not a module of the network{nearest(name, known)}")
