"""From image files to the input of the network."""
from __future__ import annotations

import io
import os
import warnings
from typing import Callable, NamedTuple, Sequence

import numpy as np
from PIL import Image

from common import console
from common.data import images
from common.errors import ZooError
from common.keras.session import tf
from siamese_triplet_tf2.model import SIDE

MAX_BYTES, MAX_PIXELS = 1 << 26, 50_000_000
_FORMATS = ("JPEG", "PNG")


class Decoding(NamedTuple):
    """Settings of decoding."""

    accurate: bool  # accurate DCT for JPEG; the original uses the fast one, TensorFlow's default
    upright: bool = False  # apply the EXIF orientation
    background: str = "white"  # of transparent pixels


_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


def decode(path: str, how: Decoding) -> tf.Tensor:
    """Decode a file to float32 [200, 200, 3], RGB in [0, 1].

    Images are resized bilinearly, without antialiasing and without keeping the aspect ratio. Raises OSError if the file
    has vanished since `find_bad` looked at it, and ZooError if it is no longer an image.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        image = _decode(content, how)
    except tf.errors.InvalidArgumentError:
        raise ZooError(f"{path}: was an image when the program started and no longer is one; restore it, then the same "
                       "command resumes") from None
    if how.upright:
        image = images.turn(np.asarray(image), images.orientation_of(content))
    return tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), (SIDE, SIDE))


def _decode(content: bytes, how: Decoding) -> tf.Tensor:
    if images.format_of(content) == "PNG" and images.has_alpha(content):
        return images.on_background(tf.io.decode_png(content, channels=4).numpy(), images.BACKGROUNDS[how.background])
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE" if how.accurate else "")


def preprocess(batch: tf.Tensor, input_scale: str) -> tf.Tensor:
    """Convert RGB, float32 [batch, 200, 200, 3] in [0, 1], to the input of ResNet50: BGR in [0, 255] minus the mean.

    With the input scale "unit" instead of "255" the factor 255 is missing, as in the original, so that white and black
    differ by 1.
    """
    scaled = batch * 255.0 if input_scale == "255" else batch
    return scaled[..., ::-1] - _MEAN_BGR


def load_batch(paths: Sequence[str], how: Decoding) -> tf.Tensor:
    """Decode files, float32 [num, 200, 200, 3]."""
    return tf.stack([decode(path, how) for path in paths])


def find_bad(paths: Sequence[str]) -> dict[str, str]:
    """Find files that cannot be used as images; return the reasons by path.

    They are decoded in a separate session on the CPU, because the eager context must not be created before threads, the
    NPU adapter and other workers are set up.
    """
    settings = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.compat.v1.Session(config=settings) as session:
        content = tf.compat.v1.placeholder(tf.string, [])
        shape = tf.shape(tf.io.decode_jpeg(content, channels=3))
        reasons = {path: _fault(path, lambda encoded: session.run(shape, {content: encoded}))
                   for path in console.progress(paths, "checking images", "image")}
    return {path: reason for path, reason in reasons.items() if reason}


def _fault(path: str, try_decoding: Callable[[bytes], object]) -> str | None:
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            return f"has {size} bytes, at most {MAX_BYTES} are read"
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if images.format_of(content) not in _FORMATS:
        return f"{images.describe(content)}, expected JPEG or PNG" if content else "is empty"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    return f"is {width} x {height}, at most {MAX_PIXELS} pixels are decoded"
        try_decoding(content)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"is not a readable JPEG or PNG ({str(error).splitlines()[0]})"
    except tf.errors.OpError as error:
        return f"cannot be decoded ({str(error.message).splitlines()[0][:120]})"
    return None
