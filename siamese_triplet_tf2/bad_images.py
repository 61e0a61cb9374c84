"""What happens to pairs whose images cannot be read.

`python3 -m siamese_triplet_tf2.bad_images FOLDER` checks a folder.
"""
from __future__ import annotations

import dataclasses
import os
import sys
from typing import Mapping

from common.cli import program
from common.devices import selection
from common.errors import ZooError
from siamese_triplet_tf2 import pairs
from siamese_triplet_tf2.pairs import Pairs


def apply(data: Pairs, policy: str) -> Pairs:
    """Check every image. With the policy "skip" leave out the pairs of those that cannot be read.

    Raises ZooError, which names all of them, with the policy "fail", or if too few pairs are left.
    """
    from siamese_triplet_tf2 import decoding

    reasons = decoding.find_bad(data.images())
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
