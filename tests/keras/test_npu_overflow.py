"""One of two ranks on NPUs overflows: both skip the step and go on.

The device makes infinities, as all products do but Ascend 910A, or clips and sets a status, as that one does.
"""
from __future__ import annotations

import json

import numpy as np
import pytest

from tests.conftest import slow_on_the_default_leg
from tests.keras.scaled_training import NUM_STEPS, RATE, example
from tests.processes import is_keras_2, start_on_two_fake_npus

ENTRY = "tests.keras.scaled_training"
INITIAL_SCALE = 2.0 ** 15
needs_keras_2 = pytest.mark.skipif(not is_keras_2(), reason="the adapter supports Keras 2 alone")


def train(way, product, folder, steps):
    """Return the exit statuses and errors of two ranks, of which the second overflows in some steps."""
    variables = dict(ZOO_FAKE_PRODUCT=product, ZOO_FAKE_HCCL_SECONDS="10")
    processes = start_on_two_fake_npus(ENTRY, folder / "fake", [[way, str(folder)]],
                                       [variables, dict(variables, ZOO_FAKE_OVERFLOWS=",".join(map(str, steps)))])
    ended = [process.communicate(timeout=120)[1].decode() for process in processes]
    return [process.returncode for process in processes], ended


def expected_weights(skipped):
    """The weights after each step, from the sums of the gradients of a linear function."""
    weights, seen = np.ones(2), []
    for step in range(1, NUM_STEPS + 1):
        if step not in skipped:
            weights = weights - RATE * np.sum([example(rank, step) for rank in range(2)], axis=0)
        seen.append(weights)
    return seen


@slow_on_the_default_leg  # the adapter supports Keras 2 alone
@pytest.mark.parametrize("product", ["A2", pytest.param("910A", marks=needs_keras_2)])
def test_both_ranks_skip_the_step(tmp_path, product):
    """The first one and a later one; the steps between them are made."""
    overflows = [1, 4]
    statuses, errors = train("workers", product, tmp_path, overflows)
    assert statuses == [0, 0], errors
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert seen[0] == seen[1]
    np.testing.assert_allclose(seen[0]["weights"], expected_weights(overflows))
    assert seen[0]["scale"] == INITIAL_SCALE / 2 ** len(overflows)


@needs_keras_2
@pytest.mark.parametrize("product, hangs", [("A2", True), ("910A", False)])
def test_the_adapter_s_wrapper_hangs_where_infinities_are_made(tmp_path, product, hangs):
    """Why it is not used: the rank with the infinity skips the reduction that the other one waits in."""
    statuses, errors = train("wrapper", product, tmp_path, [2])
    assert (statuses != [0, 0]) == hangs, errors
    assert not hangs or "all wait for ever" in "".join(errors)
