"""Event files hold what was added; a full disk is an error of one line."""
from __future__ import annotations

import os
import types

import pytest

from common.errors import ZooError
from common.graph.compat import tf
from common.run import metrics
from tests.results import events_in


def value(number):
    return tf.Summary.Value(tag="loss", simple_value=number)


def test_a_file_holds_the_version_and_all_values_at_once(tmp_path):
    writer = metrics.EventWriter(str(tmp_path), tf)
    writer.add(1, [value(0.5)])
    assert [event.file_version for event in events_in(tmp_path)] == ["brain.Event:2", ""]
    writer.add(2, [])
    writer.close()
    assert [(event.step, [one.simple_value for one in event.summary.value]) for event in events_in(tmp_path)] == [
        (0, []), (1, [0.5]), (2, [])]


def test_writers_do_not_share_a_file(tmp_path):
    for number in (1.0, 2.0):
        writer = metrics.EventWriter(str(tmp_path), tf)
        writer.add(1, [value(number)])
        writer.close()
    assert len(os.listdir(str(tmp_path))) == 2


def test_a_full_disk_is_one_line(tmp_path):
    full = types.SimpleNamespace(Event=tf.Event, Summary=tf.Summary, errors=tf.errors, python_io=types.SimpleNamespace(
        TFRecordWriter=lambda path: tf.python_io.TFRecordWriter("/dev/full")))
    with pytest.raises(ZooError) as caught:
        metrics.EventWriter(str(tmp_path), full)
    assert str(caught.value).startswith(str(tmp_path / "events.out.tfevents."))
    assert str(caught.value).endswith("cannot be written (No space left on device); free disk space and start the run "
                                      "again")
