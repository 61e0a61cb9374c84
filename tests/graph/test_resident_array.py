"""Arrays on the device give back what they were made of, and no checkpoint holds them."""
from __future__ import annotations

import numpy as np
import pytest

from common.graph.compat import ResidentArray, tf

pytestmark = pytest.mark.usefixtures("new_graph")


@pytest.mark.parametrize("shape", [(256, 4), (256, 3, 3, 3), (256, 1)])
def test_bytes_come_back_bit_for_bit(shape):
    """All values, so that some words are NaNs; rows of full words and others."""
    array = (np.arange(np.prod(shape)) * 7 % 256).astype(np.uint8).reshape(shape)
    array[-1] = 255  # words that are NaN
    resident = ResidentArray("bytes", array.shape, array.dtype)
    rows = resident.gather(tf.constant([255, 0, 31, 255]))
    with tf.Session() as session:
        resident.load(session, array)
        found = session.run(rows)
    assert found.dtype == np.uint8 and np.array_equal(found, array[[255, 0, 31, 255]])


def test_rows_are_written_before_they_are_gathered():
    resident = ResidentArray("bytes", (4, 3), np.dtype(np.uint8))
    slots, new, chosen = tf.placeholder(tf.int64, [None]), tf.placeholder(tf.float32, [None, None]), [3, 0, 1]
    with tf.control_dependencies([resident.write(slots, new)]):
        rows = resident.gather(tf.constant(chosen))
    given = np.array([[255, 255, 255], [1, 2, 3]], np.uint8)
    with tf.Session() as session:
        resident.clear(session)
        first = session.run(rows, {slots: [3, 1], new: resident.stored(given)})
        second = session.run(rows, {slots: [0], new: resident.stored(given[1:] + 4)})
        third = session.run(rows, {slots: [], new: resident.stored(given[:0])})
    assert first.tolist() == [[255, 255, 255], [0, 0, 0], [1, 2, 3]]
    assert second.tolist() == third.tolist() == [[255, 255, 255], [5, 6, 7], [1, 2, 3]]


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_other_types_are_stored_as_they_are(dtype):
    array = np.array([[-1, 5], [2 ** 23 + 1, 3]], dtype)
    resident = ResidentArray("numbers", array.shape, array.dtype)
    row = resident.gather(tf.constant([1]))
    with tf.Session() as session:
        resident.load(session, array)
        found = session.run(row)
    assert found.dtype == dtype and np.array_equal(found, array[1:])


def test_no_checkpoint_holds_it():
    ResidentArray("numbers", (2, 2), np.dtype(np.float32))
    assert tf.global_variables() == [] and tf.trainable_variables() == []
    assert [variable.op.name for variable in tf.local_variables()] == ["numbers"]
