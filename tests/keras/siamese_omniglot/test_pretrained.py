"""The weights that come with the model."""
from __future__ import annotations

import os

import pytest

from common.checkpoints.trained import PRETRAINED
from common.data import checksums
from siamese_omniglot import evaluate, predict
from siamese_omniglot.data import omniglot
from siamese_omniglot.run_scripts.run_siamese_train import ROOT
from tests.conftest import on_the_default_leg
from tests.programs import printed

WEIGHTS = os.path.join(ROOT, PRETRAINED)


def test_they_are_complete_and_small():
    checksums.verify_folder(WEIGHTS)
    files = [os.path.join(folder, name) for folder, _, names in os.walk(WEIGHTS) for name in names]
    assert any(path.endswith(".data-00000-of-00001") for path in files)
    assert sum(map(os.path.getsize, files)) < 1e6


@on_the_default_leg
def test_they_solve_the_official_runs(tmp_path, shared_data, capfd):
    """With the error rate of the card, 52 of 400; their alphabets were never seen in training."""
    assert evaluate.main([
        f"--checkpoint={PRETRAINED}", f"--data_path={shared_data('omniglot/images_background_small1.zip')}",
        f"--one_shot={shared_data('omniglot/one_shot_all_runs.zip')}", f"--output_path={tmp_path}", "--part=all",
        "--json", "--device=cpu", "--num_pairs=2", "--episodes=2"]) == 0
    assert printed(capfd)["official_one_shot"]["error_rate"] == pytest.approx(0.13, abs=0.005)


@on_the_default_leg
def test_they_find_the_other_drawings_of_a_character(tmp_path, shared_data, capfd):
    """Of a character that has 19 other drawings, among the drawings of six characters of its alphabet."""
    folder = omniglot.find(str(shared_data("omniglot/images_background_small1.zip")), ROOT)
    alphabet = os.path.join(folder, sorted(os.listdir(folder))[0])
    characters = [os.path.join(alphabet, name) for name in sorted(os.listdir(alphabet))[:6]]
    query = os.path.join(characters[0], sorted(os.listdir(characters[0]))[0])
    assert predict.main([f"--checkpoint={PRETRAINED}", f"--query={query}", f"--against={','.join(characters)}",
                         "--json", f"--output_path={tmp_path}", "--device=cpu"]) == 0
    result = printed(capfd)
    nearest = [os.path.dirname(row["other"]) for row in result["similarities"][:10]]
    assert len(result["similarities"]) == 119 and nearest.count(characters[0]) >= 8
