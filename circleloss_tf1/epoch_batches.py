"""Training batches: the drawn images, decoded. Images that cannot be read are replaced or refused."""
from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from circleloss_tf1.face_images import DamagedImages, ImageFeed, Stage, draw_augmentation
from circleloss_tf1.faces import Faces, Sampler
from circleloss_tf1.model import TrainSettings
from common.errors import ZooError
from common.graph.compat import tf

MAX_ATTEMPTS = 100


class EpochBatches:
    """The batches of each epoch. They depend on the seed, the epoch and the position in it alone."""

    def __init__(self, faces: Faces, train: np.ndarray, sampler: Sampler, settings: TrainSettings, threads: int,
                 skip_bad_images: bool):
        """Build the pipeline in the default graph.

        `train` are the indices of the images to train on; the sampler draws positions in it. With `skip_bad_images` an
        image that cannot be read is replaced by another one, instead of ending the run.
        """
        self._faces, self._train, self._sampler, self._settings = faces, train, sampler, settings
        self._skip = skip_bad_images
        extras = settings.network.extras
        self._is_augmented = extras.random_crop or extras.random_flip or extras.random_rotate
        self._feed = ImageFeed(settings.batch_size, settings.network, self._is_augmented, threads, faces.read)
        self._bad: set = set()  # indices of images that cannot be read
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: Future | None = None  # puts the next batch on the stage

    def put_on(self, stage: Stage) -> None:
        """Let a thread put every batch but the first of an epoch on a stage, while the step before it is made."""
        self._feed.put_on(stage)
        self._pool = ThreadPoolExecutor(1)

    def close(self) -> None:
        """Stop the thread."""
        if self._pool:
            self._pool.shutdown()

    def begin(self, session: tf.Session, epoch: int, first_batch: int) -> None:
        """Begin an epoch, or resume it at a batch other than the first; both count from 0."""
        self._epoch, self._position = epoch, first_batch * self._settings.batch_size  # of the next batch
        self._indices = self._train[self._sampler.indices(epoch)]
        for position in np.flatnonzero(np.isin(self._indices, list(self._bad))):
            self._replace(session, int(position))
        self._start(session)

    def next(self, session: tf.Session) -> tuple[np.ndarray | None, np.ndarray]:
        """Return the next batch: images, float32 [batch, side, side, 3], and labels, int32 [batch].

        The images are None if they are on the stage. Raises ZooError if an image cannot be read and bad images are not
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
        chosen = self._indices[self._position:self._position + self._settings.batch_size]
        self._position += self._settings.batch_size
        if self._pool and self._position < len(self._indices):
            self._ahead = self._pool.submit(self._feed.next, session)
        return images, self._faces.labels[chosen]

    def _start(self, session: tf.Session) -> None:
        augmentation = None
        if self._is_augmented:
            drawn = draw_augmentation(self._settings.network.extras, self._sampler.epoch_images,
                                      (self._settings.seed, 3, self._epoch))
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
