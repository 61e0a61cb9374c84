"""Where run directories are, and which one --resume names."""
from __future__ import annotations

import json

import pytest

from common.errors import ZooError
from common.run import run_dir


@pytest.mark.parametrize("output_path, wanted", [("/o", "/o/3"), ("/o/3", "/o/3"), ("/o/3/", "/o/3"),
                                                 (None, "/model/test/output/3")])
def test_locate(output_path, wanted):
    assert run_dir.locate(output_path, "/model", "3") == wanted


@pytest.mark.parametrize("started, message", [("20261126-120000", None), ("", "does not match"),
                                              ("/../../elsewhere", "does not match")])
def test_the_start_of_a_run_is_a_time(tmp_path, started, message):
    """An archived run has it in its path."""
    arguments = dict(identity={}, num_updates=1, performance=False, started=started, segments=[], threads=1)
    (tmp_path / run_dir.ARGUMENTS).write_text(json.dumps(arguments))
    if message is None:
        assert run_dir.read_arguments(str(tmp_path)) == arguments
        return
    with pytest.raises(ZooError, match=message):
        run_dir.read_arguments(str(tmp_path))
