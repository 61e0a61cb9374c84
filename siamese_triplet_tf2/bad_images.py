"""Which images cannot be read, and what happens to their pairs.

`python3 -m siamese_triplet_tf2.bad_images FOLDER` checks a folder.
"""
from __future__ import annotations

import dataclasses
import io
import os
import sys
import warnings
from typing import Mapping, Sequence

from PIL import Image

from common import console
from common.cli import program
from common.data import images
from common.devices import selection
from common.errors import ZooError
from siamese_triplet_tf2 import pairs
from siamese_triplet_tf2.pairs import Pairs

MAX_BYTES, MAX_PIXELS = 1 << 26, 50_000_000
_FORMATS = ("JPEG", "PNG")


def find(paths: Sequence[str]) -> dict[str, str]:
    """Find files that cannot be used as images; return the reasons by path.

    They are decoded in a separate session on the CPU, because the eager context must not be created before threads, the
    NPU adapter and other workers are set up.
    """
    from common.keras.session import tf

    reasons, settings = {}, tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.compat.v1.Session(config=settings) as session:
        content = tf.compat.v1.placeholder(tf.string, [])
        shape = tf.shape(tf.io.decode_jpeg(content, channels=3))
        for path in console.progress(paths, "checking images", "image"):
            try:
                session.run(shape, {content: _read(path)})
            except ZooError as error:
                reasons[path] = str(error)
            except tf.errors.OpError as error:
                reasons[path] = f"cannot be decoded ({str(error.message).splitlines()[0][:120]})"
    return reasons


def _read(path: str) -> bytes:
    """Return the content of a JPEG or PNG file; ZooError with the reason if it is not one, or absurdly large."""
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise ZooError(f"has {size} bytes, at most {MAX_BYTES} are read")
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ZooError(f"cannot be read ({error.strerror})") from None
    if images.format_of(content) not in _FORMATS:
        raise ZooError(f"{images.describe(content)}, expected JPEG or PNG" if content else "is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"is not a readable JPEG or PNG ({str(error).splitlines()[0]})") from None
    if width * height > MAX_PIXELS:
        raise ZooError(f"is {width} x {height}, at most {MAX_PIXELS} pixels are decoded")
    return content


def apply(data: Pairs, policy: str) -> Pairs:
    """Check every image. With the policy "skip" leave out the pairs of those that cannot be read.

    Raises ZooError, which names all of them, with the policy "fail", or if too few pairs are left.
    """
    reasons = find(data.images())
    if not reasons:
        return data
    listed = names(reasons)
    if policy == "fail":
        raise ZooError(f"{len(reasons)} of {len(data.images())} images cannot be used: {listed}. Replace them, or skip "
                       "their pairs with --bad_images=skip")
    kept = [(left, right) for left, right in zip(data.left, data.right) if not {left, right} & set(reasons)]
    if len(kept) < 2:
        raise ZooError(f"{len(kept)} pairs are left without the images that cannot be used: {listed}")
    notice = f"Notice: {len(data.left) - len(kept)} pairs left out, {len(reasons)} images cannot be used: {listed}"
    return dataclasses.replace(data, left=[left for left, _ in kept], right=[right for _, right in kept],
                               notices=[*data.notices, notice])


def names(reasons: Mapping[str, str]) -> str:
    """Name images that cannot be used with the reasons, which are given by path."""
    return "; ".join(f"{path} {reason}" for path, reason in reasons.items())


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Check every image of a folder and print the number of pairs; return the exit status."""
    (folder,) = program.positionals(arguments, "python3 -m siamese_triplet_tf2.bad_images FOLDER")
    data = pairs.load(os.path.expanduser(folder))
    selection.choose("cpu", os.environ)
    for line in apply(data, "fail").notices:
        print(line)
    print(f"{len(data.left)} pairs, all images can be read")
    return 0


if __name__ == "__main__":
    sys.exit(main())
