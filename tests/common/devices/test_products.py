"""Products are found on the PCI bus, and only what a product cannot do is refused."""
from __future__ import annotations

import pytest

from common.cli.shared_flags import PRODUCTS
from common.devices import npu_options, ranks, selection
from common.errors import ZooError


@pytest.mark.parametrize("buses, product", [
    ([], None),
    ([("0x8086", "0xd802")], None),
    ([("0x19e5", "0x1822"), ("0x19e5", "0xd801")], "910A"),
    ([("0x19e5", "0xd802")], "A2"),
    ([("0x19e5", "0xd803")], "A3"),
])
def test_the_pci_bus_tells_the_product(tmp_path, monkeypatch, buses, product):
    for number, (vendor, device) in enumerate(buses):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "device").write_text(f"{device}\n")
    (tmp_path / "odd").mkdir()
    monkeypatch.setattr(selection, "_PCI_FOLDER", str(tmp_path))
    assert selection.find_product("auto") == product
    assert selection.find_product("950") == "950"


@pytest.mark.parametrize("devices", [[0], [5], [0, 1], [2, 3], [4, 7], [0, 1, 2, 3], [4, 5, 6, 7], range(8)])
def test_groups_that_every_product_takes(devices):
    for product in (*PRODUCTS, None):
        assert ranks.check_processes(product, devices, 1) == []


@pytest.mark.parametrize("devices, reason", [
    ([0, 1, 2], "a server takes 1, 2, 4 or 8 processes, not 3"),
    (range(16), "not 16"),
    ([3, 4], "2 processes stay within cards 0 to 3 or 4 to 7, not cards 3, 4"),
    ([2, 3, 4, 5], "4 processes stay within"),
])
def test_groups_that_ascend_910a_alone_refuses(devices, reason):
    with pytest.raises(ZooError, match=f"on Ascend 910A .*{reason}"):
        ranks.check_processes("910A", devices, 1)
    for product in ("A2", "A3", "950"):
        assert ranks.check_processes(product, devices, 1) == []
    (notice,) = ranks.check_processes(None, devices, 1)
    assert notice.startswith("Notice: on Ascend 910A ") and "; set --npu_product" in notice


@pytest.mark.parametrize("product, num_servers, advised", [("A3", 1, True), ("A3", 2, True), ("A3", 3, False),
                                                           ("A2", 3, True)])
def test_an_even_number_of_a3_servers_is_advised(product, num_servers, advised):
    notices = ranks.check_processes(product, range(8), num_servers)
    assert notices == [] if advised else ["Notice: an even number of A3 servers is advised, not 3"]


def test_the_default_precision_is_that_of_the_product():
    assert npu_options._default_precision("910A") == "allow_fp32_to_fp16"
    assert {npu_options._default_precision(product) for product in ("A2", "A3", "950")} == {"must_keep_origin_dtype"}
    assert "allow_fp32_to_fp16 on Ascend 910A" in npu_options._default_precision(None)
