"""Images from files to what the network takes."""
from __future__ import annotations

import io
import os
import warnings
from typing import Callable, NamedTuple, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from common.data import image_headers, images
from siamese_triplet_tf2.model import SIDE

MAX_BYTES, MAX_PIXELS = 1 << 26, 50_000_000
_FORMATS = ("JPEG", "PNG")


class Decoding(NamedTuple):
    """How images are decoded."""

    accurate: bool  # JPEG with the accurate DCT; the original uses TensorFlow's default, the fast one
    upright: bool = False  # turned as their EXIF orientation says


_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


def decode(path: str, how: Decoding) -> tf.Tensor:
    """Decode a file to float32 [200, 200, 3], RGB in [0, 1], resized bilinearly without antialias or kept aspect.

    Args:
        path: a JPEG or PNG file. What is transparent lies on white.
        how: how it is decoded.
    """
    content = tf.io.read_file(path).numpy()
    if image_headers.format_of(content) == "PNG" and image_headers.has_alpha(content):
        image = images.on_background(tf.io.decode_png(content, channels=4).numpy(), images.BACKGROUNDS["white"])
    else:
        image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE" if how.accurate else "")
    if how.upright:
        image = images.turn(np.asarray(image), image_headers.orientation(content))
    return tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), (SIDE, SIDE))


def preprocess(batch: tf.Tensor, input_scale: str) -> tf.Tensor:
    """Turn RGB in [0, 1] into what ResNet50's weights expect: BGR in [0, 255] minus ImageNet's mean.

    Args:
        batch: float32 [batch, 200, 200, 3].
        input_scale: "255"; or "unit", as the original, which leaves out the factor 255, so that white and black differ
            by 1 where they should by 255.
    """
    scaled = batch * 255.0 if input_scale == "255" else batch
    return scaled[..., ::-1] - _MEAN_BGR


def load_batch(paths: Sequence[str], how: Decoding) -> tf.Tensor:
    """Decode some files, float32 [num, 200, 200, 3]."""
    return tf.stack([decode(path, how) for path in paths])


def find_bad(paths: Sequence[str]) -> dict[str, str]:
    """Find files that are no usable image.

    They are decoded in a session of their own, on the CPU: the eager context must not begin before threads, adapter or
    other workers are set up.

    Returns:
        The reason by path.
    """
    settings = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.compat.v1.Session(config=settings) as session:
        content = tf.compat.v1.placeholder(tf.string, [])
        shape = tf.shape(tf.io.decode_jpeg(content, channels=3))
        reasons = {path: _fault(path, lambda encoded: session.run(shape, {content: encoded})) for path in paths}
    return {path: reason for path, reason in reasons.items() if reason}


def _fault(path: str, try_decoding: Callable[[bytes], object]) -> str | None:
    size = os.path.getsize(path)
    if size > MAX_BYTES:
        return f"has {size} bytes, at most {MAX_BYTES} are read"
    with open(path, "rb") as file:
        content = file.read()
    if image_headers.format_of(content) not in _FORMATS:
        return f"{image_headers.describe(content)}, expected JPEG or PNG" if content else "is empty"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    return f"is {width} x {height}, at most {MAX_PIXELS} pixels are decoded"
        try_decoding(content)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"is no JPEG or PNG that can be read ({str(error).splitlines()[0]})"
    except tf.errors.OpError as error:
        return f"cannot be decoded ({str(error.message).splitlines()[0][:120]})"
    return None
