"""The training batches: what the sampler draws, decoded, with images that cannot be read replaced or refused."""
from __future__ import annotations

import numpy as np

from circleloss_tf1.face_images import Augmentation, DamagedImages, ImageFeed, require_readable
from circleloss_tf1.faces import Faces, Sampler
from circleloss_tf1.model import TrainSettings
from common.errors import ZooError
from common.graph.compat import tf

MAX_ATTEMPTS = 100


class EpochBatches:
    """Batches of one epoch after another; all that they hold follows from seed, epoch and place in it."""

    def __init__(self, faces: Faces, train: np.ndarray, sampler: Sampler, settings: TrainSettings, threads: int,
                 skip_bad_images: bool):
        """Build the pipeline in the default graph.

        Args:
            faces: all images.
            train: indices of those to train on.
            sampler: draws positions in `train`.
            settings: batch size, network and seed.
            threads: images decoded at a time.
            skip_bad_images: take another image in place of one that cannot be read, instead of ending.
        """
        self._faces, self._train, self._sampler, self._settings = faces, train, sampler, settings
        self._skip = skip_bad_images
        extras = settings.network.extras
        self._is_augmented = extras.random_crop or extras.random_flip or extras.random_rotate
        self._feed = ImageFeed(settings.batch_size, settings.network, self._is_augmented, threads)
        self._bad: set = set()
        self._epoch, self._place = 0, 0
        self._indices = train[:0]

    def begin(self, session: tf.Session, epoch: int, first_batch: int) -> None:
        """Begin, or go on with, an epoch; epochs and batches count from 0."""
        self._epoch, self._place = epoch, first_batch * self._settings.batch_size
        self._indices = self._train[self._sampler.indices(epoch)]
        for place in np.flatnonzero(np.isin(self._indices, list(self._bad))):
            self._replace(session, int(place))
        self._start(session)

    def next(self, session: tf.Session) -> tuple[np.ndarray, np.ndarray]:
        """Return the next batch: images, float32 [batch, side, side, 3], and labels, int32 [batch].

        Raises:
            ZooError: an image cannot be read, and is not to be skipped; or none can.
        """
        while True:
            try:
                images = self._feed.next(session)
                break
            except DamagedImages as error:
                if not self._skip:
                    require_readable(error.reasons)
                for place, reason in error.reasons.items():
                    print(f"Warning: {reason}; another image is taken", flush=True)
                    self._bad.add(int(self._indices[self._place + place]))
                    self._replace(session, self._place + place)
                self._start(session)
        chosen = self._indices[self._place:self._place + self._settings.batch_size]
        self._place += self._settings.batch_size
        return images, self._faces.labels[chosen]

    def _start(self, session: tf.Session) -> None:
        augmentation = None
        if self._is_augmented:
            drawn = Augmentation.draw(self._settings.network.extras, len(self._indices),
                                      (self._settings.seed, 3, self._epoch))
            augmentation = Augmentation(*(values[self._place:] for values in drawn))
        self._feed.start(session, [self._faces.path(index) for index in self._indices[self._place:]], augmentation)

    def _replace(self, session: tf.Session, place: int) -> None:
        """Draw other images for a place of the epoch until one can be read."""
        for attempt in range(MAX_ATTEMPTS):
            index = int(self._train[self._sampler.substitute(self._epoch, place, attempt)])
            if index not in self._bad and self._feed.reason(session, self._faces.path(index)) is None:
                self._indices[place] = index
                return
            self._bad.add(index)
        raise ZooError(f"{self._faces.folder}: {MAX_ATTEMPTS} images drawn for one place cannot be read; mend the data")
