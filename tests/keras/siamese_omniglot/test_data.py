"""Reading, splitting, pairing and changing drawings."""
from __future__ import annotations

import os
import shutil
import zlib

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from common.errors import ZooError
from common.tiny_data import omniglot as tiny_omniglot
from siamese_omniglot.data import augmentation, omniglot
from siamese_omniglot.data.batches import Batches
from tests import GOLDEN
from tests.litter import leave_litter


@pytest.fixture(scope="module")
def data(tiny_folder):
    return omniglot.load(omniglot.find(tiny_folder, "/"))


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(os.path.join(tiny_folder, "images_background"), str(tmp_path / "images_background"))
    return tmp_path / "images_background"


def test_drawings_are_as_in_their_files(data, tiny_folder):
    assert len(data.labels) == 120 and len(data.characters) == 15
    for number in (0, 17, 119):
        path = os.path.join(tiny_folder, "images_background", data.names[number])
        wanted = np.asarray(Image.open(path).convert("L"))
        assert np.array_equal(data.store.take(np.array([number]))[0], wanted)
        assert set(np.unique(wanted)) == {0, 255}
    assert data.names == sorted(data.names) and np.all(np.diff(data.labels) >= 0)


def test_the_whole_of_omniglot_would_fit_in_250_mb(data):
    assert data.store.rows.nbytes / len(data.labels) * 32460 < 250e6


def test_gray_drawings_keep_their_grays():
    gray = np.arange(105 * 105).reshape(105, 105).astype(np.uint8)
    store = omniglot.DrawingStore([gray, 255 - gray])
    assert np.array_equal(store.take(np.array([1, 0])), [255 - gray, gray])


@pytest.mark.parametrize("name", ["image_background", "images_background", "images_background_small1",
                                  "datasets/images_background_small2", "datasets", ""])
def test_folders_that_users_have(tiny_folder, tmp_path, name):
    shutil.copytree(os.path.join(tiny_folder, "images_background"), str(tmp_path / "data" / name))
    found = omniglot.find(str(tmp_path / "data"), "/")
    assert os.path.realpath(found) == os.path.realpath(str(tmp_path / "data" / name))


def test_two_candidates_are_an_error(folder):
    shutil.copytree(str(folder), str(folder.parent / "images_background_small1"))
    with pytest.raises(ZooError, match="name one of them"):
        omniglot.find(str(folder.parent), "/")


def test_a_zip_is_refused_with_the_command_that_unpacks_it(tmp_path):
    (tmp_path / "images_background.zip").write_bytes(b"PK")
    with pytest.raises(ZooError, match="unzip .*images_background.zip"):
        omniglot.find(str(tmp_path), "/")


def test_one_shot_runs_beside_the_data_are_no_alphabets(folder):
    (folder.parent / "run01" / "training").mkdir(parents=True)
    shutil.copy(str(next(folder.glob("*/*/*.png"))), str(folder.parent / "run01" / "training" / "class01.png"))
    assert omniglot.find(str(folder.parent), "/") == str(folder)


def test_empty_alphabets_and_characters_are_skipped_with_a_notice(folder):
    (folder / "Alphabet_0").mkdir()
    (folder / "Alphabet_1" / "character99").mkdir()
    (folder / "Alphabet_1" / "character01" / "notes.txt").write_text("no drawing")
    loaded = omniglot.load(str(folder))
    assert len(loaded.labels) == 120 and len(loaded.notices) == 2
    assert "character99 holds no .png" in loaded.notices[0]
    assert "Alphabet_0 holds no character" in loaded.notices[1]


@pytest.mark.parametrize("spoil, message", [
    (lambda path: path.write_bytes(b"no picture"), "not a readable image"),
    (lambda path: path.write_bytes(path.read_bytes()[:60]), "not a readable image"),
    (lambda path: path.write_bytes(b""), "not a readable image"),
    (lambda path: Image.new("1", (28, 105)).save(str(path)), "is 28 x 105 pixels, expected 105 x 105"),
])
def test_a_bad_drawing_is_named(folder, spoil, message):
    path = sorted(folder.glob("*/*/*.png"))[20]
    spoil(path)
    with pytest.raises(ZooError, match=message) as caught:
        omniglot.load(str(folder))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_drawings_are_turned_if_asked_for(folder, data):
    name = data.names[0]
    wanted = data.store.take(np.array([0]))[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(wanted).transpose(Image.ROTATE_90).save(str(folder / name), exif=exif)
    stored, upright = omniglot.load(str(folder)), omniglot.load(str(folder), upright=True)
    assert any("--exif_orientation turns them" in line for line in stored.notices) and upright.notices == []
    assert np.array_equal(upright.store.take(np.array([0]))[0], wanted)
    assert np.array_equal(stored.store.take(np.array([0]))[0], np.rot90(wanted)) and not (wanted == 255).all()


def test_one_character_is_too_few(folder):
    for path in sorted(folder.glob("*/*"))[1:]:
        shutil.rmtree(str(path))
    with pytest.raises(ZooError, match="holds 1 character with drawings, at least 2 are needed"):
        omniglot.load(str(folder))


def test_no_data(tmp_path):
    with pytest.raises(ZooError, match="no data in"):
        omniglot.find(str(tmp_path), "/")


def test_check_of_a_folder(tiny_folder, capsys):
    assert omniglot.main([tiny_folder]) == 0
    assert capsys.readouterr().out.startswith("120 drawings of 15 characters in 3 alphabets, 8 to 8 a character")
    assert omniglot.main([]) == 2


def test_the_original_s_order():
    facts = np.load(os.path.join(GOLDEN, "siamese_omniglot", "data_facts.npz"))
    assert np.array_equal(omniglot.shuffled(100), facts["omniglot_shuffle100"])


def test_split_by_image(data):
    split = omniglot.split(data, "image")
    assert len(split.train) == 108 and sorted([*split.train, *split.validation]) == list(range(120))
    assert np.array_equal(split.train[:3], omniglot.shuffled(120)[:3])


@pytest.mark.parametrize("unit, num_train", [("character", 13), ("alphabet", 2)])
def test_split_by_class_is_disjoint(data, unit, num_train):
    split = omniglot.split(data, unit)
    depth = 2 if unit == "character" else 1  # of the names Alphabet/character/file
    train, validation = ({tuple(data.names[index].split("/")[:depth]) for index in part} for part in split)
    assert not train & validation and len(train) == num_train
    assert len(split.train) + len(split.validation) == 120


def test_one_alphabet_cannot_be_split_by_alphabet(folder):
    for name in ("Alphabet_2", "Alphabet_3"):
        shutil.rmtree(str(folder / name))
    with pytest.raises(ZooError, match="hold 1 alphabet, at least 2 are needed; use --split=character"):
        omniglot.split(omniglot.load(str(folder)), "alphabet")


def test_pairs(data):
    """Half of one character, all of a sample's three drawings different, the last character never, all others drawn."""
    indices = np.arange(120)
    sampler = omniglot.PairSampler(data, indices, seed=0, use_all_characters=False)
    drawn = sampler.draw(300, omniglot.TRAIN, 0, "sample")
    same = data.labels[drawn.first] == data.labels[drawn.second]
    assert np.array_equal(same, drawn.labels > 0.5) and drawn.labels.mean() == 0.5
    assert np.all(drawn.first != drawn.second)
    assert set(data.labels[drawn.first]) | set(data.labels[drawn.second]) == set(range(14))
    for start in range(0, 600, 2):
        assert drawn.labels[start:start + 2].sum() == 1
        positive = start + (drawn.labels[start] < 0.5)
        negative = start + (drawn.labels[start] > 0.5)
        assert drawn.first[negative] not in (drawn.first[positive], drawn.second[positive])
        assert data.labels[drawn.first[negative]] == data.labels[drawn.first[positive]]
    everyone = omniglot.PairSampler(data, indices, 0, True).draw(300, omniglot.TRAIN, 0, "batch")
    assert set(data.labels[everyone.first]) == set(range(15))


def test_pairs_are_a_function_of_seed_stream_and_number(data):
    def draw(seed, stream, number):
        return omniglot.PairSampler(data, np.arange(120), seed, True).draw(8, stream, number, "batch")

    one = draw(3, 0, 5)
    assert all(np.array_equal(left, right) for left, right in zip(one, draw(3, 0, 5)))
    for other in (draw(4, 0, 5), draw(3, 1, 5), draw(3, 0, 6)):
        assert not np.array_equal(one.first, other.first)


@pytest.mark.parametrize("permute", ["batch", "sample"])
def test_a_part_of_a_batch_is_that_part_of_the_whole(data, permute):
    sampler = omniglot.PairSampler(data, np.arange(120), 1, True)
    whole = sampler.draw(9, omniglot.TRAIN, 2, permute)
    for positions in (np.arange(5, 12), np.array([17]), np.arange(0, 18, 3)):
        part = sampler.draw(9, omniglot.TRAIN, 2, permute, positions)
        assert all(np.array_equal(found, expected[positions]) for found, expected in zip(part, whole))


def test_pairs_are_drawn_evenly(data):
    """Every character, drawing and place as often as chance has it: chi-squared, 4 standard deviations."""
    drawn = omniglot.PairSampler(data, np.arange(120), 0, True).draw(12000, omniglot.TRAIN, 0, "sample")
    same = drawn.labels > 0.5
    for counts in (np.bincount(drawn.first[same]), np.bincount(drawn.second[same]), np.bincount(drawn.second[~same]),
                   np.bincount(np.flatnonzero(same) % 2)):
        expected = counts.sum() / len(counts)
        freedom = len(counts) - 1
        assert abs(((counts - expected) ** 2 / expected).sum() - freedom) < 4 * (2 * freedom) ** 0.5 + 4


@pytest.mark.parametrize("permute, use_all_characters, checksum", [
    ("batch", False, 2175427530), ("sample", False, 4211737263), ("sample", True, 3377384519)])
def test_pairs_are_those_of_earlier_versions(permute, use_all_characters, checksum):
    """Checksums of what a loop over samples drew, with characters of 1 to 9 drawings."""
    labels = np.repeat(np.arange(12), [9, 1, 3, 2, 8, 5, 1, 4, 3, 7, 6, 2])
    data = omniglot.Drawings(None, labels, [f"A/{label}" for label in range(12)], [], [], [])
    sampler = omniglot.PairSampler(data, np.arange(len(labels))[::-1].copy(), 2 ** 32 - 1, use_all_characters)
    drawn = [sampler.draw(32, omniglot.TRAIN, number, permute, np.arange(3, 64, 2)) for number in range(50)]
    assert [array.dtype for array in drawn[0]] == [np.int64, np.int64, np.float32]
    assert zlib.crc32(b"".join(array.tobytes() for batch in drawn for array in batch)) == checksum


def test_characters_with_fewer_than_three_drawings_are_no_anchors_and_nothing_hangs(data):
    indices = np.array([0, 1, 2, 8, 9, 16])  # characters with 3, 2 and 1 drawings
    sampler = omniglot.PairSampler(data, indices, 0, True)
    drawn = sampler.draw(50, omniglot.TRAIN, 0, "sample")
    assert set(data.labels[drawn.first]) == {0}
    with pytest.raises(ZooError, match="4 drawings give no pairs: 2 characters, 0 of them with 3 drawings"):
        omniglot.PairSampler(data, np.array([0, 1, 8, 9]), 0, True)


@pytest.mark.parametrize("kind", ["imagenet", "affine", "none"])
def test_augmentation(data, kind):
    drawing = data.store.take(np.array([5]))[0]
    drawings = np.stack([drawing] * 60)
    changed = augmentation.augment(drawings, kind, np.arange(60)[:, None])
    assert np.array_equal(drawings, np.stack([drawing] * 60))
    assert changed.shape == (60, 105, 105) and changed.dtype == np.uint8
    again = augmentation.augment(drawings[:1], kind, np.array([[7]]))
    assert np.array_equal(again[0], changed[7])
    num_equal = sum(np.array_equal(image, drawing) for image in changed)
    assert num_equal == 60 if kind == "none" else num_equal < 10


@pytest.mark.parametrize("kind, is_gray, checksum", [
    ("imagenet", False, 1225913280), ("imagenet", True, 1650917194), ("affine", False, 2270844088),
    ("affine", True, 3866057448)])
def test_augmented_drawings_are_those_of_earlier_versions(kind, is_gray, checksum):
    """Checksums of what single operations of PIL made of each drawing, the same with Pillow 9.5 and 13.0."""
    x, y = np.meshgrid(np.arange(105), np.arange(105))
    drawings = np.stack([np.where((np.abs(x - 20 - 3 * k) < 3) | ((x - 50) ** 2 + (y - 40 - k) ** 2 < 300) & (x > y),
                                  0, 255) for k in range(20)]).astype(np.uint8)
    if is_gray:
        drawings = (drawings // 2 + np.arange(105)[:, None]).astype(np.uint8)
    seeds = np.array([(7, 0, 3, seed) for seed in range(120)])
    changed = augmentation.augment(np.concatenate([drawings] * 6), kind, seeds)
    assert zlib.crc32(changed.tobytes()) == checksum


@pytest.mark.parametrize("name, strength, change", [
    ("equalize", 0.0, ImageOps.equalize), ("autocontrast", 0.0, ImageOps.autocontrast),
    ("invert", 0.0, ImageOps.invert),
    ("posterize", 5 / 9, lambda image: ImageOps.posterize(image, 6)),
    ("solarize", 4 / 9, lambda image: ImageOps.solarize(image, 142)),
    ("contrast", 8 / 9, lambda image: ImageEnhance.Contrast(image).enhance(1.8)),
    ("rotate", 1 / 3, lambda image: image.rotate(10, fillcolor=128)),
    ("sharpness", 2 / 3, lambda image: ImageEnhance.Sharpness(image).enhance(1.6)),
])
def test_changes_are_those_of_pil(name, strength, change):
    random = np.random.RandomState(0)
    for low, high in ((0, 256), (40, 90), (0, 2), (7, 8), (255, 256)):
        image = Image.fromarray(random.randint(low, high, (105, 105)).astype(np.uint8))
        picture = augmentation._Picture(image)
        augmentation._CHANGES[name](picture, strength, 1.0)
        assert picture.pixels == change(image).tobytes(), (low, high)
        augmentation._CHANGES["solarize"](picture, 0.5, 1.0)  # a second change, whose table is joined to the first
        augmentation._CHANGES[name](picture, strength, 1.0)
        assert picture.pixels == change(ImageOps.solarize(change(image), 128)).tobytes(), (low, high)


def test_affine_keeps_a_drawing_legible_and_unmirrored():
    """Its ink stays: a thick bar at the left stays at the left, about as large."""
    drawing = np.full((105, 105), 255, np.uint8)
    drawing[30:75, 30:40] = 0
    for changed in augmentation.augment(np.stack([drawing] * 100), "affine", np.arange(100)[:, None]):
        ink = changed < 128
        assert 0.5 < ink.sum() / 450 < 1.6
        assert np.argwhere(ink)[:, 1].mean() < 50
        assert changed[0, 0] == 255


def test_imagenet_uses_every_change_of_autoaugment():
    used = {change.name for policy in augmentation._POLICY for change in policy}
    assert used == set(augmentation._CHANGES) and len(augmentation._POLICY) == 25


@pytest.mark.parametrize("augment", ["imagenet", "affine"])
@pytest.mark.parametrize("kind", ["images", "changes"])
def test_workers_share_one_batch(data, kind, augment):
    sampler = omniglot.PairSampler(data, np.arange(120), 0, False)

    def make(positions):
        batches = Batches(data.store, sampler, 4, 0, augment, "batch", np.array(positions))
        if kind == "images":
            return batches.make(3)
        made = batches.make_changes([3])[0]
        return [*np.split(made.drawings, 2), *np.split(made.changes, 2), made.labels]

    whole = make(range(8))
    for positions in ([0, 3, 6], [1, 4, 7], [2, 5]):
        for expected, part in zip(whole, make(positions)):
            assert np.array_equal(expected[positions], part)


def test_tiny_data_are_the_same_every_time(tiny_folder, tmp_path):
    tiny_omniglot.make(str(tmp_path), 1, 1, 1)
    name = os.path.join("images_background", "Alphabet_1", "character01", "0001_01.png")
    with open(os.path.join(tiny_folder, name), "rb") as one, open(str(tmp_path / name), "rb") as other:
        assert one.read() == other.read()


def test_what_systems_leave_behind_is_no_drawing(folder, data):
    leave_litter(folder)
    found = omniglot.load(omniglot.find(str(folder.parent), "/"))
    assert found.names == data.names and found.fingerprint == data.fingerprint and found.notices == data.notices


def test_characters_without_an_alphabet_are_one(folder, data):
    alphabet = sorted(os.listdir(str(folder)))[0]
    found = omniglot.load(omniglot.find(str(folder / alphabet), "/"))
    num = sum(name.startswith(alphabet) for name in data.names)
    assert len(found.labels) == num and {name.split("/")[0] for name in found.characters} == {"."}
    assert np.array_equal(found.store.take(np.arange(num)), data.store.take(np.arange(num)))
    assert any("it is treated as one alphabet" in notice for notice in found.notices)
    with pytest.raises(ZooError):
        omniglot.split(found, "alphabet")


@pytest.mark.parametrize("deeper", ["images_background/images_background", "omniglot", "omniglot/images_background"])
def test_a_folder_too_deep_is_found(folder, data, deeper):
    os.makedirs(os.path.dirname(str(folder.parent / "outer" / deeper)))
    os.rename(str(folder), str(folder.parent / "outer" / deeper))
    found = omniglot.load(omniglot.find(str(folder.parent / "outer"), "/"))
    assert found.names == data.names and found.fingerprint == data.fingerprint
