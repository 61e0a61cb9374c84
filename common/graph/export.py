"""Export of graph models: a frozen graph and a SavedModel, each run against the live graph."""
from __future__ import annotations

import os
from typing import Any, Mapping

import numpy as np

from common import atomic_files
from common.checkpoints import saved_model_folder
from common.errors import ZooError
from common.graph.compat import tf

CHECKED_SAMPLES = 8
MAX_DIFFERENCE = 1e-5


def export(session: tf.Session, inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor], folder: str,
           name: str, highest: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Write `<name>.pb` and `saved_model/` and compare what they compute with the live graph.

    Args:
        session: holds the weights.
        inputs: placeholders by name, float32 [batch, ...]; each tensor is named as its key.
        outputs: tensors by name; each is named as its key.
        folder: where to write, export.json too; an earlier export there is replaced.
        name: of the frozen graph.
        highest: upper end of an input's values, which begin at 0; 1 for inputs that are not named.

    Returns:
        Paths, names, and the largest absolute difference.

    Raises:
        ZooError: an export computes something else than the live graph, or a foreign saved_model/ is in the way.
    """
    for key, tensor in {**inputs, **outputs}.items():
        assert tensor.op.name == key, f"tensor {tensor.op.name} is exported as {key}"
    os.makedirs(folder, exist_ok=True)
    frozen_path, saved_path = os.path.join(folder, f"{name}.pb"), os.path.join(folder, saved_model_folder.NAME)
    saved_model_folder.make_way(folder)
    frozen = tf.graph_util.convert_variables_to_constants(session, session.graph_def, list(outputs))
    atomic_files.write_bytes(frozen_path, frozen.SerializeToString())
    _write_saved_model(session, inputs, outputs, saved_path)

    random = np.random.RandomState(0)
    samples = {key: (random.rand(CHECKED_SAMPLES, *tensor.shape.as_list()[1:]) * (highest or {}).get(key, 1.0)
                     ).astype(np.float32) for key, tensor in inputs.items()}
    live = session.run(dict(outputs), {inputs[key]: value for key, value in samples.items()})
    difference = 0.0
    for path, found in ((frozen_path, _run_frozen(frozen_path, samples, list(outputs))),
                        (saved_path, _run_saved_model(saved_path, samples))):
        for key, wanted in live.items():
            error = float(np.abs(found[key] - wanted).max())
            if not error <= MAX_DIFFERENCE * max(1.0, float(np.abs(wanted).max())):
                raise ZooError(f"{path}: {key} differs from the live graph by {error}")
            difference = max(difference, error)
    result = dict(frozen_graph=frozen_path, saved_model=saved_path, inputs=list(inputs), outputs=list(outputs),
                  max_difference=difference)
    saved_model_folder.record(folder, result)
    return result


def _write_saved_model(session: tf.Session, inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor],
                       path: str) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    tf.saved_model.simple_save(session, temporary, dict(inputs), dict(outputs))
    os.rename(temporary, path)


def _run_frozen(path: str, samples: Mapping[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
    definition = tf.GraphDef()
    with open(path, "rb") as file:
        definition.ParseFromString(file.read())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(definition, name="")
        return session.run({key: f"{key}:0" for key in outputs}, {f"{key}:0": value for key, value in samples.items()})


def _run_saved_model(path: str, samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.loader.load(session, [tf.saved_model.tag_constants.SERVING], path)
        signature = loaded.signature_def[tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
        return session.run({key: info.name for key, info in signature.outputs.items()},
                           {signature.inputs[key].name: value for key, value in samples.items()})
