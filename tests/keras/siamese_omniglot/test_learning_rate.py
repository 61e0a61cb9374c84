"""The learning rates that the original computes."""
from __future__ import annotations

import pytest

from siamese_omniglot.update import schedule


@pytest.mark.parametrize("num_epochs, recorded", [
    (100, {0: 5e-4, 1: 1e-3, 2: 2.5e-3, 3: 5e-3, 4: 0.00499856, 50: 0.0024405, 94: 5.14429e-5, 95: 5e-5, 99: 5e-5}),
    (50, {0: 5e-4, 1: 0.00122, 2: 0.00338, 3: 0.00499849, 4: 0.00498644, 25: 0.002525, 44: 1.23518e-4, 45: 8.76008e-5,
          47: 5.15077e-5, 49: 5e-5}),
])
def test_cosine(num_epochs, recorded):
    found = schedule("cosine", "sgd", 1e-2, 32, num_epochs)
    assert {epoch: found(epoch) for epoch in recorded} == pytest.approx(recorded, rel=2e-6)


def test_step():
    recorded = {0: 5e-3, 9: 5e-3, 10: 0.00299742, 50: 3.87132e-4, 99: 5e-5}
    found = schedule("step", "sgd", 1e-2, 32, 100)
    assert {epoch: found(epoch) for epoch in recorded} == pytest.approx(recorded, rel=2e-6)


@pytest.mark.parametrize("optimizer, batch_size, rate, first, last", [
    ("sgd", 64, 1e-2, 1e-2, 1e-4), ("sgd", 1, 1e-2, 5e-4, 5e-6), ("sgd", 4096, 1e-2, 1e-1, 1e-3),
    ("adam", 64, 1e-2, 1e-3, 1e-5), ("adam", 1, 1e-2, 3e-4, 3e-6), ("adam", 32, 1e-3, 5e-4, 5e-6),
])
def test_rates_are_scaled_and_clamped(optimizer, batch_size, rate, first, last):
    found = schedule("step", optimizer, rate, batch_size, 50)
    assert (found(0), found(49)) == pytest.approx((first, last))


def test_warm_up_of_a_given_length():
    found = schedule("cosine", "sgd", 1e-2, 64, 50, warm_up=10)
    assert found(5) == pytest.approx(1e-3 + 9e-3 * 0.25) and found(10) == pytest.approx(1e-2)


@pytest.mark.parametrize("num_epochs", [1, 2, 3])
def test_short_runs(num_epochs):
    for kind in ("cosine", "step"):
        rates = [schedule(kind, "sgd", 1e-2, 64, num_epochs)(epoch) for epoch in range(num_epochs)]
        assert all(0.99e-4 <= rate <= 1.01e-2 for rate in rates)
