import importlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from vitlib import TrainConfig, ViTConfig, config, paths


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (ViTConfig, {"embed_dim": 63}, "embed_dim is 63, but must be a multiple of num_heads=4."),
        (ViTConfig, {"patch_size": 5}, "patch_size is 5, but must be a divisor of image_size=28."),
        (TrainConfig, {"epochs": "two"}, "epochs is 'two', but must be a valid integer."),
        (TrainConfig, {"lr": float("nan")}, "lr is nan, but must be a finite number."),
        (TrainConfig, {"optimizer": "sgd"}, "optimizer is 'sgd', but must be 'adamw' or 'muon'."),
        (TrainConfig, {"teacher": "../x"}, "teacher is '../x', but must match pattern '^[a-z0-9-]*$'."),
        (TrainConfig, {"batch_size": 60_000}, "batch_size is 60000, but must be at most 55000."),
        (TrainConfig, {"model": {"depth": 2}}, "model is {'depth': 2}, but must be an instance of ViTConfig."),
        (
            TrainConfig,
            {"train_images": 60_000},
            "train_images + validation_images is 65000, but must be at most 60000, the size of the training set.",
        ),
    ],
)
def test_a_wrong_setting_gets_one_sentence(kind, settings, sentence):
    with pytest.raises(ValueError) as error:
        kind(**settings)
    assert str(error.value) == sentence


def test_settings_survive_json():
    settings = TrainConfig(model=ViTConfig(num_heads=2), epochs=3, lr=1)
    assert TrainConfig.from_dict(settings.to_dict()) == settings


def test_a_run_of_an_earlier_version_is_read_if_it_did_without_what_is_gone():
    settings = TrainConfig(epochs=3)
    earlier = settings.to_dict()
    earlier |= {name: value for name, value in config.RETIRED.items() if "." not in name}
    earlier["model"] = earlier["model"] | {"drop_path": 0.0}
    assert TrainConfig.from_dict(earlier) == settings
    with pytest.raises(ValueError, match=r"^sam_rho is 0.05, but must be 0.0: this version has no other\.$"):
        TrainConfig.from_dict({"sam_rho": 0.05})
    with pytest.raises(ValueError, match=r"^model.drop_path is 0.1, but must be 0.0: this version has no other\.$"):
        TrainConfig.from_dict({"model": {"drop_path": 0.1}})


def test_the_digest_depends_on_every_setting():
    settings = TrainConfig()
    current = {config.RENAMED.get(name, name) for name in settings.to_dict()}
    assert config.BASELINE.keys() == current - {"model"} | {f"model.{name}" for name in settings.to_dict()["model"]}
    assert settings.digest == TrainConfig(epochs=20).digest
    assert TrainConfig(lr=1).digest == TrainConfig(lr=1.0).digest
    others = [replace(settings, epochs=21), replace(settings, seed=1), TrainConfig(model=ViTConfig(num_heads=8))]
    assert len({c.digest for c in [settings, *others]}) == 4


def test_another_default_does_not_change_what_old_runs_were_trained_with(tmp_path, monkeypatch):
    source, default = Path(config.__file__).read_text(encoding="utf-8"), "    lr: NonNegative = 0.004"
    assert source.count(default) == 1
    (tmp_path / "changed_config.py").write_text(source.replace(default, default.replace("4", "3")), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    changed = importlib.import_module("changed_config")
    run = json.loads((paths.ROOT / "runs" / "report" / "config.json").read_text(encoding="utf-8"))
    assert changed.TrainConfig.from_dict(run).digest == TrainConfig.from_dict(run).digest
    del run["lr"]  # as in a run from before the setting existed
    assert changed.TrainConfig.from_dict(run).lr == 0.004
    assert changed.TrainConfig().digest == TrainConfig(lr=0.003).digest != TrainConfig().digest


@pytest.mark.parametrize(("text", "number"), [("1e-3", "1.0e-03"), ("2E5", "2.0e+05"), ("1.e3", "1.0e+03")])
def test_a_number_that_yaml_reads_as_text_gets_a_hint(text, number):
    with pytest.raises(
        ValueError, match=rf"lr is '{text}', .* \(YAML reads {text} as text: write {re.escape(number)}\)"
    ):
        TrainConfig(lr=text)
    assert yaml.safe_load(number) == float(text)
