"""Arrays on the device give back what they were made of, and no checkpoint holds them."""
from __future__ import annotations

import numpy as np
import pytest

from common.graph.compat import tf
from common.graph.resident import ResidentArray

pytestmark = pytest.mark.usefixtures("new_graph")


@pytest.mark.parametrize("shape", [(256, 4), (256, 3, 3, 3), (256, 1)])
def test_bytes_come_back_bit_for_bit(shape):
    """All values, so that some words are NaNs; rows of full words and others."""
    array = (np.arange(np.prod(shape)) * 7 % 256).astype(np.uint8).reshape(shape)
    array[-1] = 255  # words that are NaN
    resident = ResidentArray("bytes", array)
    rows = resident.gather(tf.constant([255, 0, 31, 255]))
    with tf.Session() as session:
        resident.load(session)
        found = session.run(rows)
    assert found.dtype == np.uint8 and np.array_equal(found, array[[255, 0, 31, 255]])


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_other_types_are_stored_as_they_are(dtype):
    array = np.array([[-1, 5], [2 ** 23 + 1, 3]], dtype)
    resident = ResidentArray("numbers", array)
    row = resident.gather(tf.constant([1]))
    with tf.Session() as session:
        resident.load(session)
        found = session.run(row)
    assert found.dtype == dtype and np.array_equal(found, array[1:])


def test_no_checkpoint_holds_it():
    ResidentArray("numbers", np.zeros((2, 2), np.float32))
    assert tf.global_variables() == [] and tf.trainable_variables() == []
    assert [variable.op.name for variable in tf.local_variables()] == ["numbers"]
