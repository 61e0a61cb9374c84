"""Writes files of records, by the description of the format in dmlc-core's recordio.h and MXNet's recordio.py."""
from __future__ import annotations

import struct

MAGIC = struct.pack("<I", 0xCED7230A)


def image_record(labels, image=b""):
    """A record's content: one label in the header, or several behind it."""
    if isinstance(labels, (int, float)):
        return struct.pack("<IfQQ", 0, labels, 0, 0) + image
    return struct.pack(f"<IfQQ{len(labels)}f", len(labels), 0.0, 0, 0, *labels) + image


def frame(content):
    """A record as it is in the file: split where an aligned word of the content is the magic number."""
    pieces, begin = [], 0
    for place in range(0, len(content) - 3, 4):
        if content[place:place + 4] == MAGIC:
            pieces.append(content[begin:place])
            begin = place + 4
    pieces.append(content[begin:])
    kinds = [0] if len(pieces) == 1 else [1] + [2] * (len(pieces) - 2) + [3]
    return b"".join(MAGIC + struct.pack("<I", kind << 29 | len(piece)) + piece + bytes(-len(piece) % 4)
                    for kind, piece in zip(kinds, pieces))


def write(folder, contents, index_order=None):
    """Write train.rec and train.idx; return the folder as text."""
    folder.mkdir(parents=True, exist_ok=True)
    offsets = []
    with open(str(folder / "train.rec"), "wb") as file:
        for content in contents:
            offsets.append(file.tell())
            file.write(frame(content))
    lines = [f"{key}\t{offset}\n" for key, offset in enumerate(offsets)]
    (folder / "train.idx").write_text("".join(lines[key] for key in index_order or range(len(lines))))
    return str(folder)


def insightface(folder, people, index_order=None):
    """Write a set as insightface does: images from key 1 on, then a record of each person.

    Args:
        folder: to write to.
        people: for each person the files of the images.
        index_order: of the lines in train.idx.
    """
    contents, ranges = [b""], []
    for number, images in enumerate(people):
        ranges.append((len(contents), len(contents) + len(images)))
        contents += [image_record(float(number), image) for image in images]
    contents[0] = image_record([len(contents), len(contents) + len(people)])
    (folder / "x").parent.mkdir(parents=True, exist_ok=True)
    (folder / "property").write_text(f"{len(people)},112,112")
    return write(folder, contents + [image_record(pair) for pair in ranges], index_order)
