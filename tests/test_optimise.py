"""Steps of an optimiser: bad ones dropped, the learning rate, the average of weights."""

import pytest
import torch
from torch import nn

from audiovae.config import TrainingConfig
from audiovae.errors import UserError
from audiovae.training.optimise import MOST_BAD_STEPS, Average, Optimiser, learning_rate


def test_bad_steps_are_dropped_counted_and_end_training():
    layer = nn.Linear(2, 2)
    optimiser = Optimiser([(list(layer.parameters()), 0.1)], TrainingConfig(), 100)
    before = [p.detach().clone() for p in layer.parameters()]
    for step in range(MOST_BAD_STEPS - 1):
        (layer(torch.ones(1, 2)).sum() * float("nan")).backward()
        optimiser.apply(step)
    assert all(torch.equal(a, b) for a, b in zip(before, layer.parameters(), strict=True))
    assert optimiser.bad_steps == MOST_BAD_STEPS - 1
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.apply(0)
    assert optimiser.bad_in_a_row == 0
    with pytest.raises(UserError, match="diverged"):
        for step in range(MOST_BAD_STEPS):
            (layer(torch.ones(1, 2)).sum() * float("inf")).backward()
            optimiser.apply(step)


def test_the_learning_rate_rises_then_falls():
    rates = [learning_rate(step, 1_000, 100) for step in range(1_001)]
    assert rates[0] == pytest.approx(0.01, rel=0.01) and max(rates) <= 1.0
    assert rates.index(max(rates)) in range(90, 110)
    assert rates[-1] == pytest.approx(0.05)


def test_the_average_follows_and_swaps():
    layer = nn.Linear(1, 1)
    average = Average(layer.parameters(), 0.5)
    start = float(layer.weight.detach())
    with torch.no_grad():
        layer.weight += 1.0
    average.update(1_000)
    average.swap()
    assert float(layer.weight.detach()) == pytest.approx(start + 0.5)
    average.swap()
    assert float(layer.weight.detach()) == pytest.approx(start + 1.0)
