"""Tiny face data: drawn faces, one folder per person, and pairs of other people with a pairs.txt as in LFW."""
from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageDraw

TRAIN_FOLDER, LFW_FOLDER, PAIRS_FILE = "MS-Celeb-1M_clean_align", "lfw-deepfunneled_align", "pairs.txt"
SIDE = 100


def draw(person: int, index: int) -> Image.Image:
    """Draw a face. Colours and proportions depend on the person; position, light and noise on the image as well."""
    person_random, image_random = np.random.RandomState([person, 7]), np.random.RandomState([person, 7, index])
    skin, hair, eyes = (person_random.randint(low, high, 3) for low, high in ((120, 240), (0, 200), (0, 160)))
    width, eye_distance, mouth, nose, fringe = (
        person_random.randint(low, high) for low, high in ((22, 36), (9, 16), (6, 18), (4, 16), (2, 18)))
    x, y = 50 + image_random.randint(-4, 5), 52 + image_random.randint(-4, 5)
    image = Image.new("RGB", (SIDE, SIDE), tuple(map(int, image_random.randint(60, 200, 3))))
    pen = ImageDraw.Draw(image)
    pen.ellipse((x - width - 4, y - 44, x + width + 4, y + 20), fill=tuple(map(int, hair)))
    pen.ellipse((x - width, y - 40 + fringe, x + width, y + 38), fill=tuple(map(int, skin)))
    for side in (-1, 1):
        center = x + side * eye_distance
        pen.ellipse((center - 5, y - 10, center + 5, y - 3), fill=(250, 250, 250))
        pen.ellipse((center - 2, y - 9, center + 2, y - 4), fill=tuple(map(int, eyes)))
    pen.line((x, y - 2, x, y - 2 + nose), fill=tuple(int(value * 0.7) for value in skin), width=3)
    pen.line((x - mouth, y + 22, x + mouth, y + 22), fill=(150, 40, 50), width=3)
    light, noise = image_random.uniform(0.7, 1.2), image_random.normal(0.0, 6.0, (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(image, np.float64) * light + noise).clip(0, 255).astype(np.uint8))


def make(folder: str, num_people: int = 12, num_images: int = 10, num_folds: int = 10) -> None:
    """Write training faces, and `num_folds` x (1 same + 1 different) pairs of six other people."""
    for person in range(num_people):
        _write_person(os.path.join(folder, TRAIN_FOLDER, f"m.{person:04d}"), person, "{:03d}.jpg", range(num_images))
    names = [f"Person_{letter}" for letter in "ABCDEF"]
    for person, name in enumerate(names):
        _write_person(os.path.join(folder, LFW_FOLDER, name), 1000 + person, name + "_{:04d}.jpg", range(1, 6))
    random = np.random.RandomState(0)
    lines = [f"{num_folds}\t1"]
    for _ in range(num_folds):
        first, second = random.permutation(5)[:2] + 1
        lines.append(f"{names[random.randint(len(names))]}\t{first}\t{second}")
        one, other = random.permutation(len(names))[:2]
        lines.append(f"{names[one]}\t{random.randint(1, 6)}\t{names[other]}\t{random.randint(1, 6)}")
    with open(os.path.join(folder, PAIRS_FILE), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _write_person(folder: str, person: int, name_format: str, indices: range) -> None:
    os.makedirs(folder, exist_ok=True)
    for index in indices:
        draw(person, index).save(os.path.join(folder, name_format.format(index)), quality=90)
