"""The graphs of tracking: the template of the first frame, and the response to it in a later frame."""
from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import numpy as np

from common.graph.compat import tf
from sa_siam_tf1 import load_opencv
from sa_siam_tf1.configuration import EXEMPLAR_SIDE, STRIDE, ModelConfig, TrackConfig
from sa_siam_tf1.embeddings import sa_siam
from sa_siam_tf1.embeddings.sa_siam import Features, Normaliser

_OUTSIDE = -1.0  # marks points outside of the frame in a crop; no pixel is negative


class Windows(NamedTuple):
    """Square windows of a frame, as images."""

    frame: tf.Tensor  # placeholder, uint8 [height, width, 3], RGB
    mean_colour: tf.Tensor  # placeholder, float32 [3]
    boxes: tf.Tensor  # placeholder, float32 [num, 4]: y1, x1, y2, x2 of the outermost points, 0 to 1 over the frame
    images: tf.Tensor  # float32 [num, side, side, 3]


class Peak(NamedTuple):
    """Where responses are highest: tensors, or their values."""

    response_max: Any  # float32 [scales], the highest response at each
    best_scale: Any  # int, where that is highest with the penalty of a change of scale
    response: Any  # float32 [side, side], of the best scale
    index: Any  # int, of its highest point under the window, row * side + column
    total: Any  # float32, sum of all responses; finite where all of them are


class SearchGraph(NamedTuple):
    """Frame and template to response."""

    windows: Windows  # one per scale
    features: Features  # of the instances
    template: Features  # placeholders
    response: tf.Tensor  # float32 [scales, cells, cells]
    upsampled: tf.Tensor  # float32 [scales, cells * factor, cells * factor]
    peak: Peak  # of `upsampled`


class InferenceWrapper:
    """Both graphs on the same variables, in a session that holds the weights."""

    def __init__(self, model: ModelConfig, track: TrackConfig, dtype: tf.DType = tf.float32):
        """Build the graphs in the default graph; the embeddings' convolutions compute in `dtype`."""
        self.track = track
        with tf.name_scope("template"):
            self._first_window = _windows(1, track.x_image_size)
            self._exemplar = embed(model, self._first_window.images, True, dtype)
        self.search_graph = _build_search(model, track, dtype)

    def template(self, session: tf.Session, frame: np.ndarray, centre: Sequence[float], context: float
                 ) -> list[np.ndarray]:
        """Return the features of an exemplar in a frame, uint8 [height, width, 3], RGB.

        Its centre is y, x, counted from 0; `context` is the side of its context, pixels of the frame.
        """
        return list(session.run(self._exemplar, self._feeds(self._first_window, frame, centre, context, [1.0])))

    def search(self, session: tf.Session, frame: np.ndarray, centre: Sequence[float], context: float,
               template: Sequence[np.ndarray]) -> Peak:
        """Return the peak of the upsampled responses, in one call of the session; arguments as `template`."""
        return session.run(self.search_graph.peak, self.search_feeds(frame, centre, context, template))

    def search_feeds(self, frame: np.ndarray, centre: Sequence[float], context: float,
                     template: Sequence[np.ndarray]) -> dict:
        """Return the feeds of the search graph."""
        graph = self.search_graph
        feeds = self._feeds(graph.windows, frame, centre, context, search_factors(self.track))
        feeds.update(zip(graph.template, template))
        return feeds

    def _feeds(self, windows: Windows, frame: np.ndarray, centre: Sequence[float], context: float,
               factors: Sequence[float]) -> dict:
        sides = context * self.track.x_image_size / EXEMPLAR_SIDE * np.asarray(factors, np.float64)
        return {windows.frame: frame, windows.mean_colour: load_opencv().mean(frame)[:3],
                windows.boxes: window_boxes(frame.shape[:2], centre, sides)}


def search_factors(track: TrackConfig) -> np.ndarray:
    """Return the factors of the window's side, float64 [scales]; the middle one is 1."""
    half = track.num_scales // 2
    return track.scale_step ** np.arange(-half, half + 1, dtype=np.float64)


def window_boxes(frame_size: Sequence[int], centre: Sequence[float], sides: Sequence[float]) -> np.ndarray:
    """Return the outermost sample points of square windows around a point y, x, counted from 0.

    They are float32 [num, 4] for `tf.image.crop_and_resize`: y1, x1, y2, x2, 0 for the first and 1 for the last row or
    column of the frame, whose size is height, width.
    """
    reach = (np.asarray(sides, np.float64)[:, None] - 1.0) / 2.0
    middle, last = np.asarray(centre, np.float64), np.asarray(frame_size, np.float64) - 1.0
    return np.concatenate([(middle - reach) / last, (middle + reach) / last], axis=1).astype(np.float32)


def _build_search(model: ModelConfig, track: TrackConfig, dtype: tf.DType) -> SearchGraph:
    """Build the graph of the search on existing variables."""
    with tf.name_scope("search"), tf.variable_scope(tf.get_variable_scope(), reuse=True):
        windows = _windows(track.num_scales, track.x_image_size)
        features = embed(model, windows.images, False, dtype)
    template = tuple(tf.placeholder(tf.float32, [1, *shape]) for shape in template_shapes(features))
    with tf.name_scope("search"):
        tiled = tuple(tf.tile(one, [track.num_scales, 1, 1, 1]) for one in template)
        response = _response(model, tiled, features)
        upsampled = _upsampled(response, track)
        return SearchGraph(windows, features, template, response, upsampled, find_peak(upsampled, track))


def find_peak(responses: tf.Tensor, track: TrackConfig) -> Peak:
    """Choose a scale, and the highest point of its response after normalisation and mixing with a cosine window.

    The responses are float32 [scales, side, side], upsampled. The window, with sum 1, is the outer product of two Hann
    windows.
    """
    num_scales, side = (int(size) for size in responses.shape[:2])
    window = np.outer(np.hanning(side), np.hanning(side))
    window = (window / window.sum()).astype(np.float32)
    penalties = np.full(num_scales, track.scale_penalty, np.float32)
    penalties[num_scales // 2] = 1.0
    response_max = tf.reduce_max(responses, axis=[1, 2])
    best = tf.argmax(response_max * penalties, output_type=tf.int32)
    response = tf.gather(responses, best)
    score = response - tf.reduce_min(response)
    total = tf.reduce_sum(score)
    score /= tf.where(total > 0.0, total, tf.ones_like(total))
    score = (1.0 - track.window_influence) * score + track.window_influence * window
    return Peak(response_max, best, response, tf.argmax(tf.reshape(score, [-1]), output_type=tf.int32),
                tf.reduce_sum(responses))


def export_template(model: ModelConfig, track: TrackConfig) -> tuple[dict, dict]:
    """Build the template's graph for an export; return inputs and outputs by name."""
    images = tf.placeholder(tf.float32, [None, track.x_image_size, track.x_image_size, 3], "images")
    features = embed(model, images, True)
    return dict(images=images), {f"template_{number}": tf.identity(feature_map, f"template_{number}")
                                 for number, feature_map in enumerate(features)}


def export_search(model: ModelConfig, track: TrackConfig) -> tuple[dict, dict]:
    """Build the search graph for an export; return inputs and outputs by name."""
    images = tf.placeholder(tf.float32, [None, track.x_image_size, track.x_image_size, 3], "images")
    features = embed(model, images, False)
    template = tuple(tf.placeholder(tf.float32, [None, *shape], f"template_{number}")
                     for number, shape in enumerate(template_shapes(features)))
    response = _response(model, template, features)
    outputs = dict(response=tf.identity(response, "response"),
                   upsampled=tf.identity(_upsampled(response, track), "upsampled"))
    return dict({placeholder.op.name: placeholder for placeholder in template}, images=images), outputs


def template_shapes(features: Features) -> list[list[int]]:
    """Shapes of a template's maps, [cells, cells, channels] each, that fit the maps of the instances."""
    narrower = int(features[-1].shape[1]) - sa_siam.EXEMPLAR_CELLS  # the last map is conv5's
    return [[int(maps.shape[1]) - narrower] * 2 + [int(maps.shape[3])] for maps in features]


def embed(model: ModelConfig, images: tf.Tensor, is_exemplar: bool, dtype: tf.DType = tf.float32) -> Features:
    """Compute the features of search images, float32 [num, side, side, 3], with moving statistics."""
    features: Features = ()
    if model.branch != "semantic":  # of the exemplar only its own pixels matter
        window = exemplar_window(images) if is_exemplar else images
        features += sa_siam.appearance(window, Normaliser(False), is_exemplar, dtype)
    if model.branch != "appearance":  # attention needs the surroundings too
        features += sa_siam.semantic(images, is_exemplar, dtype)
    return features


def exemplar_window(images: tf.Tensor) -> tf.Tensor:
    """Crop the 127 x 127 pixels that the appearance exemplar depends on with moving statistics."""
    cells_outside = (int(images.shape[1]) - EXEMPLAR_SIDE) // STRIDE  # of conv5
    start = STRIDE * sa_siam.crop_start(cells_outside, 0)
    return images[:, start:start + EXEMPLAR_SIDE, start:start + EXEMPLAR_SIDE]


def _response(model: ModelConfig, template: Features, features: Features) -> tf.Tensor:
    """Return the response of a branch, or the weighted sum of both (SA-Siam, equation 8): [num, cells, cells]."""
    if model.branch != "both":
        return model.response_scale * sa_siam.correlate(template, features) + _bias("biases")
    appearance = model.response_scale * sa_siam.correlate(template[:1], features[:1]) + _bias("biases_appearance")
    semantic = model.response_scale * sa_siam.correlate(template[1:], features[1:]) + _bias("biases_semantic")
    return model.c_appearance * appearance + (1.0 - model.c_appearance) * semantic


def _upsampled(response: tf.Tensor, track: TrackConfig) -> tf.Tensor:
    side = int(response.shape[1]) * track.upsample_factor
    return tf.image.resize_bicubic(response[..., None], [side, side], align_corners=True)[..., 0]


def _windows(num: int, side: int) -> Windows:
    """Sample windows bilinearly; pixels outside of the frame have its mean colour."""
    frame = tf.placeholder(tf.uint8, [None, None, 3], "frame")
    mean_colour = tf.placeholder(tf.float32, [3], "mean_colour")
    boxes = tf.placeholder(tf.float32, [num, 4], "boxes")
    crops = tf.image.crop_and_resize(frame[None], boxes, [0] * num, [side, side], extrapolation_value=_OUTSIDE)
    return Windows(frame, mean_colour, boxes, tf.where_v2(crops < 0.0, mean_colour, crops))


def _bias(name: str) -> tf.Variable:
    with tf.variable_scope("detection"):
        return tf.get_variable(name, [1], initializer=tf.zeros_initializer(), trainable=False)
