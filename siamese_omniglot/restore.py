"""A network with trained weights: what evaluate, predict and export share."""
from __future__ import annotations

from common.checkpoints.trained import Checkpoint
from common.cli.parser import FlagValues
from common.keras import checkpoints
from siamese_omniglot.nets import siamese


def network(checkpoint: Checkpoint, flags: FlagValues) -> siamese.Siamese:
    """Build the network that was trained and restore it.

    Args:
        checkpoint: which weights.
        flags: parsed flags, with `backbone` and `head`.

    Raises:
        ZooError: the weights are of another network, or damaged.
    """
    network = siamese.build(setting(checkpoint, flags, "backbone"), setting(checkpoint, flags, "head"), seed=0)
    checkpoints.restore_all(checkpoint.prefix, network.named_variables())
    return network


def setting(checkpoint: Checkpoint, flags: FlagValues, name: str) -> str:
    """A setting: that of the run, else the flag's, else the original's."""
    defaults = dict(backbone="vgg16", head="tf", split="image")
    return checkpoint.run_identity().get(name) or flags[name].value or defaults[name]
