"""Rank tables of HCCL."""
from __future__ import annotations

import json


def write_table(folder, ranks):
    """A table of version 1.0 with two servers; returns the environment that names it."""
    servers = [dict(server_id=f"10.0.0.{server}", device=[
        dict(device_id=str(rank), device_ip=f"192.168.100.{rank}", rank_id=str(rank)) for rank in ranks[server::2]])
        for server in range(2)]
    (folder / "table.json").write_text(json.dumps(dict(version="1.0", server_count="2", server_list=servers,
                                                       status="completed")))
    return dict(RANK_TABLE_FILE=str(folder / "table.json"))
