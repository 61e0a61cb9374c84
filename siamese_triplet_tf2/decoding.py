"""Images from files to what the network takes."""
from __future__ import annotations

import io
import os
import warnings
from typing import Callable, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from siamese_triplet_tf2.model import SIDE

MAX_BYTES, MAX_PIXELS = 1 << 26, 50_000_000
_FORMATS = ("JPEG", "PNG")
_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


def decode(path: str, accurate: bool) -> tf.Tensor:
    """Decode a file to float32 [200, 200, 3], RGB in [0, 1], resized bilinearly without antialias or kept aspect.

    Args:
        path: a JPEG or PNG file.
        accurate: decode JPEG with the accurate DCT; the original uses TensorFlow's default, the fast one.
    """
    content = tf.io.read_file(path)
    image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE" if accurate else "")
    return tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), (SIDE, SIDE))


def preprocess(images: tf.Tensor, input_scale: str) -> tf.Tensor:
    """Turn RGB in [0, 1] into what ResNet50's weights expect: BGR in [0, 255] minus ImageNet's mean.

    Args:
        images: float32 [batch, 200, 200, 3].
        input_scale: "255"; or "unit", as the original, which leaves out the factor 255, so that white and black differ
            by 1 where they should by 255.
    """
    scaled = images * 255.0 if input_scale == "255" else images
    return scaled[..., ::-1] - _MEAN_BGR


def load_batch(paths: Sequence[str], accurate: bool) -> tf.Tensor:
    """Decode some files, float32 [num, 200, 200, 3]."""
    return tf.stack([decode(path, accurate) for path in paths])


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
    if not 0 < size <= MAX_BYTES:
        return "is empty" if size == 0 else f"has {size} bytes, at most {MAX_BYTES} are read"
    with open(path, "rb") as file:
        content = file.read()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    return f"is {width} x {height}, at most {MAX_PIXELS} pixels are decoded"
                if getattr(image, "is_animated", False):
                    return "is animated"
        try_decoding(content)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = "no known format" if isinstance(error, UnidentifiedImageError) else str(error).split("\n", 1)[0]
        return f"is no JPEG or PNG ({what})"
    except tf.errors.OpError as error:
        return f"cannot be decoded ({str(error.message).splitlines()[0][:120]})"
    return None
