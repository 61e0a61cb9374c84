"""The benchmarks: what they compute from what they measure."""
from __future__ import annotations

from benchmarks import host


def test_the_clock_takes_medians_over_blocks_and_leaves_out_the_warm_up(monkeypatch):
    clock = host.Clock()
    # two steps of warm-up, three blocks of two steps; the second block was disturbed
    walls = iter([10.0, 20.0, 21.0, 22.0, 50.0, 90.0, 91.0, 92.0, 93.0])
    cpus = iter([5.0, 9.0, 9.5, 10.0, 10.5, 11.0, 11.25, 11.5, 0.0])
    monkeypatch.setattr(host.time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(host.time, "process_time", lambda: next(cpus))
    for _ in range(8):
        clock.mark()
    assert clock.per_step(warm_up=1, block=2) == (1.0, 0.5)
