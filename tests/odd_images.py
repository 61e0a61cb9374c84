"""Images whose pixels mean something else, with what a viewer shows of them; and other formats under .jpg."""
from __future__ import annotations

import os

import numpy as np
from PIL import Image, features

SIDE = 64, 48  # width and height of what is shown
TOLERANCE = 3.0  # mean difference in gray levels: JPEG loses some
_SQUARE = (slice(8, 24), slice(8, 40))
_TURNS = {2: Image.FLIP_LEFT_RIGHT, 3: Image.ROTATE_180, 4: Image.FLIP_TOP_BOTTOM, 5: Image.TRANSPOSE,
          6: Image.ROTATE_90, 7: Image.TRANSVERSE, 8: Image.ROTATE_270}  # from what is shown to what is stored
KINDS = ("alpha", "palette_transparent", "gray_alpha", "palette", "sixteen_bits", "one_bit", "cmyk", "progressive",
         "animated", *(f"orientation_{number}" for number in range(1, 9)))
OTHER_FORMATS = ("BMP", "GIF", "TIFF") + (("WebP",) if features.check("webp") else ())


def _scene() -> np.ndarray:
    """A ramp from left to right with a red square in a corner, uint8 [48, 64, 3]."""
    ramp = np.tile(np.linspace(40, 250, SIDE[0]).astype(np.uint8), (SIDE[1], 1))
    scene = np.stack([ramp] * 3, axis=2)
    scene[_SQUARE] = (200, 30, 30)
    return scene


def shown(kind: str) -> np.ndarray:
    """What a viewer shows on a white page, uint8 [48, 64, 3]."""
    scene = _scene()
    if kind in ("alpha", "gray_alpha", "palette_transparent"):
        outside = np.ones(scene.shape[:2], bool)
        outside[_SQUARE] = False
        scene[outside] = 255
    if kind in ("gray_alpha", "sixteen_bits"):
        scene = np.repeat(np.asarray(Image.fromarray(scene).convert("L"))[..., None], 3, axis=2)
    if kind == "one_bit":
        scene = np.asarray(Image.fromarray(scene).convert("L").point(lambda value: 255 * (value > 127)).convert("RGB"))
    if kind in ("palette", "palette_transparent"):
        scene = np.asarray(Image.fromarray(scene).quantize(16).convert("RGB"))
    return scene


def make(folder: str, kind: str) -> str:
    """Write an image of a kind; return its path."""
    image, options = Image.fromarray(shown(kind)), {}
    name = f"{kind}.png"
    if kind in ("alpha", "gray_alpha"):  # black where it is transparent, as browsers save a canvas
        inside = Image.fromarray((shown(kind).min(axis=2) < 255).astype(np.uint8) * 255)
        image = Image.composite(image, Image.new("RGB", SIDE), inside)
        image.putalpha(inside)
        image = image.convert("LA") if kind == "gray_alpha" else image
    elif kind in ("palette", "palette_transparent"):
        image = image.quantize(16)
        if kind == "palette_transparent":
            options["transparency"] = image.getpixel((60, 40))
            palette = image.getpalette()
            palette[3 * options["transparency"]:3 * options["transparency"] + 3] = [0, 0, 0]
            image.putpalette(palette)
    elif kind == "sixteen_bits":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif kind == "one_bit":
        image = image.convert("1")
    elif kind == "animated":
        options.update(save_all=True, append_images=[Image.new("RGB", SIDE)])
    else:
        name, options = f"{kind}.jpg", dict(quality=95, subsampling=0)
        if kind == "cmyk":
            image = image.convert("CMYK")
        elif kind == "progressive":
            options.update(progressive=True)
        else:
            number = int(kind.rpartition("_")[2])
            exif = Image.Exif()
            exif[0x0112] = number
            image, options = image.transpose(_TURNS[number]) if number > 1 else image, dict(options, exif=exif)
    path = os.path.join(folder, name)
    image.save(path, **options)
    return path


def make_other(folder: str, kind: str) -> str:
    """Write an image of another format under .jpg; return its path."""
    path = os.path.join(folder, f"{kind}.jpg")
    Image.fromarray(_scene()).save(path, format=kind.upper())
    return path
