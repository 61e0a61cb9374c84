"""Export of graph models: a frozen graph and a SavedModel, both checked against the live graph."""
from __future__ import annotations

import os
from typing import Any, Mapping

import numpy as np

from common import atomic_files
from common.checkpoints import bundle, exporting
from common.graph.compat import tf

CHECKED_SAMPLES = 8
MAX_DIFFERENCE = 1e-5


def export(session: tf.Session, inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor],
           target: exporting.Target, max_values: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Write `<name>.pb`, `saved_model/`, the ONNX model if asked for, and export.json; compare them with the live
    graph.

    Inputs, placeholders float32 [batch, ...] from 0 to `max_values` (1 by default), and outputs have the names of their
    keys. Returns paths, names, and the largest absolute difference. Raises ZooError if the outputs differ, or
    saved_model/ exists and is not an export of ours.
    """
    with exporting.Stages(target) as shown:
        return _export(session, inputs, outputs, target, max_values or {}, shown)


def _export(session: tf.Session, inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor],
            target: exporting.Target, max_values: Mapping[str, float], shown: exporting.Stages) -> dict[str, Any]:
    for key, tensor in {**inputs, **outputs}.items():
        assert tensor.op.name == key, f"tensor {tensor.op.name} is exported as {key}"
    saved_path, frozen_path = exporting.saved_model_path(target.folder), target.file(".pb")
    shown.begin("frozen graph")
    frozen = tf.graph_util.convert_variables_to_constants(session, session.graph_def, list(outputs))
    atomic_files.write_bytes(frozen_path, frozen.SerializeToString())
    shown.begin("SavedModel")
    temporary = f"{saved_path}.{os.getpid()}.tmp"
    tf.saved_model.simple_save(session, temporary, dict(inputs), dict(outputs))
    os.rename(temporary, saved_path)

    shown.begin("check")
    random = np.random.RandomState(0)
    samples = {key: (random.rand(CHECKED_SAMPLES, *tensor.shape.as_list()[1:]) * max_values.get(key, 1.0)
                     ).astype(np.float32) for key, tensor in inputs.items()}
    live = session.run(dict(outputs), {inputs[key]: value for key, value in samples.items()})
    computed = {frozen_path: _run_frozen(frozen_path, samples, list(outputs)),
                saved_path: _run_saved_model(saved_path, samples)}
    difference = max(exporting.largest_difference(path, values, live, MAX_DIFFERENCE, is_relative=False)
                     for path, values in computed.items())
    result = dict(frozen_graph=frozen_path, saved_model=saved_path, inputs=list(inputs), outputs=list(outputs),
                  max_difference=difference)
    return exporting.finish(target, result, samples, live, shown)


def _run_frozen(path: str, samples: Mapping[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
    definition = tf.GraphDef()
    with open(path, "rb") as file:
        definition.ParseFromString(file.read())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(definition, name="")
        return session.run({key: f"{key}:0" for key in outputs}, {f"{key}:0": value for key, value in samples.items()})


def _run_saved_model(path: str, samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with bundle.literal(path) as literal, tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.loader.load(session, [tf.saved_model.tag_constants.SERVING], literal)
        signature = loaded.signature_def[tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
        return session.run({key: info.name for key, info in signature.outputs.items()},
                           {signature.inputs[key].name: value for key, value in samples.items()})
