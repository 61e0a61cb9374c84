"""Where run directories are, and which one --resume names."""
from __future__ import annotations

import pytest

from common.errors import ZooError
from common.run import run_dir


@pytest.mark.parametrize("output_path, wanted", [("/o", "/o/3"), ("/o/3", "/o/3"), ("/o/3/", "/o/3"),
                                                 (None, "/model/test/output/3")])
def test_locate(output_path, wanted):
    assert run_dir.locate(output_path, "/model", "3") == wanted


def test_resume_path_must_be_a_run(tmp_path):
    with pytest.raises(ZooError, match="not a run directory"):
        run_dir.resume_path(str(tmp_path))
    assert run_dir.resume_path("auto") is None and run_dir.resume_path("never") is None
