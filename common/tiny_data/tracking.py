"""Tiny videos of a drawn target that moves over a background, annotated as in ILSVRC2015 VID and as in OTB."""
from __future__ import annotations

import os

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 160, 120
_JPEG_QUALITY = 92


def draw(num_frames: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Draw a video: frames, uint8 [height, width, 3], and boxes, int [frames, 4]: x, y, width, height, 0-based."""
    random = np.random.RandomState(seed)
    background = np.kron(random.randint(40, 160, (HEIGHT // 8, WIDTH // 8, 3)), np.ones((8, 8, 1), int))
    cells = random.randint(0, 256, (4, 5, 3))
    cells[1:3, 1:4] = 255 - cells[0, 0]
    size = random.randint(5, 8)
    target = np.kron(cells, np.ones((size, size, 1), int))
    height, width = target.shape[:2]
    position = np.array([random.uniform(10, HEIGHT - height - 10), random.uniform(10, WIDTH - width - 10)])
    speed = random.uniform(-2.5, 2.5, 2)
    frames, boxes = [], []
    for _ in range(num_frames):
        top, left = np.round(position).astype(int)
        frame = background + random.randint(-8, 9, background.shape)
        frame[top:top + height, left:left + width] = target
        frames.append(frame.clip(0, 255).astype(np.uint8))
        boxes.append([left, top, width, height])
        for axis, limit in ((0, HEIGHT - height), (1, WIDTH - width)):
            if not 0 <= position[axis] + speed[axis] <= limit:
                speed[axis] = -speed[axis]
        position = position + speed
    return frames, np.array(boxes)


def make(folder: str, num_videos: int = 12, num_frames: int = 10, num_sequences: int = 2, seed: int = 0) -> None:
    """Write ILSVRC2015/, the raw data set, and OTB/, sequences to track."""
    for video in range(num_videos):
        part = ("val",) if video % 4 == 3 else ("train", f"ILSVRC2015_VID_train_000{video % 4}")
        name = f"ILSVRC2015_{part[0]}_{video:08d}"
        data, annotations = (os.path.join(folder, "ILSVRC2015", kind, "VID", *part, name)
                             for kind in ("Data", "Annotations"))
        for index, (frame, box) in enumerate(zip(*draw(num_frames, seed + video))):
            _save(frame, os.path.join(data, f"{index:06d}.JPEG"))
            _write(os.path.join(annotations, f"{index:06d}.xml"),
                   annotation("/".join((*part[1:], name)), f"{index:06d}", [(0, box)]))
    for video in range(num_sequences):
        frames, boxes = draw(num_frames, seed + 1000 + video)
        sequence = os.path.join(folder, "OTB", f"Drawn{video + 1}")
        for index, frame in enumerate(frames, 1):
            _save(frame, os.path.join(sequence, "img", f"{index:04d}.jpg"))
        _write(os.path.join(sequence, "groundtruth_rect.txt"),
               "".join(f"{x + 1},{y + 1},{width},{height}\n" for x, y, width, height in boxes))


def annotation(video: str, frame: str, targets: list, size: tuple = (WIDTH, HEIGHT)) -> str:
    """Return the XML annotation of a frame; targets are pairs of a track and a box (x, y, width, height, 0-based)."""
    objects = "".join(
        f"  <object>\n    <trackid>{track}</trackid>\n    <name>n02084071</name>\n    <bndbox>\n"
        f"      <xmax>{x + width - 1}</xmax>\n      <xmin>{x}</xmin>\n      <ymax>{y + height - 1}</ymax>\n"
        f"      <ymin>{y}</ymin>\n    </bndbox>\n    <occluded>0</occluded>\n"
        "    <generated>0</generated>\n  </object>\n"
        for track, (x, y, width, height) in targets)
    return (f"<annotation>\n  <folder>{video}</folder>\n  <filename>{frame}</filename>\n  <source>\n"
            f"    <database>ILSVRC_2015</database>\n  </source>\n  <size>\n    <width>{size[0]}</width>\n"
            f"    <height>{size[1]}</height>\n  </size>\n{objects}</annotation>\n")


def _save(frame: np.ndarray, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(frame).save(path, "JPEG", quality=_JPEG_QUALITY)


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
