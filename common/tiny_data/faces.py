"""Tiny face data: drawn faces in a folder per person, and pairs of other people to verify with LFW's pairs.txt."""
from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageDraw

TRAIN_FOLDER, LFW_FOLDER, PAIRS_FILE = "MS-Celeb-1M_clean_align", "lfw-deepfunneled_align", "pairs.txt"
SIDE = 100


def draw(person: int, number: int) -> Image.Image:
    """Draw a face: colours and proportions are the person's; place, light and noise are the image's."""
    of_person, of_image = np.random.RandomState([person, 7]), np.random.RandomState([person, 7, number])
    skin, hair, eyes = (of_person.randint(low, high, 3) for low, high in ((120, 240), (0, 200), (0, 160)))
    width, eye_distance, mouth = of_person.randint(22, 36), of_person.randint(9, 16), of_person.randint(6, 18)
    nose, fringe = of_person.randint(4, 16), of_person.randint(2, 18)
    x, y = 50 + of_image.randint(-4, 5), 52 + of_image.randint(-4, 5)
    image = Image.new("RGB", (SIDE, SIDE), tuple(int(value) for value in of_image.randint(60, 200, 3)))
    pen = ImageDraw.Draw(image)
    pen.ellipse((x - width - 4, y - 44, x + width + 4, y + 20), fill=tuple(map(int, hair)))
    pen.ellipse((x - width, y - 40 + fringe, x + width, y + 38), fill=tuple(map(int, skin)))
    for side in (-1, 1):
        center = x + side * eye_distance
        pen.ellipse((center - 5, y - 10, center + 5, y - 3), fill=(250, 250, 250))
        pen.ellipse((center - 2, y - 9, center + 2, y - 4), fill=tuple(map(int, eyes)))
    pen.line((x, y - 2, x, y - 2 + nose), fill=tuple(int(value * 0.7) for value in skin), width=3)
    pen.line((x - mouth, y + 22, x + mouth, y + 22), fill=(150, 40, 50), width=3)
    pixels = np.asarray(image, np.float64) * of_image.uniform(0.7, 1.2) + of_image.normal(0.0, 6.0, (SIDE, SIDE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def make(folder: str, num_people: int = 12, num_images: int = 10, num_folds: int = 10) -> None:
    """Write faces to train on, and `num_folds` x (1 same + 1 different) pairs of six others; existing files are
    written again.
    """
    for person in range(num_people):
        write_person(os.path.join(folder, TRAIN_FOLDER, f"m.{person:04d}"), person, "{:03d}.jpg", range(num_images))
    names = [f"Person_{letter}" for letter in "ABCDEF"]
    for person, name in enumerate(names):
        write_person(os.path.join(folder, LFW_FOLDER, name), 1000 + person, name + "_{:04d}.jpg", range(1, 6))
    random = np.random.RandomState(0)
    lines = [f"{num_folds}\t1"]
    for _ in range(num_folds):
        first, second = random.permutation(5)[:2] + 1
        lines.append(f"{names[random.randint(len(names))]}\t{first}\t{second}")
        one, other = random.permutation(len(names))[:2]
        lines.append(f"{names[one]}\t{random.randint(1, 6)}\t{names[other]}\t{random.randint(1, 6)}")
    with open(os.path.join(folder, PAIRS_FILE), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def write_person(folder: str, person: int, name: str, numbers: range) -> None:
    """Write a person's images as JPEG files; `name` is a format of the number."""
    os.makedirs(folder, exist_ok=True)
    for number in numbers:
        draw(person, number).save(os.path.join(folder, name.format(number)), quality=90)
