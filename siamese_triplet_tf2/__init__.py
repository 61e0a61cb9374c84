"""The triplet network; common comes first, since it names packages that are missing."""
import common  # noqa: F401
