"""What a worker says of others: that they are gone, or are to do something else; and of errors that are its own."""
from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from common.devices.selection import Rank
from common.errors import ZooError, rank_errors
from common.keras import workers
from common.keras.workers import HcclWorkers
from tests.conftest import on_the_default_leg

GONE = "rank 1: another worker has ended .*the same command resumes from the last checkpoint"


@pytest.mark.parametrize("kind, message, said", [
    (tf.errors.UnavailableError, "Collective ops is aborted by: failed to connect to all addresses", GONE),
    (tf.errors.AbortedError, "whatever", GONE),
    (tf.errors.InternalError, "Connection reset by peer", GONE),
    (tf.errors.InternalError, "HCCL_E_REMOTE: the HcomAllReduce of another rank failed", GONE),
    (tf.errors.InternalError, "Dst tensor is not initialized on /job:worker/replica:0/task:0/device:GPU:0", None),
    (tf.errors.FailedPreconditionError, "Collective ops is aborted by: group 1 failed to resolve. This normally means "
     "the server has restarted", GONE),
    (tf.errors.FailedPreconditionError, "Error while reading resource variable kernel", None),
    (tf.errors.UnknownError, "Could not start gRPC server", "rank 1: its port is taken"),
    (tf.errors.UnknownError, "Failed to get convolution algorithm", None),
])
def test_errors_of_other_workers_are_explained_in_one_line(kind, message, said):
    error = kind(None, None, message)
    with pytest.raises(ZooError if said else kind, match=said or message) as raised, rank_errors(1, tf.errors):
        raise error
    assert "\n" not in str(raised.value) and (said or raised.value is error)


@on_the_default_leg
def test_a_worker_may_be_silent_for_half_a_minute(monkeypatch):
    """TensorFlow's strategy takes this configuration; only where there is none it makes its own, of 10 seconds."""
    from tensorflow.python.eager import context

    monkeypatch.setattr(context.context(), "_coordination_service_config", None)
    workers._be_patient(3)
    config = context.context().config.experimental.coordination_config
    assert config.heartbeat_timeout_in_ms == 30000 and config.service_leader.startswith("/job:worker/replica:0/task:0")
    assert [(job.name, job.num_tasks) for job in config.coordinated_job_list] == [("worker", 3)]


def test_npus_explain_what_breaks_in_a_compiled_function():
    team = HcclWorkers(Rank(1, 2))

    def breaks(value):
        raise tf.errors.InternalError(None, None, f"hccl: no answer for {value.shape}")

    with pytest.raises(ZooError, match=GONE):
        team.compile(breaks)(tf.constant(1.0))


def test_ranks_with_other_settings_are_named():
    """What rank 3 of 4 sees: 1 has other low bits, 2 other high ones."""
    team = HcclWorkers(Rank(3, 4))
    others = np.array([[0xCAFE, 0xBABE], [0xCAFE, 0xBABF], [0xCAFF, 0xBABE], [0, 0]], np.float32)
    team._sum = lambda own: own + others
    with pytest.raises(ZooError, match="rank 3: rank 1 and 2 would not train the same as rank 0: give all"):
        team.require_same(0xCAFEBABE)
    team._sum = lambda own: own + np.array([[0xCAFE, 0xBABE]] * 3 + [[0, 0]], np.float32)
    team.require_same(0xCAFEBABE)
