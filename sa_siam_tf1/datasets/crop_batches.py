"""Training batches of crops as they are decoded, for a device that makes the images of them."""
from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from sa_siam_tf1.configuration import CURATED_SIDE, TrainConfig
from sa_siam_tf1.datasets.dataloader import Drawn, ReadAhead
from sa_siam_tf1.datasets.imdb import Crop


class CropBatch(NamedTuple):
    """A batch of pairs whose images are still to be made: all exemplars, then all instances.

    Attributes:
        crops: uint8 [num, 255, 255, 3], RGB: all crops of the batch, or those that the device does not have yet.
        slots: int64 [num], where the device keeps them.
        chosen: int64 [2 batch], the slot of each image's crop.
        is_gray: bool [2 batch].
        changes: int32 [2 batch, 3], a `transforms.Change` of each image.
    """

    crops: np.ndarray
    slots: np.ndarray
    chosen: np.ndarray
    is_gray: np.ndarray
    changes: np.ndarray


class CropBatches(ReadAhead):
    """The batches of `TrainingBatches`, without their images.

    With `keeps_crops` every crop has a slot on the device and is read once, for the first batch that needs it; without,
    the slots of a batch are those of its own crops.
    """

    def __init__(self, tracks: list, config: TrainConfig, side: int, keeps_crops: bool):
        """Create the threads; arguments as those of `TrainingBatches`."""
        super().__init__(tracks, config, side)
        self._slots = slots_of(tracks) if keeps_crops else None
        self._requested: set[Crop] = set()

    def batch(self, step: int) -> CropBatch:
        """Return the batch of the step after `step` updates. The first step may be any; the others follow in order."""
        requests = self._take(step)
        images = [(request, number) for number in range(2) for request in requests]
        crops = [request.drawn.crops[number] for request, number in images]
        futures = [request.futures[number] for request, number in images]
        chosen = np.array([self._slots[crop] for crop in crops] if self._slots else np.arange(len(crops)))
        is_read = np.array([future is not None for future in futures])
        pixels = np.empty((is_read.sum(), CURATED_SIDE, CURATED_SIDE, 3), np.uint8)
        for target, future in zip(pixels, filter(None, futures)):
            target[...] = future.result()
        return CropBatch(pixels, chosen[is_read], chosen,
                         np.array([request.drawn.is_gray for request, _ in images]),
                         np.array([request.drawn.changes[number] for request, number in images], np.int32))

    def _read_ahead(self, drawn: Drawn) -> list[Future | None]:
        return [self._read(crop) for crop in drawn.crops]

    def _read(self, crop: Crop) -> Future | None:
        if self._slots is not None:
            if crop in self._requested:
                return None
            self._requested.add(crop)
        return self._pool.submit(crop.read)


def slots_of(tracks: list) -> dict[Crop, int]:
    """Number the crops of all tracks."""
    slots: dict[Crop, int] = {}
    for track in tracks:
        for crop in track:
            slots.setdefault(crop, len(slots))
    return slots
