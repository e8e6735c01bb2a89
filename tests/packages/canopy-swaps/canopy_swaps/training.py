"""An optimizer with parameter groups, an augmentation, and a schedule."""

import torch
from attrs import evolve, field, frozen
from attrs.validators import ge, gt, le

from forestgaps_core.runtime.rng import uniform


@frozen(kw_only=True)
class TwoRates:
    """SGD with momentum, and a rate of its own for norms and biases, which do not decay."""

    learning_rate: float = field(default=0.05, validator=gt(0), metadata={"help": "Rate of matrices and kernels."})
    vector_rate: float = field(default=0.02, validator=gt(0), metadata={"help": "Rate of norms and biases."})

    def build(self, modules):
        parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "lr": self.learning_rate, "weight_decay": 1e-3},
            {"params": [p for p in parameters if p.dim() <= 1], "lr": self.vector_rate, "weight_decay": 0.0},
        ]
        return torch.optim.SGD([group for group in groups if group["params"]], momentum=0.9)


@frozen(kw_only=True)
class Lift:
    """The ground of each tile is lifted by a random number of meters."""

    height_m: float = field(default=50.0, validator=ge(0), metadata={"help": "By how much at most, meters."})
    changes = ("ground",)

    def build(self):
        def lift(tiles):
            return evolve(tiles, dsm=tiles.dsm + self.height_m * uniform(tiles.draw, "lift", 1).float()[:, :, None, None])

        return lift


@frozen(kw_only=True)
class StepsDown:
    """The rate is halved after each epoch."""

    factor: float = field(default=0.5, validator=[gt(0), le(1)], metadata={"help": "Rate of an epoch over that of the one before."})

    def build(self, steps_per_epoch):
        return lambda step: self.factor ** (step // steps_per_epoch)
