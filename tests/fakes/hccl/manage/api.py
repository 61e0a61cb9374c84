"""The rank of this process."""
import os


def get_rank_id() -> int:
    """RANK_ID; without a rank table HCCL numbers the devices of a server itself."""
    return int(os.environ["RANK_ID"] if os.environ.get("RANK_TABLE_FILE") else os.environ.get("ASCEND_DEVICE_ID", "0"))
