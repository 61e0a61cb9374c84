"""Two machines, as two network namespaces joined by a virtual cable. They need root and iproute2."""
from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import Iterator

import pytest

from tests.processes import start

ADDRESSES = ("10.213.7.1", "10.213.7.2")


class Hosts:
    """Two network namespaces, with these addresses."""

    def __init__(self):
        number = os.getpid() % 100000
        self.names = [f"zoo-{number}-{host}" for host in range(2)]
        self.cables = [f"z{number}-{host}" for host in range(2)]

    def make(self):
        for name in self.names:
            self._ip("netns", "add", name)
        self._ip("link", "add", self.cables[0], "type", "veth", "peer", "name", self.cables[1])
        for name, cable, address in zip(self.names, self.cables, ADDRESSES):
            self._ip("link", "set", cable, "netns", name)
            self._ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            for device in ("lo", cable):
                self._ip("-n", name, "link", "set", device, "up")

    def set_cable(self, state):
        self._ip("-n", self.names[1], "link", "set", self.cables[1], state)

    def start(self, host, words):
        return start(["ip", "netns", "exec", self.names[host], sys.executable, *words])

    def remove(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)

    @staticmethod
    def _ip(*words):
        subprocess.run(["ip", *words], check=True, stderr=subprocess.PIPE)


@contextlib.contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Make two hosts for a while; skip the test where that is not possible."""
    if not shutil.which("ip"):
        pytest.skip("iproute2 is not installed")
    hosts = Hosts()
    try:
        hosts.make()
    except subprocess.CalledProcessError as error:
        hosts.remove()
        pytest.skip(f"network namespaces are not permitted: {error.stderr.decode().strip()}")
    try:
        yield hosts
    finally:
        hosts.remove()
