import pytest


@pytest.fixture
def squared(request):  # logic
    weight = 2.0  # logic
    return lambda probability, target: weight * (probability - target) ** 2  # logic
