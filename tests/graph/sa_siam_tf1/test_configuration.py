"""The configuration is typed, checked, and comes back from its files; learning rates follow their formulas."""
from __future__ import annotations

import dataclasses
import json
import math
import os
import runpy

import pytest

from common.errors import FlagError, ZooError
from sa_siam_tf1 import configuration, train_siamese_model
from sa_siam_tf1.configuration import ModelConfig, TrackConfig, TrainConfig
from tests import ROOT


@pytest.mark.parametrize("config", [ModelConfig(branch="semantic"), TrackConfig(num_scales=5),
                                    TrainConfig(lr_policy="piecewise_constant", lr_boundaries=(1.0, 2.5),
                                                lr_values=(0.1, 0.01, 0.001))])
def test_what_is_saved_is_loaded(tmp_path, config):
    configuration.save(str(tmp_path), config)
    assert configuration.load(type(config), str(tmp_path)) == config


@pytest.mark.parametrize("kind, text, message", [
    (ModelConfig, '{"brunch": "semantic"}', "unknown key 'brunch' of ModelConfig; known are branch"),
    (ModelConfig, '{"init_method": null}', "init_method=None: expected str"),
    (ModelConfig, '{"init_method": "normal"}', "expected xavier_uniform or kaiming_normal"),
    (ModelConfig, '{"branch": "visual"}', "branch='visual': expected appearance, semantic or both"),
    (TrainConfig, '{"batch_size": "8"}', "batch_size='8': expected int"),
    (TrainConfig, '{"batch_size": 8.5}', "batch_size=8.5: expected int"),
    (TrainConfig, '{"use_nesterov": 1}', "use_nesterov=1: expected bool"),
    (TrainConfig, '{"initial_lr": NaN}', "expected float"),
    (TrainConfig, '{"lr_policy": "piecewise_constant", "lr_values": [1]}', "cannot"),
    (TrainConfig, '{"lr_policy": "piecewise_constant", "lr_values": [1, 2]}', "one value more than lr_boundaries"),
    (TrackConfig, '{"num_scales": 4}', "num_scales=4: expected odd"),
    (TrackConfig, '[1]', "is not a JSON object"),
    (TrackConfig, '{', "cannot be read as JSON"),
])
def test_wrong_values_are_refused(tmp_path, kind, text, message):
    path = tmp_path / configuration.FILES[kind]
    path.write_text(text)
    if message == "cannot":
        assert configuration.load(kind, str(tmp_path)).lr_values == (1.0,)
        return
    with pytest.raises(ZooError) as raised:
        configuration.load(kind, str(tmp_path))
    assert str(path) in str(raised.value) and message in str(raised.value)


def test_defaults_are_those_of_the_original():
    config = TrainConfig()
    assert (config.batch_size, config.epoch, config.max_frame_dist, config.prefetch_threads,
            config.prefetch_capacity) == (8, 30, 100, 4, 15 * 8)
    assert (config.steps_per_epoch, config.num_steps) == (6650, 199500)


def test_exponential_learning_rate_is_a_staircase():
    config = TrainConfig()
    assert [config.learning_rate(step) for step in (0, 166249)] == [0.01, 0.01]
    assert config.learning_rate(166250) == pytest.approx(0.001)
    quick = TrainConfig(num_examples_per_epoch=16, batch_size=8, num_epochs_per_decay=1.5, lr_decay_factor=0.5)
    assert [quick.learning_rate(step) for step in range(7)] == pytest.approx([0.01] * 3 + [0.005] * 3 + [0.0025])


def test_other_learning_rates():
    cosine = TrainConfig(lr_policy="cosine", epoch=2, num_examples_per_epoch=8, batch_size=2)  # 8 steps
    assert [cosine.learning_rate(step) for step in (0, 2, 4, 8, 20)] == pytest.approx(
        [0.01, 0.005 * (1 + math.sqrt(0.5)), 0.005, 0.0, 0.0])
    pieces = TrainConfig(lr_policy="piecewise_constant", lr_boundaries=(1, 2), lr_values=(3, 2, 1),
                         num_examples_per_epoch=8, batch_size=2)  # a boundary belongs to what is before it
    assert [pieces.learning_rate(step) for step in (0, 4, 5, 8, 9)] == [3, 3, 2, 2, 1]


def configure(*arguments):
    flags = train_siamese_model.define_flags().parse(list(arguments))
    return (*configuration.from_flags(flags), flags)


def test_recipes_and_flags():
    assert configure()[1] == TrainConfig()
    assert configure("--recipe=corrected")[1] == TrainConfig(pair_order="symmetric", exif_orientation=True)
    assert configure("--recipe=corrected", "--pair_order=forward")[1].pair_order == "forward"
    model, train, *_ = configure("--branch=semantic", "--epoch=3", "--max_frame_dist=7", "--prefetch_threads=2",
                                "--prefetch_capacity=9", "--initial_lr=0.5", "--num_epochs_per_decay=2",
                                "--lr_decay_factor=0.3", "--optimizer=MOMENTUM", "--momentum=0.8", "--use_nesterov",
                                "--gray_probability=0.25", "--loss_scale=128", "--batch_size=3", "--seed=5",
                                "--num_examples_per_epoch=30")
    assert model.branch == "semantic"
    assert train == TrainConfig(batch_size=3, epoch=3, num_examples_per_epoch=30, seed=5, optimizer="MOMENTUM",
                                momentum=0.8, use_nesterov=True, initial_lr=0.5, lr_decay_factor=0.3,
                                num_epochs_per_decay=2.0, max_frame_dist=7, gray_probability=0.25, prefetch_threads=2,
                                prefetch_capacity=9, loss_scale=128.0)


def test_a_configuration_from_files_and_flags_that_win(tmp_path):
    saved = TrainConfig(batch_size=4, seed=3, optimizer="MOMENTUM", epoch=2)
    configuration.save(str(tmp_path), ModelConfig(branch="semantic", weight_decay=0.1), saved)
    model, train, track, _ = configure(f"--config={tmp_path}", "--batch_size=6")
    assert model == ModelConfig(branch="semantic", weight_decay=0.1)
    assert train == dataclasses.replace(saved, batch_size=6)
    assert track == TrackConfig()  # there is no file
    configuration.save(str(tmp_path), TrackConfig(num_scales=5, scale_step=1.02))
    assert configure(f"--config={tmp_path}")[2] == TrackConfig(num_scales=5, scale_step=1.02)
    assert configure(f"--config={tmp_path}", "--branch=appearance")[0].branch == "appearance"


@pytest.mark.parametrize("saved, arguments, wanted", [
    ("", (), "forward"), ("", ("--recipe=corrected",), "symmetric"),
    ('"pair_order": "symmetric"', (), "symmetric"),  # a corrected run's configuration is corrected again
    ('"pair_order": "symmetric"', ("--recipe=reference",), "forward"),
    ('"pair_order": "forward"', ("--recipe=corrected",), "symmetric"),
    ('"pair_order": "symmetric"', ("--recipe=corrected", "--pair_order=forward"), "forward"),
])
def test_a_recipe_is_kept_beside_a_file_and_wins_where_it_is_given(tmp_path, saved, arguments, wanted):
    configuration.save(str(tmp_path), ModelConfig())
    (tmp_path / "train_config.json").write_text(f"{{{saved}}}")
    upright = "--recipe=corrected" in arguments
    assert configure(f"--config={tmp_path}", *arguments)[1] == TrainConfig(pair_order=wanted, exif_orientation=upright)


@pytest.mark.parametrize("arguments, updates", [
    ((), 199500), (("--steps=7",), 7), (("--train_steps=7", "--steps=9"), 7), (("--epochs=1",), 6650),
    (("--epochs=1", "--steps=5"), 5), (("--performance",), 100), (("--performance", "--steps=200"), 200),
    (("--epochs=2", "--num_examples_per_epoch=20", "--batch_size=4"), 10),
])
def test_number_of_updates(arguments, updates):
    _, train, _, flags = configure(*arguments)
    assert train_siamese_model.num_updates(flags, train) == updates


def test_the_generated_configuration_comes_back(tmp_path, capsys):
    """It is the tracker's of both branches; a branch is trained with it where a length is given."""
    path = os.path.join(ROOT, "sa_siam_tf1", "experiments", "gen-sa-siam-cfg.py")
    assert runpy.run_path(path)["main"]([f"--output_path={tmp_path}"]) == 0
    folder = tmp_path / "SA-Siam"
    assert f"in {folder}" in capsys.readouterr().out
    assert json.loads((folder / "train_config.json").read_text())["epoch"] == 0
    assert json.loads((folder / "track_config.json").read_text())["scale_step"] == 1.0375
    assert configuration.load(ModelConfig, str(folder)) == ModelConfig(branch="both")
    (folder / "track_config.json").write_text('{"num_scales": 5}')
    model, train, track, flags = configure(f"--config={folder}", "--epochs=2")
    assert (model, train, track) == (ModelConfig(), TrainConfig(epoch=2), TrackConfig(num_scales=5))
    assert train_siamese_model.num_updates(flags, train) == 2 * 6650
    assert configure(f"--config={folder}", "--branch=semantic", "--steps=3")[0] == ModelConfig(branch="semantic")
    for arguments, updates in ((["--steps=3"], 3), (["--performance"], 100)):
        _, train, _, flags = configure(f"--config={folder}", *arguments)
        assert train_siamese_model.num_updates(flags, train) == updates
    _, train, _, flags = configure(f"--config={folder}")
    with pytest.raises(FlagError, match=f"--config={folder}: its epoch is 0, .*; give --epochs or --train_steps"):
        train_siamese_model.num_updates(flags, train)
    assert train_siamese_model.main([f"--config={folder}"]) == 2  # before data are looked for
    assert "its epoch is 0" in capsys.readouterr().err
    with pytest.raises(FlagError, match="--epoch=0: expected 1 or more"):
        configure(f"--config={folder}", "--lr_policy=cosine")


@pytest.mark.parametrize("argument", ["--momentum=1", "--gray_probability=2", "--initial_lr=0", "--loss_scale=0",
                                      "--branch=both", "--lr_values=0.1,x", "--lr_policy=piecewise_constant"])
def test_flags_that_do_not_fit(argument):
    with pytest.raises(FlagError, match=argument.split("=")[0] if "policy" not in argument else "lr_values"):
        configure(argument)
