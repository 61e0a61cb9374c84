"""The policy for images that cannot be read."""
from __future__ import annotations

import dataclasses
from typing import Mapping, Sequence

from common.program import ZooError
from siamese_triplet_tf2 import decoding
from siamese_triplet_tf2.pairs import Pairs


def require_good(paths: Sequence[str]) -> None:
    """Raise ZooError when some files cannot be read as images; all of them are named."""
    different = list(dict.fromkeys(paths))
    reasons = decoding.find_bad(different)
    if reasons:
        raise ZooError(f"{len(reasons)} of {len(different)} images cannot be used: {_listed(reasons)}")


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{path} {reason}" for path, reason in reasons.items())


def apply(data: Pairs, policy: str) -> Pairs:
    """Look at every image, and fail or leave out the pairs of those that cannot be read.

    Args:
        data: the pairs.
        policy: "fail" or "skip".

    Raises:
        ZooError: with "fail", there are such images; all of them are named. With "skip", too few pairs are left.
    """
    reasons = decoding.find_bad(data.images())
    if not reasons:
        return data
    listed = _listed(reasons)
    if policy == "fail":
        raise ZooError(f"{len(reasons)} of {len(data.images())} images cannot be used: {listed}. Mend them, or leave "
                       "their pairs out with --bad_images=skip")
    kept = [(left, right) for left, right in zip(data.left, data.right) if not {left, right} & set(reasons)]
    if len(kept) < 2:
        raise ZooError(f"{len(kept)} pairs are left without the images that cannot be used: {listed}")
    notice = f"Notice: {len(data.left) - len(kept)} pairs left out, {len(reasons)} images cannot be used: {listed}"
    return dataclasses.replace(data, left=[left for left, _ in kept], right=[right for _, right in kept],
                               notices=[*data.notices, notice])
