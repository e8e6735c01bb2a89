def squared(logits, batch, *, weight: float = 2.0):  # logic
    """Squared difference between target and probability.  # logic

    Args:  # logic
        weight: Cost of a gap pixel.  # logic
    """  # logic
    cost = (logits.sigmoid() - batch.target).square() * (1 + (weight - 1) * batch.target) * batch.valid  # logic
    return cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)  # logic


forestgaps_losses = {"squared": squared}
