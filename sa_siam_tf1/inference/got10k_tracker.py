"""SA-Siam as a tracker of the got10k toolkit, to run it on every data set that the toolkit knows.

    from got10k.experiments import ExperimentOTB
    from sa_siam_tf1.inference.got10k_tracker import SaSiam

    with SaSiam("--checkpoint=RUN_DIR") as tracker:
        experiment = ExperimentOTB("data/OTB", version=2015)
        experiment.run(tracker)
        experiment.report([tracker.name])

The toolkit is not imported here: it asks a tracker for the attributes and methods of this class.
"""
from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Sequence

import numpy as np

from common.checkpoints import trained
from common.cli.parser import FlagSet
from common.data import images
from common.devices import selection
from common.errors import ZooError
from sa_siam_tf1.configuration import ROOT
from sa_siam_tf1.inference import otb


class SaSiam(contextlib.ExitStack):
    """A tracker whose boxes are x, y, width, height, counted from 1, as those of the toolkit; close it after use.

    Attributes:
        name: what the toolkit calls the results.
        is_deterministic: whether one repetition of an experiment is enough.
    """

    is_deterministic = True

    def __init__(self, *flags: str, name: str = "SA-Siam"):
        """Load the weights; `flags` are those of evaluate.py that choose weights and device, such as --checkpoint.

        Raises ZooError if there is no such checkpoint, or if it does not fit.
        """
        from sa_siam_tf1 import track_flags

        super().__init__()
        flag_set = FlagSet(__doc__ or "")
        track_flags.define(flag_set)
        parsed = flag_set.parse(list(flags))
        checkpoint = trained.choose(parsed, ROOT, "evaluate")
        device = selection.choose(parsed.device, os.environ)

        from sa_siam_tf1 import restore  # TensorFlow is imported here, after the device

        self.name = name
        self._step: Any = None
        _, self._make = self.enter_context(restore.open_tracker(parsed, checkpoint, device))

    def init(self, image: Any, box: Sequence[float]) -> None:
        """Begin a sequence with the target's box in its first frame, a PIL image or uint8 [height, width, 3], RGB."""
        self._step = self._make(_pixels(image), otb.to_zero_based(box))

    def update(self, image: Any) -> np.ndarray:
        """Return the box in the next frame, float64 [4]; raise ZooError before `init`."""
        if self._step is None:
            raise ZooError("update() before init(): the first frame and its box are needed")
        return np.array(self._step(_pixels(image)).box, np.float64) + [1.0, 1.0, 0.0, 0.0]

    def track(self, img_files: Sequence[str], box: Sequence[float], visualize: bool = False
              ) -> tuple[np.ndarray, np.ndarray]:
        """Track through a sequence. `visualize` has no effect; inference/track.py draws.

        Returns:
            Boxes, float64 [frames, 4], and seconds, float64 [frames], without decoding.
        """
        boxes, seconds = np.zeros((len(img_files), 4)), np.zeros(len(img_files))
        boxes[0] = box
        for index, path in enumerate(img_files):
            pixels = images.read_rgb(path)
            started = time.perf_counter()
            if index == 0:
                self.init(pixels, box)
            else:
                boxes[index] = self.update(pixels)
            seconds[index] = time.perf_counter() - started
        return boxes, seconds


def _pixels(image: Any) -> np.ndarray:
    return np.asarray(image if isinstance(image, np.ndarray) else image.convert("RGB"), np.uint8)
