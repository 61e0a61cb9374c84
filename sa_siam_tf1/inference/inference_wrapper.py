"""The graphs of tracking: a template out of the first frame, the response to it in a later one."""
from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from common.tf1 import tf
from sa_siam_tf1.configuration import CURATED_SIDE, EXEMPLAR_SIDE, ModelConfig, TrackConfig
from sa_siam_tf1.embeddings import sa_siam
from sa_siam_tf1.embeddings.sa_siam import Features, Normaliser

_OUTSIDE = -1.0  # what the crop marks points with that lie outside of the frame; no pixel is negative


class Windows(NamedTuple):
    """Square windows of a frame, as images."""

    frame: tf.Tensor  # placeholder, uint8 [height, width, 3], RGB
    mean_colour: tf.Tensor  # placeholder, float32 [3]
    boxes: tf.Tensor  # placeholder, float32 [num, 4]: y1, x1, y2, x2 of the outermost points, 0 to 1 over the frame
    images: tf.Tensor  # float32 [num, side, side, 3]


class TemplateGraph(NamedTuple):
    """First frame to template."""

    windows: Windows  # one
    features: Features  # of the exemplar, appearance before semantic


class SearchGraph(NamedTuple):
    """Frame and template to response."""

    windows: Windows  # one a scale
    features: Features  # of the instances
    template: Features  # placeholders
    response: tf.Tensor  # float32 [scales, cells, cells]
    upsampled: tf.Tensor  # float32 [scales, cells * factor, cells * factor]


class InferenceWrapper:
    """Both graphs on the same variables, in a session that holds the weights."""

    def __init__(self, model: ModelConfig, track: TrackConfig):
        """Build the graphs in the default graph."""
        self.model, self.track = model, track
        self.template_graph = build_template(model, track)
        self.search_graph = build_search(model, track)

    def template(self, session: tf.Session, frame: np.ndarray, centre: Sequence[float], context: float
                 ) -> list[np.ndarray]:
        """Return the exemplar's features.

        Args:
            session: holds the weights.
            frame: uint8 [height, width, 3], RGB.
            centre: y, x of the target, 0-based.
            context: side of the target's context, pixels of the frame.
        """
        graph = self.template_graph
        return list(session.run(graph.features, self._feeds(graph.windows, frame, centre, context, [1.0])))

    def search(self, session: tf.Session, frame: np.ndarray, centre: Sequence[float], context: float,
               template: Sequence[np.ndarray]) -> np.ndarray:
        """Return the upsampled response at every scale, float32 [scales, side, side]; arguments as `template`."""
        return session.run(self.search_graph.upsampled, self.search_feeds(frame, centre, context, template))

    def search_feeds(self, frame: np.ndarray, centre: Sequence[float], context: float,
                     template: Sequence[np.ndarray]) -> dict:
        """What the search graph is fed."""
        graph = self.search_graph
        feeds = self._feeds(graph.windows, frame, centre, context, search_factors(self.track))
        feeds.update(zip(graph.template, template))
        return feeds

    def _feeds(self, windows: Windows, frame: np.ndarray, centre: Sequence[float], context: float,
               factors: Sequence[float]) -> dict:
        sides = context * self.track.x_image_size / EXEMPLAR_SIDE * np.asarray(factors, np.float64)
        import cv2

        return {windows.frame: frame, windows.mean_colour: cv2.mean(frame)[:3],
                windows.boxes: window_boxes(frame.shape[:2], centre, sides)}


def search_factors(track: TrackConfig) -> np.ndarray:
    """Factors of the window's side, float64 [scales], 1 in the middle."""
    half = track.num_scales // 2
    return track.scale_step ** np.arange(-half, half + 1, dtype=np.float64)


def window_boxes(frame_size: Sequence[int], centre: Sequence[float], sides: Sequence[float]) -> np.ndarray:
    """Outermost sample points of square windows, as `tf.image.crop_and_resize` takes them.

    Args:
        frame_size: height and width.
        centre: y, x, 0-based.
        sides: a side for each window, pixels.

    Returns:
        float32 [num, 4]: y1, x1, y2, x2, 0 for the first and 1 for the last row or column.
    """
    reach = (np.asarray(sides, np.float64)[:, None] - 1.0) / 2.0
    middle, last = np.asarray(centre, np.float64), np.asarray(frame_size, np.float64) - 1.0
    return np.concatenate([(middle - reach) / last, (middle + reach) / last], axis=1).astype(np.float32)


def build_template(model: ModelConfig, track: TrackConfig) -> TemplateGraph:
    """Build the graph of the template and make the variables."""
    with tf.name_scope("template"):
        windows = _windows(1, track.x_image_size)
        features: Features = ()
        if model.branch != "semantic":  # nothing but the exemplar's own pixels is embedded
            features += sa_siam.appearance(sa_siam.exemplar_window(windows.images), Normaliser(False), 0, True)
        if model.branch != "appearance":  # attention looks at the surroundings too
            features += sa_siam.semantic(windows.images, 0, True)
        return TemplateGraph(windows, features)


def build_search(model: ModelConfig, track: TrackConfig) -> SearchGraph:
    """Build the graph of the search on the template graph's variables."""
    with tf.name_scope("search"):
        windows = _windows(track.num_scales, track.x_image_size)
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            appearance: Features = ()
            semantic: Features = ()
            if model.branch != "semantic":
                appearance = sa_siam.appearance(windows.images, Normaliser(False), 0, False)
            if model.branch != "appearance":
                semantic = sa_siam.semantic(windows.images, 0, False)
        features = appearance + semantic
        response_cells = sa_siam.conv5_side(track.x_image_size) - sa_siam.EXEMPLAR_CELLS + 1
        template = tuple(tf.placeholder(tf.float32, [1, cells, cells, int(found.shape[3])]) for found in features
                         for cells in [int(found.shape[1]) - response_cells + 1])
        responses = {}
        for branch, found, exemplar in (("appearance", appearance, template[:len(appearance)]),
                                        ("semantic", semantic, template[len(appearance):])):
            if found:
                tiled = tuple(tf.tile(one, [track.num_scales, 1, 1, 1]) for one in exemplar)
                responses[branch] = model.response_scale * sa_siam.correlate(tiled, found) + _bias(model, branch)
        response = next(iter(responses.values())) if len(responses) == 1 else (
            model.c_appearance * responses["appearance"] + (1.0 - model.c_appearance) * responses["semantic"])
        side = response_cells * track.upsample_factor
        upsampled = tf.image.resize_bicubic(response[..., None], [side, side], align_corners=True)[..., 0]
        return SearchGraph(windows, features, template, response, upsampled)


def _windows(num: int, side: int) -> Windows:
    """Sample windows bilinearly; what lies outside of the frame has its mean colour."""
    frame = tf.placeholder(tf.uint8, [None, None, 3], "frame")
    mean_colour = tf.placeholder(tf.float32, [3], "mean_colour")
    boxes = tf.placeholder(tf.float32, [num, 4], "boxes")
    found = tf.image.crop_and_resize(frame[None], boxes, [0] * num, [side, side], extrapolation_value=_OUTSIDE)
    return Windows(frame, mean_colour, boxes, tf.where_v2(found < 0.0, mean_colour, found))


def _bias(model: ModelConfig, branch: str) -> tf.Variable:
    name = f"biases_{branch}" if model.branch == "both" else "biases"
    with tf.variable_scope("detection"):
        return tf.get_variable(name, [1], initializer=tf.zeros_initializer(), trainable=False)
