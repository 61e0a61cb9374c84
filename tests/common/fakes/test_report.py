"""The table of docs/npu.md is what runs against the fakes give."""
from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT, on_the_default_leg


@on_the_default_leg
def test_the_table_is_that_of_the_code_in_both_languages():
    result = subprocess.run([sys.executable, "-m", "tests.fakes.report", "--check"], cwd=ROOT, stdout=subprocess.PIPE,
                            check=False)
    assert (result.returncode, result.stdout.decode()) == (0, "")
