"""What the adapter adds to training."""
from npu_device.train import optimizer  # noqa: F401
