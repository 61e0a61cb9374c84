"""The network with trained weights, for evaluate, predict and export."""
from __future__ import annotations

from common.checkpoints.trained import Checkpoint
from common.cli.parser import FlagValues
from common.keras import checkpoints
from siamese_omniglot.nets import siamese


def network(checkpoint: Checkpoint, flags: FlagValues) -> siamese.Siamese:
    """Build the network with its weights; ZooError if the checkpoint is damaged or of another network."""
    network = siamese.build(setting(checkpoint, flags, "backbone"), setting(checkpoint, flags, "head"), seed=0)
    checkpoints.restore_all(checkpoint.prefix, network.named_variables())
    return network


def setting(checkpoint: Checkpoint, flags: FlagValues, name: str) -> str:
    """Return a setting: that of the run, else the flag's, else the original's."""
    defaults = dict(backbone="vgg16", head="tf", split="image")
    return checkpoint.run_identity().get(name) or flags[name].value or defaults[name]
