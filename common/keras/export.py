"""Export of Keras models: a SavedModel and a TFLite model, each run against the live network."""
from __future__ import annotations

import os
import warnings
from typing import Any, Callable, Mapping

import numpy as np
import tensorflow as tf

from common import atomic_files
from common.checkpoints import saved_model_folder
from common.errors import ZooError

CHECKED_SAMPLES = 2
MAX_DIFFERENCE = 1e-4  # of the largest output: TFLite sums in another order
Tensor = Any


def export(function: Callable[..., dict[str, Tensor]], shapes: Mapping[str, tuple[int, ...]], model: Any, folder: str,
           name: str) -> dict[str, Any]:
    """Write `saved_model/` and `<name>.tflite` and compare what they compute with the live network.

    Args:
        function: from inputs, by keyword, to outputs by name.
        shapes: of the inputs by name, without the batch's axis; float32 in [0, 1].
        model: the Keras model whose variables the function uses.
        folder: where to write, export.json too; an earlier export there is replaced.
        name: of the TFLite file.

    Returns:
        Paths, names, and the largest difference over the largest output.

    Raises:
        ZooError: an export computes something else than the live network, or a foreign saved_model/ is in the way.
    """
    os.makedirs(folder, exist_ok=True)
    saved_path, lite_path = os.path.join(folder, saved_model_folder.NAME), os.path.join(folder, f"{name}.tflite")
    saved_model_folder.make_way(folder)
    module = tf.Module()
    # Keras 3 hides its tf.Variables, which TFLite's converter must see to freeze them
    module.kept = [variable if isinstance(variable, tf.Variable) else variable.value for variable in model.weights]
    specs = {key: tf.TensorSpec((None, *shape), tf.float32, key) for key, shape in shapes.items()}
    module.run = tf.function(function).get_concrete_function(**specs)
    temporary = f"{saved_path}.{os.getpid()}.tmp"
    tf.saved_model.save(module, temporary, signatures=module.run)
    os.rename(temporary, saved_path)
    atomic_files.write_bytes(lite_path, tf.lite.TFLiteConverter.from_saved_model(saved_path).convert())

    random = np.random.RandomState(0)
    samples = {key: random.rand(CHECKED_SAMPLES, *shape).astype(np.float32) for key, shape in shapes.items()}
    live = {key: value.numpy() for key, value in function(**{key: tf.constant(value) for key, value in samples.items()}
                                                          ).items()}
    difference = 0.0
    for path, run in ((saved_path, _run_saved_model), (lite_path, _run_lite)):
        found = run(path, samples)
        for key, wanted in live.items():
            error = float(np.abs(found[key] - wanted).max() / np.abs(wanted).max())
            if not error <= MAX_DIFFERENCE:
                raise ZooError(f"{path}: {key} differs from the live network by {error} of its largest value")
            difference = max(difference, error)
    result = dict(saved_model=saved_path, tflite=lite_path, inputs=list(shapes), outputs=list(live),
                  max_difference=difference)
    saved_model_folder.record(folder, result)
    return result


def _run_saved_model(path: str, samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    loaded = tf.saved_model.load(path)  # it owns the variables
    found = loaded.signatures["serving_default"](**{key: tf.constant(value) for key, value in samples.items()})
    return {key: value.numpy() for key, value in found.items()}


def _run_lite(path: str, samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    # without delegates: the XNNPACK that TensorFlow 2.21 brings along gives zeros for some networks, LiteRT's does not
    kernels = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it moves to LiteRT
        interpreter = tf.lite.Interpreter(path, experimental_op_resolver_type=kernels)
    return interpreter.get_signature_runner("serving_default")(**samples)
