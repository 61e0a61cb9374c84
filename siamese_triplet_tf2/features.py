"""From image files to features, the output of the frozen part: computed once and kept, or on demand.

Keeping them changes nothing, because images are not augmented and the frozen part does not change. They are computed in
the order of the images in batches of one size, so a resumed run has the same bits as an uninterrupted one.
"""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from common import atomic_files, console
from common.data import images
from common.data.batching import full_batches
from common.errors import ZooError
from common.keras.session import tf
from siamese_triplet_tf2.model import SIDE, folded

BATCH_SIZE = 32
MEMORY_SHARE = 0.25  # of the free memory that `auto` uses at most
_PROGRESS = "features.json"
_DATA = "features.float32"
_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


class Decoding(NamedTuple):
    """Settings of decoding."""

    accurate: bool  # accurate DCT for JPEG; the original uses the fast one, TensorFlow's default
    upright: bool = False  # apply the EXIF orientation
    background: str = "white"  # of transparent pixels


def decode(path: str, how: Decoding) -> tf.Tensor:
    """Decode a file to float32 [200, 200, 3], RGB in [0, 1].

    Images are resized bilinearly, without antialiasing and without keeping the aspect ratio. Raises OSError if the file
    has vanished since `bad_images.find` looked at it, and ZooError if it is no longer an image.
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


class ImageFeatures:
    """Features computed from image files on demand."""

    def __init__(self, frozen: Any, paths: Sequence[str], how: Decoding, input_scale: str):
        """Read nothing yet.

        Args:
            frozen: Keras model of the frozen part. Its weights are those at the first call.
            paths: paths of all images.
            how: settings of decoding.
            input_scale: see `preprocess`.
        """
        self._frozen, self._paths, self._how, self._input_scale = frozen, paths, how, input_scale
        self._thread = ThreadPoolExecutor(1)
        self._ahead: tuple[bytes, Future] | None = None
        self._run: Callable[[tf.Tensor], tf.Tensor] | None = None

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Return the features of images by their indices, float32 [len(indices), *shape]."""
        if self._ahead and self._ahead[0] == indices.tobytes():
            images, self._ahead = self._ahead[1].result(), None
        else:
            images = self._load(indices)
        if self._run is None:
            frozen = folded(self._frozen)
            self._run = tf.function(lambda images: tf.cast(
                frozen(preprocess(images, self._input_scale), training=False), tf.float32))
        return self._run(images).numpy()

    def expect(self, indices: np.ndarray) -> None:
        """Decode images in a thread, for a later call with the same indices."""
        self._ahead = indices.tobytes(), self._thread.submit(self._load, indices)

    def _load(self, indices: np.ndarray) -> tf.Tensor:
        return load_batch([self._paths[index] for index in indices], self._how)

    def fingerprint(self, data: Any) -> str:
        """Return a text that depends on the frozen weights, the fingerprint of the data and how images are read."""
        checksum = 0
        for weights in self._frozen.get_weights():
            checksum = zlib.crc32(np.ascontiguousarray(weights).tobytes(), checksum)
        described = json.dumps([data, self._how, self._input_scale])
        return f"{checksum:08x}-{zlib.crc32(described.encode('utf-8')):08x}"


class KeptFeatures:
    """Features that are computed once and kept in memory, or in a memory-mapped file of the run directory.

    Attributes:
        on_device: keep those in memory on the device, where `gather` reads them; `fill` resets it if they do not fit.
    """

    def __init__(self, compute: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], num: int,
                 on_device: bool = False):
        self.on_device = on_device
        self._compute, self._shape, self._num = compute, shape, num
        self._array: np.ndarray = np.zeros(0, np.float32)

    def fill(self, check: Callable[[], None], folder: str | None = None, fingerprint: str = "") -> None:
        """Compute all features.

        Args:
            check: called before every batch; may raise to stop. The next call continues from what is in the folder.
            folder: folder of the file; None keeps the features in memory.
            fingerprint: identifies weights, images and scale; a file with another one is overwritten.

        Raises:
            ZooError: the features do not fit on the disk.
        """
        done = 0
        self.on_device = self.on_device and folder is None and self._reserve_on_device()
        if folder is None:
            self._array = np.empty((0 if self.on_device else self._num, *self._shape), np.float32)
        else:
            self._array, done = self._open(folder, fingerprint)
        batches = full_batches(self._num, BATCH_SIZE)[-(-done // BATCH_SIZE):]
        for rows in console.progress(batches, "features", "batch"):
            check()
            start, end = int(rows[0]), int(rows[-1]) + 1
            values = self._compute(rows)[:end - start]
            if self.on_device:
                # in place, while an assignment to a slice would copy the whole table
                self._table.scatter_update(tf.IndexedSlices(values, np.arange(start, end)))
                continue
            self._array[start:end] = values
            if folder is not None:
                self._array.flush()  # type: ignore[attr-defined]
                atomic_files.write_json(os.path.join(folder, _PROGRESS), dict(fingerprint=fingerprint, images=end))

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Return the features of images by their indices, float32 [len(indices), *shape]."""
        return self.gather(tf.constant(indices)).numpy() if self.on_device else self._array[indices]

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        """Return features on the device, float32 [num, *shape], for int64 [num]."""
        return tf.gather(self._table, indices)

    def _reserve_on_device(self) -> bool:
        try:
            self._table = tf.Variable(tf.zeros((self._num, *self._shape)), trainable=False)
        except tf.errors.ResourceExhaustedError:
            return False
        return True

    def _open(self, folder: str, fingerprint: str) -> tuple[np.ndarray, int]:
        path = os.path.join(folder, _DATA)
        size = total_bytes(self._num, self._shape)
        done = 0
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # if incomplete, start from the first image
            with open(os.path.join(folder, _PROGRESS), encoding="utf-8") as file:
                record = json.load(file)
            if record["fingerprint"] == fingerprint and os.path.getsize(path) == size:
                done = int(record["images"])
        if not done:
            try:
                atomic_files.require_space(folder, size)
                with open(path, "wb") as file:
                    # allocate the space now: if the disk filled up later, SIGBUS would kill the process
                    if hasattr(os, "posix_fallocate"):
                        os.posix_fallocate(file.fileno(), 0, size)
                    else:
                        file.truncate(size)
            except OSError as error:
                raise ZooError(f"{folder}: {size / 1e9:.1f} GB of features do not fit, "
                               f"{shutil.disk_usage(folder).free / 1e9:.1f} GB are free ({error.strerror}); use "
                               "--cache_features=memory or off, or another --output_path") from None
        return np.memmap(path, np.float32, "r+", shape=(self._num, *self._shape)), done


def total_bytes(num: int, shape: tuple[int, ...]) -> int:
    """Return the size of the features of that many images, in bytes."""
    return 4 * num * int(np.prod(shape))


def choose(requested: str, num: int, shape: tuple[int, ...], free_memory: int, free_disk: int) -> str:
    """Resolve --cache_features=auto: memory if a quarter of it suffices, else disk if it fits, else off."""
    if requested != "auto":
        return requested
    size = total_bytes(num, shape)
    if size <= MEMORY_SHARE * free_memory:
        return "memory"
    return "disk" if size <= 0.9 * free_disk else "off"
