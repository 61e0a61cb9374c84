"""How the tests of Git loss train."""
from __future__ import annotations

from gitloss_tf1 import gitloss
from tests.programs import trainer

train = trainer(gitloss.main, "--device=cpu", "--batch_size=8")
