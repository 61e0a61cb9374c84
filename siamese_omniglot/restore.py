"""A network with trained weights: what evaluate, predict and export share."""
from __future__ import annotations

from common.checkpoints.trained import Trained
from common.cli.parser import FlagValues
from common.keras import checkpoints
from siamese_omniglot.nets import siamese


def network(trained: Trained, flags: FlagValues) -> siamese.Siamese:
    """Build the network that was trained and restore it.

    Args:
        trained: which weights.
        flags: parsed flags, with `backbone` and `head`.

    Raises:
        ZooError: the weights are of another network, or damaged.
    """
    network = siamese.build(setting(trained, flags, "backbone"), setting(trained, flags, "head"), seed=0)
    checkpoints.restore_all(trained.prefix, network.named_variables())
    return network


def setting(trained: Trained, flags: FlagValues, name: str) -> str:
    """A setting: that of the run, else the flag's, else the original's."""
    defaults = dict(backbone="vgg16", head="tf", split="image")
    return trained.arguments().get(name) or flags[name].value or defaults[name]
