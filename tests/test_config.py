from dataclasses import replace

import pytest

from vitlib import TrainConfig, ViTConfig


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"embed_dim": 63}, "embed_dim is 63, but has to be a multiple of num_heads=4."),
        ({"patch_size": 5}, "patch_size is 5, but has to be a divisor of image_size=28."),
        ({"depth": 0}, "depth is 0, but has to be a whole number of at least 1."),
        ({"depth": True}, "depth is True, but has to be a whole number of at least 1."),
        ({"dropout": 1}, "dropout is 1, but has to be a number of at least 0 and below 1."),
        ({"share_norm": "yes"}, "share_norm is 'yes', but has to be True or False."),
    ],
)
def test_wrong_dimensions_get_one_sentence(settings, sentence):
    with pytest.raises(ValueError) as error:
        ViTConfig(**settings)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": -1}, "epochs is -1, but has to be a whole number of at least 1."),
        ({"epochs": "two"}, "epochs is 'two', but has to be a whole number of at least 1."),
        ({"lr": float("nan")}, "lr is nan, but has to be a number of at least 0."),
        ({"optimizer": "sgd"}, "optimizer is 'sgd', but has to be one of adamw, muon."),
        ({"batch_size": 60_000}, "batch_size is 60000, but has to be at most 55000."),
        (
            {"train_images": 60_000},
            "train_images + validation_images is 65000, but has to be at most 60000, the size of the training set.",
        ),
    ],
)
def test_wrong_settings_get_one_sentence(settings, sentence):
    with pytest.raises(ValueError) as error:
        TrainConfig(**settings)
    assert str(error.value) == sentence


def test_settings_survive_json():
    config = TrainConfig(model=ViTConfig(num_heads=2), epochs=3, lr=1)
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_digest_tells_settings_apart_and_only_those():
    config = TrainConfig()
    assert config.digest == TrainConfig(epochs=20).digest
    assert TrainConfig(lr=1).digest == TrainConfig(lr=1.0).digest
    others = [replace(config, epochs=21), replace(config, seed=1), TrainConfig(model=ViTConfig(num_heads=8))]
    assert len({c.digest for c in [config, *others]}) == 4


def test_unknown_setting_is_named():
    with pytest.raises(ValueError, match="setting is 'epoch', but has to be one of"):
        TrainConfig.from_dict({"epoch": 3})
