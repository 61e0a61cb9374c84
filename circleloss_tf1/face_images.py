"""Face images from files to the network's input, by tf.data on the host.

    decode (JPEG or PNG, 3 channels) -> [rotate, crop, mirror] -> bilinear resize -> (x - 127.5) / 128

Gray images get three equal channels; transparent pixels lie on white. The resize is that of TensorFlow 1: source
coordinate = output coordinate * input size / output size, no antialiasing.
"""
from __future__ import annotations

import math
import os
from typing import Any, Callable, Iterator, Sequence

import numpy as np

from circleloss_tf1.recipe import Extras, NetworkSettings, Switches
from common.data import images
from common.errors import ZooError, reason_of
from common.graph.compat import tf

DCT_METHODS = {"fast": "INTEGER_FAST", "accurate": "INTEGER_ACCURATE"}
THREADS = 4
BATCHES_AHEAD = 2
CROP_RATIO = 8.0 / 7.0  # side of an image and of a random crop of it: 128 to 112
MAX_DEGREES = 10.0


class DamagedImages(ZooError):
    """Some images of a batch cannot be read; `reasons` maps their indices in the batch to why."""

    def __init__(self, reasons: dict[int, str]):
        more = f", and {len(reasons) - 1} more in the batch" if len(reasons) > 1 else ""
        super().__init__(f"{reasons[min(reasons)]}{more}; fix or remove it")
        self.reasons = reasons


def draw_augmentation(extras: Extras, num: int, seed: Sequence[int]) -> np.ndarray:
    """Draw the parameters of the options in effect, float32 [num, 4]; those of the first images do not depend on `num`.

    They are degrees, -10 to 10, counter-clockwise; top and left, 0 to 1, from the first possible offset of the crop to
    the last one; and 1 to mirror the image, else 0.
    """
    uniform = np.random.RandomState(list(seed)).random_sample((num, 4)).astype(np.float32).T
    return np.stack([(2.0 * uniform[0] - 1.0) * MAX_DEGREES * extras.random_rotate,
                     np.where(extras.random_crop, uniform[1], 0.5), np.where(extras.random_crop, uniform[2], 0.5),
                     (uniform[3] < 0.5) & extras.random_flip], axis=1).astype(np.float32)


class Stage:
    """A queue on the device: a step takes its first batch, `images`, float32 [batch, side, side, 3], or waits."""

    _NAME = "staged_images"

    def __init__(self, shape: Sequence[int]):
        self.images, = tf.raw_ops.Unstage(dtypes=[tf.float32], shared_name=self._NAME)
        self.images.set_shape(shape)

    def put(self, images: tf.Tensor) -> tf.Operation:
        """Return an op that copies a batch to the device."""
        return tf.raw_ops.Stage(values=[images], shared_name=self._NAME)


class ImageFeed:
    """Batches of images, decoded ahead of the steps that use them."""

    def __init__(self, batch_size: int, network: NetworkSettings, augmented: bool = False, threads: int = THREADS,
                 read: Callable[[bytes], bytes] | None = None):
        """Build the pipeline in the default graph.

        Args:
            batch_size: images in a batch.
            network: size, decoding and standardisation of the input.
            augmented: whether images are rotated, cropped or mirrored.
            threads: images decoded at a time.
            read: returns the content of a path, or raises ZooError; None if paths are those of files.
        """
        self._read_content, self._batch_size, self._network = read, batch_size, network
        with tf.name_scope("input"):
            self._paths = tf.placeholder(tf.string, [None], "paths")
            self._augmentation = tf.placeholder(tf.float32, [None, 4], "augmentation")
            dataset = tf.data.Dataset.from_tensor_slices((self._paths, self._augmentation))
            prepare = tf.autograph.experimental.do_not_convert(
                lambda path, row: _prepare(self._decode(path), row if augmented else None, network.extras))
            dataset = dataset.map(prepare, num_parallel_calls=threads)
            dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(BATCHES_AHEAD)
            iterator = tf.data.make_initializable_iterator(dataset)
            self._initialise, self._next = iterator.initializer, iterator.get_next()
            self._fetched: tf.Tensor | tf.Operation = self._next
            self._path = tf.placeholder(tf.string, [], "path")
            self._image = self._decode(self._path)
        self._batches: Iterator[Sequence[bytes]] = iter(())

    def put_on(self, stage: Stage) -> None:
        """Let `next` put batches on a stage instead of returning them."""
        self._fetched = stage.put(self._next)

    def start(self, session: tf.Session, paths: Sequence[bytes], augmentation: np.ndarray | None = None) -> None:
        """Start to decode images, in full batches; a row of `draw_augmentation` each."""
        assert len(paths) % self._batch_size == 0
        rows = np.zeros((len(paths), 4), np.float32) if augmentation is None else augmentation
        session.run(self._initialise, {self._paths: np.array(paths, object), self._augmentation: rows})
        self._batches = (paths[begin:begin + self._batch_size] for begin in range(0, len(paths), self._batch_size))

    def next(self, session: tf.Session) -> Any:
        """Return the next batch, float32 [batch, side, side, 3]; None if it is on the stage.

        Raises DamagedImages if some cannot be read; to continue without them, call `start` again.
        """
        paths = next(self._batches)
        try:
            return session.run(self._fetched)
        except tf.errors.ResourceExhaustedError:
            raise
        except tf.errors.OpError:
            reasons = {index: reason for index, reason in enumerate(self.reason(session, path) for path in paths)
                       if reason}
            if not reasons:
                raise
            raise DamagedImages(reasons) from None

    def decoded(self, session: tf.Session, path: bytes) -> np.ndarray:
        """Return a decoded image, uint8 [height, width, 3]."""
        return session.run(self._image, {self._path: path})

    def reason(self, session: tf.Session, path: bytes) -> str | None:
        """Return why an image cannot be read; None if it can."""
        try:
            header = images.read_header(path) if self._read_content is None else self._read_content(path)
            self.decoded(session, path)
            return None
        except ZooError as error:
            return str(error)
        except tf.errors.OpError as error:
            reason = reason_of(error)
            if (self._read_content or os.path.isfile(path)) and images.format_of(header) not in ("JPEG", "PNG"):
                reason = f"it {images.describe(header)}, expected JPEG or PNG"
            return f"{os.fsdecode(path)}: not a readable image ({reason})"

    def _decode(self, path: tf.Tensor) -> tf.Tensor:
        content = tf.numpy_function(self._read_content, [path], tf.string) if self._read_content else tf.read_file(path)
        content.set_shape([])
        return decode(content, self._network.switches, self._network.background)


def decode(contents: tf.Tensor, switches: Switches, background: str = "white") -> tf.Tensor:
    """Decode a JPEG or PNG file's contents, string [], to uint8 [height, width, 3].

    Other formats fail: TensorFlow's decoders take some of them, as images of other shapes.
    """
    method = DCT_METHODS[switches.jpeg_decoding]
    image = tf.cond(tf.image.is_jpeg(contents),
                    lambda: tf.image.decode_jpeg(contents, channels=3, dct_method=method),
                    lambda: _decode_png(contents, images.BACKGROUNDS[background]))
    image.set_shape([None, None, 3])
    return _turn_upright(image, contents) if switches.exif_orientation else image


def _decode_png(contents: tf.Tensor, background: int) -> tf.Tensor:
    is_png = tf.equal(tf.strings.substr(contents, 0, 4), b"\x89PNG")
    with tf.control_dependencies([tf.Assert(is_png, ["neither JPEG nor PNG"])]):
        contents = tf.identity(contents)
    has_alpha = tf.numpy_function(images.has_alpha, [contents], tf.bool)
    has_alpha.set_shape([])  # with 4 channels TensorFlow decodes a palette without transparency wrongly
    return tf.cond(has_alpha, lambda: _on_background(tf.image.decode_png(contents, channels=4), background),
                   lambda: tf.image.decode_png(contents, channels=3))


def _on_background(image: tf.Tensor, background: int) -> tf.Tensor:
    """`images.on_background`."""
    pixels = tf.cast(image, tf.int32)
    alpha = pixels[..., 3:]
    return tf.cast((pixels[..., :3] * alpha + background * (255 - alpha) + 127) // 255, tf.uint8)


def _turn_upright(image: tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
    """`images.turn` by the orientation that a file's contents name."""
    turned = tf.numpy_function(lambda pixels, content: images.turn(pixels, images.orientation_of(content)),
                               [image, contents], tf.uint8)
    turned.set_shape([None, None, 3])
    return turned


def _prepare(image: tf.Tensor, augmentation: tf.Tensor | None, extras: Extras) -> tf.Tensor:
    """Resize, augment by a row of `draw_augmentation` and standardise an image; return float32 [side, side, 3]."""
    side = extras.image_size
    larger = int(math.ceil(side * CROP_RATIO)) if extras.random_crop and augmentation is not None else side
    image = tf.image.resize_bilinear(image[None], [larger, larger])[0]
    if augmentation is not None:
        if extras.random_rotate:
            image = rotate(image, augmentation[0])
        begin = tf.cast(tf.round(augmentation[1:3] * (larger - side)), tf.int32)
        image = tf.slice(image, tf.concat([begin, [0]], 0), [side, side, 3])
        image = tf.cond(augmentation[3] > 0.5, lambda: tf.reverse(image, [1]), lambda: image)
        image = tf.reshape(image, [side, side, 3])
    if extras.use_fixed_image_standardization:
        return (image - 127.5) / 128.0
    return tf.image.per_image_standardization(image)


def rotate(image: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Rotate a square image, float32 [side, side, 3], about its center, counter-clockwise; corners repeat the edge."""
    side = int(image.shape[0])
    middle = (side - 1) / 2.0
    radians = degrees * (math.pi / 180.0)
    y, x = tf.meshgrid(tf.range(side, dtype=tf.float32) - middle, tf.range(side, dtype=tf.float32) - middle,
                       indexing="ij")
    source_x = tf.clip_by_value(tf.cos(radians) * x - tf.sin(radians) * y + middle, 0.0, side - 1.0)
    source_y = tf.clip_by_value(tf.sin(radians) * x + tf.cos(radians) * y + middle, 0.0, side - 1.0)
    left, top = tf.floor(source_x), tf.floor(source_y)
    across, down = (source_x - left)[..., None], (source_y - top)[..., None]

    def at(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        positions = tf.stack([tf.minimum(row, side - 1.0), tf.minimum(column, side - 1.0)], axis=-1)
        return tf.gather_nd(image, tf.cast(positions, tf.int32))

    upper = at(top, left) * (1.0 - across) + at(top, left + 1.0) * across
    lower = at(top + 1.0, left) * (1.0 - across) + at(top + 1.0, left + 1.0) * across
    return upper * (1.0 - down) + lower * down
