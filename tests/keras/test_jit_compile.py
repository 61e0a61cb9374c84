"""--jit_compile of the Keras models: the numbers of a step agree to 1e-5, and a resumed run has the same bits."""
from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from common.devices.selection import Rank
from common.keras import workers
from common.run.run_dir import read_arguments
from common.tiny_data import look_alikes
from common.tiny_data import omniglot as tiny_omniglot
from siamese_triplet_tf2.model import build_embedding
from siamese_triplet_tf2.update import Part, Updater
from tests.conftest import slow_on_the_default_leg
from tests.keras.siamese_omniglot.conftest import train
from tests.keras.siamese_triplet_tf2.conftest import train as train_triplets
from tests.programs import error_line
from tests.results import last_variables, losses, rows
from tests.resuming import train_in_parts


def test_an_update_of_the_triplet_network():
    """With SGD: Adam makes a step of 1e-4 of a gradient that rounding alone has made. One update and two in a call."""
    random = np.random.RandomState(0)
    parts = [Part(random.rand(12, 13, 13, 16).astype(np.float32), np.eye(4, 8) > 0, np.ones(4, np.float32))
             for _ in range(3)]
    found = []
    for jit_compile in (False, True):
        model = build_embedding("tiny", seed=1)
        updater = Updater(model, tf.keras.optimizers.SGD(1e-3), workers.make(Rank(), "cpu", jit_compile))
        (total, _), _ = updater(parts[0])
        found.append(([total, *updater.several(parts[1:])], model.tail.get_weights()))
    (plain, plain_weights), (xla, xla_weights) = found
    np.testing.assert_allclose(xla, plain, rtol=1e-5)
    assert len(set(plain)) == 3
    for weights, wanted in zip(xla_weights, plain_weights):
        np.testing.assert_allclose(weights, wanted, rtol=0, atol=1e-5)


@slow_on_the_default_leg
def test_what_xla_cannot_compile_is_one_line(tmp_path, capfd):
    """TensorFlow 2.6 computes a gradient of the choice of negatives in a way that XLA lacks; 2.21 does not."""
    look_alikes.make(str(tmp_path / "data"), num_pairs=12)
    status = train_triplets(tmp_path / "data", tmp_path, "--train_steps=1", "--semi_hard", "--jit_compile")
    if tf.__version__.startswith("2.6."):
        assert (status, error_line(capfd)) == (1, "[Error] --jit_compile: XLA cannot compile the training step (Where "
                                               "(No registered 'Where' OpKernel for XLA_CPU_JIT devices compatible "
                                               "with node); leave the flag out\n")
    else:
        assert status == 0


@slow_on_the_default_leg
def test_a_run_of_the_omniglot_network(tmp_path, capfd):
    """It resumes, does not take the times within a step, and is another run than one without the flag."""
    tiny_omniglot.make(str(tmp_path / "data"), 3, 5, 8)

    def run(output, *flags):
        return train(tmp_path / "data", output, "--batch_size=2", *flags)

    assert run(tmp_path / "plain", "--train_steps=4") == 0
    xla = train_in_parts(lambda *given: run(*given, "--jit_compile"), tmp_path, capfd, 2, 4).whole
    np.testing.assert_allclose(losses(xla), losses(tmp_path / "plain" / "0"), rtol=1e-5)
    wanted = last_variables(tmp_path / "plain" / "0")
    for name, value in last_variables(xla).items():
        np.testing.assert_allclose(value, wanted[name], rtol=0, atol=1e-5, err_msg=name)
    assert math.isnan(rows(xla, "step")[0].get("forward_seconds") or math.nan)
    assert rows(tmp_path / "plain" / "0", "step")[0]["forward_seconds"] > 0
    assert read_arguments(str(xla))["identity"]["jit_compile"] is True
