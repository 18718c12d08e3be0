import pytest

from tests.conftest import REPO, make_recipe
from trainer import config, errors


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("tran.seed = 1", r"'tran' is not a name.*Did you mean 'train'\?"),
        ("train.sed = 1", r"train.sed does not exist.*Did you mean 'seed'\?"),
        ("train.model = @smal_resnet", r"Did you mean 'small_resnet'\?"),
        ("train.seed = %SEED", "%SEED is used but has no value"),
        ("SUORCE = 1", r"no macro 'SUORCE'.*Did you mean 'SOURCE'\?"),
        ("train.seed = ", "gin: "),
        (
            'train.global_batch_size = "many"',
            "train.global_batch_size='many' is a str; it must be an int",
        ),
        ("train.global_batch_size = 16.0", "must be an int"),
        ("train.global_batch_size = True", "must be an int"),
        ("train.duration = 90", "must be a str.*quotes"),
        ("train.optimizer = @sgd", "train.optimizer.*with the paren"),
        ("train.global_batch_size = 0", "must be at least 1"),
        ("train.seed = 3000000000", "32 bits"),
        ('train.precision = "float64"', "one of 'float32', 'mixed_bfloat16'"),
        (
            "constant_schedule.value = -1.0",
            "constant_schedule: value=-1.0 must be above 0",
        ),
        ("sgd.momentum = 1.0", "momentum=1.0"),
        ("sgd.clip_norm = 0.0", "clip_norm=0.0 must be above 0"),
        ('train.log_every = "often"', "train.log_every='often'"),
        ('train.duration = "0 steps"', "less than one step"),
        ("train.num_classes = 3", "data has 4 classes"),
        ('train_data.split = "trian"', "split='trian'.*train, validation"),
        ("train_data.shuffle_bytes = 0", "shuffle_bytes=0"),
        ("constant_schedule.value = 1e400", "constant_schedule.value=inf"),
        ('train.log_every = "0 steps"', "log_every='0 steps' must be above 0"),
        ("train.loss = @softmax_cross_entropy", "with the parentheses"),
        ("train.augment = @random_flip()", "in brackets"),
        ("train.augment = [@random_flip]", "augment.*with the parentheses"),
        (
            'train.progressive_resizing = "4 until 1 epoch"',
            "is a str.*in brackets",
        ),
        ('make_engine.name = "tpuu"', None),
    ],
)
def test_mistakes_are_explained(binding: str, message: str | None) -> None:
    if message is None:
        make_recipe(binding)
        with pytest.raises(errors.ConfigError, match="make_engine.name='tpuu'"):
            config.call("make_engine")
        return
    with pytest.raises(ValueError, match=message):
        make_recipe(binding)


def test_a_missing_value_says_how_to_give_it() -> None:
    config.parse([], ["train.seed = 1"])
    with pytest.raises(
        errors.ConfigError, match=r"train\.\w+ has no value.*--gin_param"
    ):
        config.call("train")


def test_a_missing_file_names_the_recipes() -> None:
    with pytest.raises(
        errors.ConfigError, match=r"Did you mean gin/digits.gin\?.*fashion"
    ):
        config.parse(["gin/digit.gin"], [])


def test_files_are_found_from_any_folder(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.chdir(tmp_path)
    config.parse(["gin/fashion_mnist.gin"], ["train.seed = 5"])
    with pytest.raises(ValueError, match="data/fashion_mnist"):
        config.call("train")
    assert "Path not found" not in caplog.text


def test_a_folder_is_not_taken_for_a_package(tmp_path, monkeypatch) -> None:
    """As for Lockstep in PYTHONPATH, run elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(REPO)
    config.parse(["tests/tiny.gin"], ["train.seed = 5"])
    assert config.call("train").seed == 5


def test_different_sizes_for_training_and_evaluation() -> None:
    with pytest.raises(errors.ConfigError, match=r"\(6, 6, 3\).*\(8, 8, 3\)"):
        make_recipe(
            "eval_data.decode = @resize_center_crop()",
            "resize_center_crop.size = 6",
        )


def test_operative_config_gives_the_same_recipe(tmp_path) -> None:
    first = make_recipe("train.seed = 11")
    first.model(num_classes=4, image_shape=(8, 8, 3))
    text = config.operative_config()
    (tmp_path / "operative.gin").write_text(text)
    config.parse([str(tmp_path / "operative.gin")], [])
    again = config.call("train")
    assert again.seed == 11
    assert again.horizon == first.horizon
    again.model(num_classes=4, image_shape=(8, 8, 3))
    assert (
        config.differences(
            config.settings(text), config.settings(config.operative_config())
        )
        == []
    )


def test_differences_name_old_and_new() -> None:
    found = config.differences({"a": "1", "b": "2"}, {"a": "1", "b": "3"})
    assert [str(d) for d in found] == ["b: 2 -> 3"]
