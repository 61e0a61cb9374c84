"""Face images from files to the network's input, by tf.data on the host, and the batches of an epoch.

    decode (JPEG or PNG, 3 channels) -> [rotate, crop, mirror] -> bilinear resize -> (x - 127.5) / 128

Gray images get three equal channels; transparent pixels lie on white. The resize is that of TensorFlow 1: source
coordinate = output coordinate * input size / output size, no antialiasing.
"""
from __future__ import annotations

import functools
import math
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Iterator, Sequence

import numpy as np

from circleloss_tf1.faces import Faces, Sampler
from circleloss_tf1.recipe import Extras, NetworkSettings, Switches
from common.cli.parser import FlagValues
from common.data import images
from common.errors import ZooError, reason_of
from common.graph.compat import tf

DCT_METHODS = {"fast": "INTEGER_FAST", "accurate": "INTEGER_ACCURATE"}
THREADS = 4
BATCHES_AHEAD = 2
CROP_RATIO = 8.0 / 7.0  # side of an image and of a random crop of it: 128 to 112
MAX_DEGREES = 10.0
MAX_ATTEMPTS = 100  # to replace an image that cannot be read
_STAGE = "staged_images"


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


def staged_images(shape: Sequence[int]) -> tf.Tensor:
    """Return the batch, float32 of this shape, that a step takes from the stage, a queue on the device."""
    (staged,) = tf.raw_ops.Unstage(dtypes=[tf.float32], shared_name=_STAGE)
    staged.set_shape(shape)
    return staged


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

    def stage(self) -> None:
        """Let `next` put batches on the stage instead of returning them."""
        self._fetched = tf.raw_ops.Stage(values=[self._next], shared_name=_STAGE)

    def start(self, session: tf.Session, paths: Sequence[str | bytes], augmentation: np.ndarray | None = None) -> None:
        """Start to decode images, in full batches; a row of `draw_augmentation` each."""
        assert len(paths) % self._batch_size == 0
        paths = list(map(os.fsencode, paths))
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


class EpochBatches:
    """The batches of each epoch. They depend on the seed, the epoch and the position in it alone."""

    def __init__(self, faces: Faces, train: np.ndarray, sampler: Sampler, network: NetworkSettings, flags: FlagValues,
                 is_staged: bool):
        """Build the pipeline in the default graph.

        Args:
            faces: all images.
            train: indices of those to train on, in which the sampler draws.
            sampler: draws the images.
            network: size, decoding, standardisation and augmentation.
            flags: with `bad_images` "skip" an image that cannot be read is replaced, instead of ending the run.
            is_staged: whether batches go to the stage; a thread puts every one but the first of an epoch there while
                the step before it is made.
        """
        self._faces, self._train, self._sampler, self._extras = faces, train, sampler, network.extras
        self._skip = flags.bad_images == "skip"
        self._is_augmented = self._extras.random_crop or self._extras.random_flip or self._extras.random_rotate
        self._feed = ImageFeed(sampler.batch_size, network, self._is_augmented, flags.nrof_preprocess_threads,
                               faces.read)
        self._pool = None
        if is_staged:
            self._feed.stage()
            self._pool = ThreadPoolExecutor(1)
        self._bad: set = set()  # indices of images that cannot be read
        self._ahead: Future | None = None  # puts the next batch on the device

    def close(self) -> None:
        """Stop the thread."""
        if self._pool:
            self._pool.shutdown()

    def begin(self, session: tf.Session, epoch: int, first_batch: int) -> None:
        """Begin an epoch, or resume it at a batch other than the first; both count from 0."""
        self._epoch, self._position = epoch, first_batch * self._sampler.batch_size  # of the next batch
        self._indices = self._train[self._sampler.indices(epoch)]
        for position in np.flatnonzero(np.isin(self._indices, list(self._bad))):
            self._replace(session, int(position))
        self._start(session)

    def next(self, session: tf.Session) -> tuple[np.ndarray | None, np.ndarray]:
        """Return the next batch: images, float32 [batch, side, side, 3], and labels, int32 [batch].

        The images are None if they are staged. Raises ZooError if an image cannot be read and bad images are not
        skipped, or no replacement can be read.
        """
        while True:
            try:
                ahead, self._ahead = self._ahead, None
                images = ahead.result() if ahead else self._feed.next(session)
                break
            except DamagedImages as error:
                if not self._skip:
                    raise ZooError(f"{error}, or train with --bad_images=skip") from None
                for offset, reason in error.reasons.items():
                    print(f"Warning: {reason}; another image is used instead", flush=True)
                    self._bad.add(int(self._indices[self._position + offset]))
                    self._replace(session, self._position + offset)
                self._start(session)
        chosen = self._indices[self._position:self._position + self._sampler.batch_size]
        self._position += self._sampler.batch_size
        if self._pool and self._position < len(self._indices):
            self._ahead = self._pool.submit(self._feed.next, session)
        return images, self._faces.labels[chosen]

    def _start(self, session: tf.Session) -> None:
        augmentation = None
        if self._is_augmented:
            drawn = draw_augmentation(self._extras, self._sampler.epoch_images, (self._sampler.seed, 3, self._epoch))
            augmentation = drawn[self._sampler.positions[self._position:]]
        self._feed.start(session, [self._faces.path(index) for index in self._indices[self._position:]], augmentation)

    def _replace(self, session: tf.Session, position: int) -> None:
        """Draw other images for a position of the epoch until one can be read."""
        for attempt in range(MAX_ATTEMPTS):
            index = int(self._train[self._sampler.substitute(self._epoch, position, attempt)])
            if index not in self._bad and self._feed.reason(session, self._faces.path(index)) is None:
                self._indices[position] = index
                return
            self._bad.add(index)
        raise ZooError(f"{self._faces.folder}: none of {MAX_ATTEMPTS} images drawn as a replacement can be read; fix "
                       "the data")


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
    blend = functools.partial(images.on_background, background=background)
    return tf.cond(has_alpha,
                   lambda: tf.numpy_function(blend, [tf.image.decode_png(contents, channels=4)], tf.uint8),
                   lambda: tf.image.decode_png(contents, channels=3))


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
