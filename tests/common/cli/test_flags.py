"""Command lines are read as docs/design.md says."""
from __future__ import annotations

import os

import pytest

from common.cli import inference, shared_flags
from common.cli.parser import REQUIRED, FlagSet
from common.cli.program import HelpRequested
from common.errors import FlagError, ZooError


@pytest.fixture
def flag_set():
    flags = FlagSet("A program.")
    shared_flags.define_data(flags, "Folder of the data.")
    flags.model.number("weight", 1.0, "Weight of a term.")
    shared_flags.define_training(flags, "Images", batch_size=32, seed=7, epochs="10")
    shared_flags.define_accelerator(flags, "allow_mix_precision")
    return flags


def test_both_forms_and_aliases(flag_set):
    values = flag_set.parse(["--data_url", "/a b", "--exp_save_dir=/out", "--train_epochs", "3"])
    assert (values.data_path, values.output_path, values.epochs) == ("/a b", "/out", 3)


@pytest.mark.parametrize("word, wanted", [("True", True), ("yes", True), ("T", True), ("y", True), ("1", True),
                                          ("False", False), ("no", False), ("f", False), ("N", False), ("0", False)])
def test_booleans_in_both_forms(flag_set, word, wanted):
    assert flag_set.parse(["--profiling", word]).profiling is wanted
    assert flag_set.parse([f"--profiling={word}"]).profiling is wanted


def test_bare_boolean_is_true_and_eats_nothing(flag_set):
    values = flag_set.parse(["--profiling", "--seed=3"])
    assert values.profiling is True and values.seed == 3


def test_two_booleans_as_published(flag_set):
    values = flag_set.parse(["--profiling", "False", "--use_mixlist", "True"])
    assert (values.profiling, values.use_mixlist) == (False, True)


def test_words_that_are_not_booleans_are_refused(flag_set):
    with pytest.raises(FlagError, match="--profiling=maybe: expected true or false"):
        flag_set.parse(["--profiling=maybe"])


def test_empty_value_is_unset_and_the_last_one_counts(flag_set):
    values = flag_set.parse(["--seed=5", "--seed=", "--batch_size=1", "--batch_size=4", "--profiling="])
    assert (values.seed, values.batch_size, values.profiling) == (7, 4, False)
    assert not values["seed"].present


def test_bare_data_path_is_missing_data(flag_set):
    for arguments in (["--data_path"], ["--data_path="], ["--data_path", "--seed=1"]):
        with pytest.raises(ZooError, match='^para "data_path" must be config$') as caught:
            shared_flags.find_path("data_path", flag_set.parse(arguments).data_path, "/model")
        assert caught.value.status == 1


def test_a_required_flag_is_asked_for(flag_set):
    flag_set.data.string("images", None, "Image, or folder of images.", REQUIRED)
    with pytest.raises(FlagError, match="^--images is needed: image, or folder of images$"):
        flag_set.parse([])
    assert flag_set.parse(["--images=x"]).images == "x"


@pytest.mark.parametrize("arguments, wanted", [
    (["--images=a.png"], ["a.png"]), (["--images=a.png,b"], ["a.png", "b"]), (["--images=x,y"], ["x,y"]),
    (["--images", "a.png", "b,c", "--seed=3"], ["a.png", "b", "c"]), (["--images=a.png,,b,"], ["a.png", "b"]),
    (["--images=b", "--images=a.png"], ["a.png"]), (["--images", "b", "x,y"], ["b", "x,y"]),
])
def test_paths_after_one_another_or_between_commas(flag_set, tmp_path, monkeypatch, arguments, wanted):
    """The file `x,y` exists, and is not divided."""
    for name in ("a.png", "b", "c", "x,y"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(str(tmp_path))
    flag_set.data.paths("images", "Images.")
    values = flag_set.parse(arguments)
    assert inference.find_paths("images", values.images, "/no/model") == [str(tmp_path / name) for name in wanted]


def test_paths_that_are_missing_are_named(flag_set, tmp_path):
    flag_set.data.paths("images", "Images.")
    with pytest.raises(FlagError, match="^--images is needed: images$"):
        flag_set.parse([])
    with pytest.raises(FlagError, match="^--images needs a value"):
        flag_set.parse(["--images", "--seed=1"])
    for given, error, message in ((f"{tmp_path},/no/such", ZooError, "--images=/no/such: not found"),
                                  (",", FlagError, "--images=,: names no path")):
        with pytest.raises(error, match=message):
            inference.find_paths("images", flag_set.parse([f"--images={given}"]).images, "/no/model")
    with pytest.raises(ZooError, match=f"^--query: {tmp_path} is a folder, expected a file$"):
        inference.find_files("query", [__file__, str(tmp_path)], "/no/model")
    assert "--images=PATH,..." in flag_set.help() and "--flag=A,B or --flag A B" in flag_set.help().replace("\n", " ")


@pytest.mark.parametrize("arguments, limits, wanted", [
    ([], (), 1000), ([], (None, 0), 1000), (["--performance"], (), 100), (["--performance"], (50, 300), 50),
    (["--train_steps=7"], (9,), 7), (["--train_steps=7", "--performance"], (5,), 5),
])
def test_the_smallest_limit_that_was_given_ends_a_run(flag_set, arguments, limits, wanted):
    assert shared_flags.num_updates(flag_set.parse(arguments), 1000, *limits) == wanted


def test_unknown_flag_names_the_nearest(flag_set):
    with pytest.raises(FlagError, match="unknown flag --batchsize; did you mean --batch_size") as caught:
        flag_set.parse(["--batchsize=3"])
    assert caught.value.status == 2


@pytest.mark.parametrize("arguments, message", [
    (["left_over"], "unexpected argument 'left_over'"),
    (["--batch_size=3", "--"], "unexpected argument '--'"),
    (["-x"], "unexpected argument '-x'"),
    (["--batch_size"], "--batch_size needs a value"),
    (["--batch_size=three"], r"--batch_size=three: expected an integer in the range \[1, 65536\]"),
    (["--batch_size=0"], r"--batch_size=0: expected an integer in the range \[1, 65536\]"),
    (["--batch_size=99999999999"], "--batch_size=99999999999: expected an integer"),
    (["--seed=-1"], "--seed=-1: expected an integer"),
    (["--seed=4294967296"], "--seed=4294967296: expected an integer"),
    (["--weight=nan"], "--weight=nan: expected a non-negative number"),
    (["--weight=inf"], "--weight=inf: expected a non-negative number"),
    (["--weight=-1"], "--weight=-1: expected a non-negative number"),
    (["--recipe=other"], "--recipe=other: expected one of reference, corrected"),
])
def test_wrong_command_lines(flag_set, arguments, message):
    with pytest.raises(FlagError, match=message):
        flag_set.parse(arguments)


def test_value_with_a_leading_dash(flag_set):
    assert flag_set.parse(["--data_path=-x"]).data_path == "-x"
    assert flag_set.parse(["--data_path", "-x"]).data_path == "-x"


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["--batch_size=x", "--nonsense", "-h"]])
def test_help_comes_first(flag_set, arguments):
    with pytest.raises(HelpRequested, match="Images per update. Default: 32."):
        flag_set.parse(arguments)


def test_help_has_groups_defaults_and_80_columns(flag_set):
    flag_set.ignored.string("old", None, "Nothing reads it.")
    text = flag_set.help()
    assert text.startswith("A program.\n\n") and max(map(len, text.splitlines())) <= 80
    assert [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")] == [
        "Data and results:", "Training:", "Model and loss:", "Accelerator:", "Diagnosis:", "Accepted without effect:"]
    assert "  --data_path=VALUE (also --data_url)\n      Folder of the data. Required.\n" in text
    assert "  --epochs=INTEGER (also --epoch, --train_epochs, --max_nrof_epochs)\n" in text
    assert "  --precision_mode=VALUE\n" in text
    assert "The value is one of allow_fp32_to_fp16, force_fp16," in " ".join(text.split())
    assert "  --weight=NUMBER\n      Weight of a term. Default: 1.0.\n" in text
    assert "  --recipe=reference|corrected\n" in text and "  --profiling\n" in text
    assert text.endswith("  --old=VALUE\n      Nothing reads it.")


def test_flags_without_effect_say_so_when_they_are_given(flag_set):
    flag_set.ignored.string("ckpt_path", None, "Checkpoints are in the run directory.")
    flag_set.ignored.boolean("static_shape", False, "All batches are full.")
    flag_set.ignored.string("other", None, "Nothing reads it.")
    values = flag_set.parse(["--ckpt_path=x", "--static_shape=yes"])
    assert flag_set.warnings() == ["Warning: --ckpt_path has no effect. Checkpoints are in the run directory.",
                                   "Warning: --static_shape has no effect. All batches are full."]
    assert values.static_shape is True


def test_each_program_has_its_own_values(flag_set):
    other = FlagSet("Another program.")
    other.training.integer("batch_size", 1, "Images.")
    flag_set.parse(["--batch_size=9"])
    assert other.parse([]).batch_size == 1


def test_paths_are_sought_here_and_then_beside_the_model(tmp_path, monkeypatch):
    here, model = tmp_path / "here", tmp_path / "model"
    (here / "a").mkdir(parents=True)
    (model / "b").mkdir(parents=True)
    (model / "a").mkdir()
    monkeypatch.chdir(str(here))
    assert shared_flags.find_path("data_path", "a", str(model)) == str(here / "a")
    assert shared_flags.find_path("data_path", "b", str(model)) == str(model / "b")
    with pytest.raises(ZooError, match=r"--data_path=c: not found, looked for .*here.c and .*model.c"):
        shared_flags.find_path("data_path", "c", str(model))


def _has_data(folder):
    return os.path.exists(os.path.join(folder, "data"))


def test_data_folder_or_a_known_name_in_it(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "data").touch()
    for path in (tmp_path, tmp_path / "mnist"):
        found = shared_flags.find_data_folder(str(path), str(tmp_path), ["mnist", "MNIST/raw"], _has_data)
        assert found == str(tmp_path / "mnist")


def test_two_candidates_for_the_data_are_an_error(tmp_path):
    for name in ("mnist", "MNIST"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").touch()
    with pytest.raises(ZooError, match="mnist and in .*MNIST; name one of them"):
        shared_flags.find_data_folder(str(tmp_path), str(tmp_path), ["mnist", "MNIST"], _has_data)


def test_no_data_and_a_file_for_a_folder(tmp_path):
    with pytest.raises(ZooError, match="no data in .* sub-folder mnist"):
        shared_flags.find_data_folder(str(tmp_path), str(tmp_path), ["mnist"], _has_data)
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="is a file, expected a folder"):
        shared_flags.find_data_folder(str(tmp_path / "file"), str(tmp_path), ["mnist"], _has_data)


@pytest.mark.parametrize("name, command", [("m nist.zip", "unzip '{0}/m nist.zip' -d {0}"),
                                           ("dataset.tar", "tar -xf {0}/dataset.tar -C {0}"),
                                           ("d.tar.gz", "tar -xf {0}/d.tar.gz -C {0}")])
def test_an_archive_is_refused_with_the_command_that_unpacks_it(tmp_path, name, command):
    (tmp_path / name).touch()
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ZooError) as caught:
            shared_flags.find_data_folder(str(path), str(tmp_path), ["mnist"], _has_data)
        assert str(caught.value).endswith("unpack the archive first: " + command.format(tmp_path))
