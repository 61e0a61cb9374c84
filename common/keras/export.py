"""Export of Keras models: a SavedModel and a TFLite model, both checked against the live network."""
from __future__ import annotations

import os
import warnings
from typing import Any, Callable, Mapping

import numpy as np

from common import atomic_files
from common.checkpoints import bundle, exporting
from common.console import noise_hidden
from common.errors import ZooError
from common.keras.session import tf

CHECKED_SAMPLES = 2
MAX_DIFFERENCE = 1e-4  # of the largest output: TFLite sums in another order
Tensor = Any


def export(function: Callable[..., dict[str, Tensor]], shapes: Mapping[str, tuple[int, ...]], model: Any,
           target: exporting.Target) -> dict[str, Any]:
    """Write `saved_model/`, `<name>.tflite`, the ONNX model if asked for, and export.json; compare them with the live
    network.

    `function` maps inputs, passed by keyword, to outputs by name; their `shapes` are without the batch axis, for
    float32 in [0, 1]. Returns paths, names, and the largest difference in units of the largest output. Raises ZooError
    if the outputs differ, also those of TensorFlow's default TFLite interpreter, or saved_model/ exists and is not an
    export of ours.
    """
    shown = exporting.Stages(target)  # on the terminal, which the next line takes from stderr
    with noise_hidden(), shown:
        return _export(function, shapes, model, target, shown)


def _export(function: Callable[..., dict[str, Tensor]], shapes: Mapping[str, tuple[int, ...]], model: Any,
            target: exporting.Target, shown: exporting.Stages) -> dict[str, Any]:
    saved_path, lite_path = exporting.saved_model_path(target.folder), target.file(".tflite")
    shown.begin("SavedModel")
    module = tf.Module()
    # Keras 3 hides its tf.Variables, but TFLite's converter must see them to freeze them
    module.kept = [variable if isinstance(variable, tf.Variable) else variable.value for variable in model.weights]
    specs = {key: tf.TensorSpec((None, *shape), tf.float32, key) for key, shape in shapes.items()}
    module.run = tf.function(function).get_concrete_function(**specs)
    temporary = f"{saved_path}.{os.getpid()}.tmp"
    tf.saved_model.save(module, temporary, signatures=module.run)
    os.rename(temporary, saved_path)
    shown.begin("TFLite model")
    with bundle.literal(saved_path) as literal:
        converter = tf.lite.TFLiteConverter.from_saved_model(literal)
        atomic_files.write_bytes(lite_path, converter.convert())

    shown.begin("check")
    random = np.random.RandomState(0)
    samples = {key: random.rand(CHECKED_SAMPLES, *shape).astype(np.float32) for key, shape in shapes.items()}
    live = _arrays(function(**_tensors(samples)))
    computed = {saved_path: _run_saved_model(saved_path, samples), lite_path: _run_lite(lite_path, samples)}
    difference = max(exporting.largest_difference(path, values, live, MAX_DIFFERENCE, is_relative=True)
                     for path, values in computed.items())
    result = dict(saved_model=saved_path, tflite=lite_path, inputs=list(shapes), outputs=list(live),
                  max_difference=difference)
    result = exporting.finish(target, result, samples, live, shown)
    _require_default_interpreter(lite_path, samples, live)
    return result


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: tf.constant(array) for name, array in arrays.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _run_saved_model(path: str, samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with bundle.literal(path) as literal:
        loaded = tf.saved_model.load(literal)  # owns the variables
    return _arrays(loaded.signatures["serving_default"](**_tensors(samples)))


def _run_lite(path: str, samples: Mapping[str, np.ndarray], delegates: bool = False) -> dict[str, np.ndarray]:
    # without delegates: the XNNPACK of TensorFlow 2.21 returns zeros for some convolutions, that of LiteRT does not
    resolvers = tf.lite.experimental.OpResolverType
    kernels = resolvers.AUTO if delegates else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about the move to LiteRT
        interpreter = tf.lite.Interpreter(path, experimental_op_resolver_type=kernels)
    return interpreter.get_signature_runner("serving_default")(**samples)


def _require_default_interpreter(path: str, samples: Mapping[str, np.ndarray], live: Mapping[str, np.ndarray]) -> None:
    """Raise ZooError unless TensorFlow's default interpreter, which users run, computes what the network does."""
    try:
        exporting.largest_difference(path, _run_lite(path, samples, delegates=True), live, MAX_DIFFERENCE,
                                     is_relative=True)
    except (ZooError, RuntimeError, ValueError) as error:
        raise ZooError(f"{path}: the default interpreter of TensorFlow {tf.__version__} fails on this machine "
                       f"({error}); run the model in LiteRT, or with experimental_op_resolver_type="
                       "BUILTIN_WITHOUT_DEFAULT_DELEGATES, as it was checked here") from None
