"""The files that the rows make: the same live and replayed, and without memory of the rows."""
from __future__ import annotations

import os
import tracemalloc
import types

import h5py

from circleloss_tf1.log_lines import RowFiles

EPOCH_SIZE, NUM_UPDATES = 100, 10000


def row_files(folder):
    flags = types.SimpleNamespace(epoch_size=EPOCH_SIZE, validate_every_n_epochs=5)
    request = types.SimpleNamespace(num_updates=NUM_UPDATES, case_name="case", flags=flags)
    run = types.SimpleNamespace(request=request, file=lambda name: os.path.join(str(folder), name))
    return RowFiles(run)


def step_row(step):
    return dict(kind="step", step=step, epoch=(step - 1) // EPOCH_SIZE + 1, loss=1.0 / step, circle_loss=0.5 / step,
                center_loss=0.25, prelogits_norm=2.0, regularisation_loss=0.125, accuracy=0.5, step_seconds=0.1 * step)


def eval_row(epoch, **values):
    return dict(kind="eval", step=epoch * EPOCH_SIZE, epoch=epoch, learning_rate=0.1, time_train=3.0,
                prelogits_histogram=[epoch, 2, 0], **values)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(str(folder)) if name != "stat.h5"}


def statistics(folder):
    with h5py.File(str(folder / "stat.h5"), "r") as file:
        return {name: file[name][()].tolist() for name in file}


def test_replayed_rows_make_the_same_files(tmp_path):
    rows = [step_row(step) for step in range(1, 4)] + [
        eval_row(1, lfw_accuracy=0.75, lfw_val_rate=0.5), step_row(4),
        eval_row(2, lfw_accuracy=0.5, lfw_val_rate=0.25, validation_loss=7.0), dict(kind="final", step=4)]
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
    once, killed, again = row_files(tmp_path / "once"), row_files(tmp_path / "again"), row_files(tmp_path / "again")
    for row in rows:
        once.add(row)
        once.write()
    for row in rows[:3]:
        killed.add(row)
    for row in rows:
        again.add(row)
    again.write()
    for files in (once, killed, again):
        files.close()
    assert contents(tmp_path / "once") == contents(tmp_path / "again") == {
        "case_loss.txt": b" 1.0\n 0.5\n 0.3333333333333333\n 0.25\n", "train_accuracy.txt": b"0.75\n",
        "step_time_list.txt": b"0.1\n0.2\n0.30000000000000004\n0.4\n", "StepTime.txt": b"0.25\n",
        "lfw_result.txt": b"100\t0.75000\t0.50000\n200\t0.50000\t0.25000\n"}
    arrays = statistics(tmp_path / "once")
    assert arrays == statistics(tmp_path / "again")
    assert arrays["loss"][3:5] == [0.25, 0.0] and arrays["lfw_accuracy"][:3] == [0.75, 0.5, 0.0]
    assert arrays["val_loss"][:2] == [7.0, 0.0] and arrays["prelogits_hist"][:3] == [[1, 2, 0], [2, 2, 0], [0, 0, 0]]


def test_nothing_is_known_before_the_first_row(tmp_path):
    row_files(tmp_path).write()
    assert contents(tmp_path) == {"train_accuracy.txt": b"n/a\n", "StepTime.txt": b"n/a\n"}
    arrays = statistics(tmp_path)
    assert len(arrays["loss"]) == NUM_UPDATES and arrays["prelogits_hist"] == [[]] * (NUM_UPDATES // EPOCH_SIZE)


def test_memory_does_not_grow_with_the_rows(tmp_path):
    files = row_files(tmp_path)
    files.add(step_row(1))
    files.add(eval_row(1, lfw_accuracy=0.5, lfw_val_rate=0.5))
    tracemalloc.start()
    try:
        for step in range(2, 5001):
            files.add(step_row(step))
            if step % EPOCH_SIZE == 0:
                files.add(eval_row(step // EPOCH_SIZE, lfw_accuracy=0.5, lfw_val_rate=0.5))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    files.close()
    assert grown < 20000
