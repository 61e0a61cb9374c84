"""Decoding, resizing, augmentation, and images that cannot be read."""
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from circleloss_tf1 import face_images
from circleloss_tf1.face_images import DamagedImages, ImageFeed, draw_augmentation
from circleloss_tf1.recipe import RECIPES, Extras, NetworkSettings
from common.data import images
from common.graph.compat import enable, tf
from tests import odd_images

enable()
EXTRAS = Extras(image_size=32)


def network(switches=RECIPES["reference"], **extras):
    return NetworkSettings("models.resnet10", switches, dataclasses.replace(EXTRAS, **extras))


def picture(seed=0, size=(48, 40)):
    """A smooth picture, RGB."""
    small = np.random.RandomState(seed).randint(0, 256, (6, 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, 3)


def write(folder, name, image, **options):
    image.save(str(folder / name), **options)
    return str(folder / name).encode()


def read(paths, settings, augmentation=None, batch_size=1):
    with tf.Graph().as_default(), tf.Session() as session:
        feed = ImageFeed(batch_size, settings, augmentation is not None)
        feed.start(session, paths, augmentation)
        return np.concatenate([feed.next(session) for _ in range(len(paths) // batch_size)])


def bilinear(pixels, side):
    """TensorFlow 1's resize: source coordinate = output coordinate * input size / output size."""
    height, width = pixels.shape[:2]
    result = np.empty((side, side, 3))
    for row in range(side):
        for column in range(side):
            y, x = row * height / side, column * width / side
            top, left = int(y), int(x)
            down, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = pixels[top, left] * (1 - (x - left)) + pixels[top, right] * (x - left)
            lower = pixels[down, left] * (1 - (x - left)) + pixels[down, right] * (x - left)
            result[row, column] = upper * (1 - (y - top)) + lower * (y - top)
    return result


def test_png_resized_and_scaled(tmp_path):
    path = write(tmp_path, "a.png", picture())
    wanted = (bilinear(np.asarray(picture(), float), 32) - 127.5) / 128
    np.testing.assert_allclose(read([path], network())[0], wanted, atol=1e-5)


def test_gray_is_spread(tmp_path):
    (found,) = read([write(tmp_path, "g.png", picture().convert("L"))], network())
    assert (found[..., 0] == found[..., 1]).all() and (found[..., 0] == found[..., 2]).all()


def test_the_rule_for_pixels_holds(tmp_path):
    """Of all kinds, in both ways of taking EXIF orientation."""
    paths = [odd_images.make(str(tmp_path), kind) for kind in odd_images.KINDS]
    with tf.Graph().as_default(), tf.Session() as session:
        upright, stored = (ImageFeed(1, NetworkSettings("models.resnet10", dataclasses.replace(
            RECIPES["corrected"], exif_orientation=is_upright), EXTRAS)) for is_upright in (True, False))
        for kind, path in zip(odd_images.KINDS, paths):
            found = upright.decoded(session, path.encode()).astype(int)
            assert np.abs(found - odd_images.shown(kind)).mean() < odd_images.TOLERANCE, kind
            np.testing.assert_allclose(found, images.read_rgb(path), atol=4 if kind == "cmyk" else 1, err_msg=kind)
            np.testing.assert_allclose(stored.decoded(session, path.encode()).astype(int),
                                       images.read_rgb(path, upright=False), atol=4 if kind == "cmyk" else 1)


def test_transparent_pixels_show_the_background(tmp_path):
    path = odd_images.make(str(tmp_path), "alpha")
    with tf.Graph().as_default(), tf.Session() as session:
        feed = ImageFeed(1, dataclasses.replace(network(), background="black"))
        found = feed.decoded(session, path.encode())
    assert np.array_equal(found, images.read_rgb(path, background="black")) and (found[40, 60] == 0).all()


@pytest.mark.parametrize("kind", odd_images.OTHER_FORMATS)
def test_another_format_under_jpg_is_named(tmp_path, kind):
    path = odd_images.make_other(str(tmp_path), kind).encode()
    with tf.Graph().as_default(), tf.Session() as session:
        feed = ImageFeed(1, network())
        feed.start(session, [path])
        with pytest.raises(DamagedImages) as caught:
            feed.next(session)
    assert caught.value.reasons == {
        0: f"{path.decode()}: not a readable image (it is {kind}, expected JPEG or PNG)"}


def test_accurate_decoding_is_pillow_s(tmp_path):
    path = write(tmp_path, "a.jpg", picture(size=(32, 32)), quality=70)
    wanted = (np.asarray(Image.open(path.decode()).convert("RGB"), float) - 127.5) / 128
    np.testing.assert_allclose(read([path], network(RECIPES["corrected"]))[0], wanted, atol=1e-6)
    assert np.abs(read([path], network())[0] - wanted).max() > 1.0 / 128  # the fast one differs by grey levels


def test_standardisation_by_image(tmp_path):
    found = read([write(tmp_path, "a.png", picture())], network(use_fixed_image_standardization=False))
    assert abs(found.mean()) < 1e-5 and found.std() == pytest.approx(1.0, rel=1e-4)


def test_mirror(tmp_path):
    path = write(tmp_path, "a.png", picture())
    plain = read([path], network())
    flipped = read([path], network(random_flip=True), np.array([[0, 0, 0, 1]]))
    np.testing.assert_array_equal(flipped, plain[:, :, ::-1])
    np.testing.assert_array_equal(read([path], network(random_flip=True), np.zeros((1, 4))), plain)


def test_crop_cuts_out_of_a_larger_image(tmp_path):
    path = write(tmp_path, "a.png", picture(size=(37, 37)))  # 37 = ceil(32 * 8 / 7): not resized
    pixels = (np.asarray(picture(size=(37, 37)), float) - 127.5) / 128
    for top, left in ((0.0, 0.0), (1.0, 0.0), (0.4, 1.0)):
        found = read([path], network(random_crop=True), np.array([[0.0, top, left, 0.0]]))[0]
        y, x = int(round(top * 5)), int(round(left * 5))
        np.testing.assert_allclose(found, pixels[y:y + 32, x:x + 32], atol=1e-6)


def test_turn():
    """A quarter turn counter-clockwise is exact; a turn by 0 changes nothing; a small one is near its inverse."""
    image = np.asarray(picture(size=(16, 16)), np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        turned, same, there_and_back = session.run([
            face_images.rotate(tf.constant(image), tf.constant(90.0)),
            face_images.rotate(tf.constant(image), tf.constant(0.0)),
            face_images.rotate(face_images.rotate(tf.constant(image), tf.constant(5.0)), tf.constant(-5.0))])
    np.testing.assert_allclose(turned, np.rot90(image), atol=0.01)
    np.testing.assert_array_equal(same, image)
    assert np.abs(there_and_back - image)[4:12, 4:12].mean() < 8


def test_augmentations_are_drawn_from_the_seed_and_only_as_asked():
    extras = dataclasses.replace(EXTRAS, random_flip=True, random_rotate=True)
    drawn, again = (draw_augmentation(extras, 1000, (1, 2)) for _ in range(2))
    np.testing.assert_array_equal(drawn, again)
    degrees, top, _, mirror = drawn.T
    assert 400 < mirror.sum() < 600 and -10 <= degrees.min() < -9 < 9 < degrees.max() <= 10
    assert (top == 0.5).all()
    assert not np.any(draw_augmentation(EXTRAS, 10, (1, 2))[:, 3])


@pytest.mark.parametrize("content", [b"", b"no image", None, "truncated", "gif"])
def test_a_damaged_image_is_named(tmp_path, content):
    good = write(tmp_path, "good.jpg", picture())
    bad = tmp_path / "bad.jpg"
    if content == "truncated":
        bad.write_bytes((tmp_path / "good.jpg").read_bytes()[:200])
    elif content == "gif":
        picture().save(str(bad), format="TIFF")
    elif content is not None:
        bad.write_bytes(content)
    with tf.Graph().as_default(), tf.Session() as session:
        feed = ImageFeed(2, network())
        feed.start(session, [good, good, good, str(bad).encode()])
        feed.next(session)
        with pytest.raises(DamagedImages) as caught:
            feed.next(session)
        assert list(caught.value.reasons) == [1] and "bad.jpg: not a readable image" in caught.value.reasons[1]
        feed.start(session, [good, good])
        assert feed.next(session).shape == (2, 32, 32, 3)
