"""A loss that learns from a teacher."""

from attrs import define, field, frozen
from attrs.validators import ge


@define(eq=False)
class Scaled:
    loss: object
    factor: float

    def __call__(self, logits, batch):
        return self.factor * self.loss(logits, batch)


@frozen(kw_only=True)
class Distilled:
    """Squared distance of the probabilities of network and teacher."""

    weight: float = field(default=1.0, validator=ge(0), metadata={"help": "Factor on the loss."})

    def build(self, teacher):
        def distilled(logits, batch):
            cost = (logits.sigmoid() - teacher(batch).sigmoid()).square() * batch.valid
            return self.weight * cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)

        return distilled
