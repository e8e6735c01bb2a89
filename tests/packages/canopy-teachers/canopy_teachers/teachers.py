"""Teachers: what a loss may learn from."""

from attrs import define, field, frozen
from attrs.validators import gt
from torch import nn


@define(eq=False)
class SmoothTeacher:
    width: int
    calls: int = 0

    def __call__(self, batch):
        self.calls += 1
        smooth = nn.functional.avg_pool2d(batch.target, self.width, stride=1, padding=self.width // 2)
        return (smooth * 4 - 2) * (1 + self.calls / 100)  # more certain with every call, so that a resumed run needs the count

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


@frozen(kw_only=True)
class Smooth:
    """The survey, averaged over a window."""

    width: int = field(
        default=3, validator=gt(0), metadata={"help": "Pixels of the window.", "renamed_from": "radius", "renamed_since": "0.2"}
    )

    def build(self, thresholds):
        return SmoothTeacher(self.width)


def check_teacher(config):
    """Hold a teacher against the contract of its kind."""
    from forestgaps_core.testing import example_batch

    batch = example_batch()
    logits = config.build(thresholds=(2.0, 5.0, 10.0))(batch)
    assert logits.shape == batch.target.shape, f"a teacher returns logits of shape {tuple(batch.target.shape)}"
