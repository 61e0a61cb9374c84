"""Weights of a Keras model that `zoo publish` has written."""
from __future__ import annotations

import numpy as np

from siamese_omniglot import evaluate
from tests.keras.siamese_omniglot.conftest import train
from tests.programs import printed, run_python
from tests.results import last_variables, variables_in


def test_weights_are_those_of_the_run_without_the_optimizer(tmp_path, tiny_folder, capfd):
    assert train(tiny_folder, tmp_path, "--optimizer=adam", "--train_steps=3") == 0
    weights = tmp_path / "weights"
    published = run_python("-m", "common.graph.publish", tmp_path / "0", weights)
    assert published.returncode == 0, published.stderr
    before, after = last_variables(tmp_path / "0"), variables_in(weights / "ckpt" / "model.ckpt-3")
    dropped = {name for name in before if name.startswith("optimizer/")}
    assert len(dropped) >= 2 * 12 and set(after) == set(before) - dropped
    assert {"conv1/kernel", "dense_1/bias", "global_step"} <= set(after)
    assert all(after[name].tobytes() == before[name].tobytes() for name in after)

    capfd.readouterr()
    results = []
    for checkpoint in (tmp_path / "0", weights):
        assert evaluate.main([f"--checkpoint={checkpoint}", f"--data_path={tiny_folder}", "--num_pairs=20", "--json",
                              "--episodes=2", f"--output_path={tmp_path / 'out'}", "--device=cpu"]) == 0
        results.append(printed(capfd))
    assert results[0]["pairs"] == results[1]["pairs"] and np.isfinite(results[0]["pairs"]["loss"])
