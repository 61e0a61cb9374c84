"""The rank of a process, from its environment and a rank table."""
from __future__ import annotations

import json

import pytest

from common.devices import ranks
from common.devices.selection import Rank
from common.errors import ZooError
from tests.common.rank_tables import write_table


def config(*workers, index=0, **cluster):
    return json.dumps(dict(cluster=dict(worker=list(workers), **cluster), task=dict(type="worker", index=index)))


def test_alone():
    assert ranks.current({}, "cpu") == Rank(0, 1)
    assert ranks.current({"RANK_SIZE": "1", "RANK_ID": "0", "RANK_TABLE_FILE": "x"}, "npu") == Rank(0, 1)
    assert ranks.current({"TF_CONFIG": config("a:1")}, "gpu") == Rank(0, 1)
    assert Rank().is_chief and not Rank(1, 2).is_chief


def test_ranks():
    assert ranks.current({"TF_CONFIG": config("a:1", "b:1", index=1)}, "cpu") == Rank(1, 2)
    with_chief = dict(cluster=dict(chief=["a:1"], worker=["b:1", "c:1"]), task=dict(type="worker", index=1))
    assert ranks.current({"TF_CONFIG": json.dumps(with_chief)}, "cpu") == Rank(2, 3)
    with_chief["task"] = dict(type="chief", index=0)
    assert ranks.current({"TF_CONFIG": json.dumps(with_chief)}, "gpu") == Rank(0, 3)


@pytest.mark.parametrize("environment, starter", [
    (dict(RANK_ID="2", RANK_SIZE="3"), "RANK_SIZE"),
    (dict(SLURM_PROCID="2", SLURM_STEP_NUM_TASKS="3"), "Slurm"),
    (dict(OMPI_COMM_WORLD_RANK="2", OMPI_COMM_WORLD_SIZE="3"), "Open MPI"),
    (dict(PMI_RANK="2", PMI_SIZE="3"), "MPICH"),
    (dict(TF_CONFIG=config("a:1", "b:1", "c:1", index=2), PMI_RANK="0", PMI_SIZE="2"), "TF_CONFIG"),
])
def test_ranks_of_whoever_starts_them(environment, starter):
    """RANK_SIZE=1, which the scripts set, is not more than one."""
    environment = dict(dict(RANK_ID="0", RANK_SIZE="1"), **environment)
    assert ranks.starter_of(environment) == starter
    assert ranks.current(environment, "cpu") == Rank(2, 3)


CHIEF = dict(CM_WORKER_SIZE="2", CM_CHIEF_IP="10.0.0.1", CM_CHIEF_PORT="6000", CM_CHIEF_DEVICE="4",
             ASCEND_DEVICE_ID="4")


def test_ranks_without_a_table():
    assert ranks.current(CHIEF, "npu") == Rank(0, 2)
    assert ranks.current(dict(CHIEF, ASCEND_DEVICE_ID="5", CM_WORKER_IP="10.0.0.1"), "npu") == Rank(1, 2)
    assert ranks.current(dict(CHIEF, RANK_ID="1", CM_WORKER_IP="10.0.0.2"), "npu") == Rank(1, 2)


def test_ranks_of_a_table(tmp_path):
    environment = dict(write_table(tmp_path, range(8)), RANK_SIZE="8", RANK_ID="5")
    assert ranks.current(environment, "npu") == Rank(5, 8)


def test_ranks_of_the_table_of_a_scheduler(tmp_path):
    """ModelArts' scheduler writes no ranks; RANK_ID says which this one is."""
    instances = [dict(pod_name="a", server_id="10.0.0.1", devices=[dict(device_id=str(number), device_ip="192.168.1.1")
                                                                   for number in range(4)])]
    (tmp_path / "jobstart_hccl.json").write_text(json.dumps(dict(status="completed", group_count="1", group_list=[
        dict(group_name="worker", device_count="4", instance_count="1", instance_list=instances)])))
    environment = dict(RANK_TABLE_FILE=str(tmp_path / "jobstart_hccl.json"), RANK_SIZE="4", RANK_ID="3")
    assert ranks.current(environment, "npu") == Rank(3, 4)
    with pytest.raises(ZooError, match="has 4 devices, expected 2"):
        ranks.current(dict(environment, RANK_SIZE="2", RANK_ID="1"), "npu")


@pytest.mark.parametrize("text, message", [
    (None, "table.json: No such file or directory; give HCCL's rank table"),
    ("{", "is not a rank table .JSONDecodeError"),
    ("[]", "is not a rank table"),
    ('{"server_list": [{"devices": []}]}', "is not a rank table .KeyError: 'device'.; expected JSON with server_list"),
    ('{"server_list": [{"device": [{"device_id": "0", "rank_id": "0"}]}]}', "has 1 devices, expected 2, one for each"),
    ('{"server_list": [{"device": [{"device_id": "0", "rank_id": "1"}, {"device_id": "1", "rank_id": "2"}]}]}',
     'has the ranks 1, 2; expected "0" to "1"'),
])
def test_rank_tables_that_do_not_fit(tmp_path, text, message):
    if text is not None:
        (tmp_path / "table.json").write_text(text)
    environment = dict(RANK_SIZE="2", RANK_ID="1", RANK_TABLE_FILE=str(tmp_path / "table.json"))
    with pytest.raises(ZooError, match=message) as raised:
        ranks.current(environment, "npu")
    assert "\n" not in str(raised.value)


def test_the_size_of_an_npu_alone():
    assert ranks.current({"CM_WORKER_SIZE": "1"}, "npu") == Rank(0, 1)
    assert ranks.current({"RANK_SIZE": "1", "CM_CHIEF_IP": "10.0.0.1"}, "npu") == Rank(0, 1)
    assert ranks.current({"RANK_SIZE": "1", "CM_WORKER_SIZE": "1"}, "npu") == Rank(0, 1)


@pytest.mark.parametrize("environment, kind, message", [
    ({"RANK_SIZE": "2"}, "cpu", "RANK_ID is not set: RANK_SIZE=2 needs one from 0 to 1"),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "2"}, "gpu",
     "OMPI_COMM_WORLD_RANK=2: expected 0 to 1, OMPI_COMM_WORLD_SIZE is 2"),
    ({"RANK_SIZE": "two"}, "cpu", "RANK_SIZE=two: expected a number"),
    ({"RANK_SIZE": "2", "RANK_ID": "0"}, "npu", "RANK_TABLE_FILE is not set: 2 NPUs need HCCL's rank table"),
    ({"RANK_SIZE": "2", "RANK_TABLE_FILE": "x"}, "npu", "RANK_ID is not set: RANK_SIZE=2 needs one from 0 to 1"),
    ({"RANK_SIZE": "2", "CM_WORKER_SIZE": "2"}, "npu", "both set, which the adapter refuses: unset one"),
    ({"RANK_SIZE": "2", "RANK_TABLE_FILE": "x", "RANK_ID": "0", "CM_CHIEF_IP": "10.0.0.1"}, "npu", "unset one of them"),
    ({"RANK_SIZE": "2", "RANK_TABLE_FILE": "x", "RANK_ID": "2"}, "npu", "RANK_ID=2: expected 0 to 1"),
    ({"CM_WORKER_SIZE": "2"}, "npu", "CM_CHIEF_IP is not set: CM_WORKER_SIZE=2 needs it"),
    ({"CM_WORKER_SIZE": "2", "CM_CHIEF_IP": "10.0.0.1", "CM_CHIEF_PORT": "6000"}, "npu", "CM_CHIEF_DEVICE is not set"),
    (dict(CHIEF, RANK_ID="2"), "npu", "RANK_ID=2: expected 0 to 1, CM_WORKER_SIZE is 2"),
    (dict(CHIEF, ASCEND_DEVICE_ID="3"), "npu", "ASCEND_DEVICE_ID=3: expected 4 to 5, .*or set RANK_ID"),
    (dict(CHIEF, CM_WORKER_IP="10.0.0.2"), "npu", "RANK_ID is not set: on another server"),
    ({"TF_CONFIG": "{"}, "cpu", "TF_CONFIG=.*cannot be used"),
    ({"TF_CONFIG": config("a:1", "b:1", index=2)}, "cpu", "cannot be used"),
    ({"TF_CONFIG": config("a:1", "b:1", ps=["c:1"])}, "cpu", "every task must be a worker"),
    ({"TF_CONFIG": config("a:1", chief=["b:1", "c:1"])}, "cpu", "or its one chief"),
    ({"TF_CONFIG": config("a:1", index=-1)}, "cpu", "cannot be used"),
    ({"TF_CONFIG": "[1]"}, "cpu", "cannot be used"),
    *[({"TF_CONFIG": config("a:1", address)}, "cpu", "cannot be used .* expected .*host:port")
      for address in ("localhost", "localhost:x", "localhost:0", "localhost:99999", 5)],
    ({"TF_CONFIG": '{"cluster": [1], "task": {"type": "worker", "index": 0}}'}, "cpu", "cannot be used"),
    ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}'}, "cpu",
     "cannot be used"),
])
def test_environments_that_do_not_fit(environment, kind, message):
    with pytest.raises(ZooError, match=message):
        ranks.current(environment, kind)
