"""Recipes: each says what it is for and is a valid configuration; a wrong one gets one sentence."""

import re
import statistics

import pytest

from vitlib import TrainConfig
from vitlib.config import differences
from vitlib.studies import recipes, study

GOOD = "{purpose: p, cost: c, expected: e, command: c, settings: {epochs: 3}}"


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_is_described_and_valid(name):
    recipe = recipes.read(name)
    assert all(len(text.split()) > 2 for text in (recipe.purpose, recipe.cost, recipe.expected))
    assert f"recipes.load('{name}')" in recipe.command
    assert recipes.load(name).seed == 0


def test_the_homework_is_a_plain_loop():
    assert differences(recipes.load("homework"), TrainConfig()) == {
        "epochs": 5,
        "optimizer": "adamw",
        "lr": 0.001,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup": 0.0,
        "flip": False,
        "precision": "float32",
    }


def test_settings_may_change_a_part_of_the_network():
    config = recipes.override(recipes.load("homework"), {"epochs": 1, "model": {"num_heads": 8}})
    assert (config.epochs, config.model.num_heads, config.model.depth) == (1, 8, 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"a: [", "wrong.yaml is not valid YAML: while parsing"),
        (b"purpose: \xff\xfe\n", "is not valid YAML: 'utf-8' codec can't decode byte 0xff in position 9"),
        (b"purpose: 2026-13-45\n", "is not valid YAML: month must be in 1..12."),
        (b"[" * 5000, "is not valid YAML: maximum recursion depth exceeded"),
        (b"<<<<<<< HEAD\ncost: a\n=======\ncost: b\n>>>>>>> theirs\n", "is not valid YAML: "),
        ("a: {b: 1, c: 2, b: 3}", "is not valid YAML: 'b' is given twice in "),
        (b"", "wrong.yaml holds None, but has to hold purpose, cost, expected, command, settings."),
        ("- a", "wrong.yaml holds ['a'], but has to hold purpose, cost, expected, command, settings."),
        (GOOD.replace("cost: c, ", ""), "wrong.yaml: cost is missing, but has to be given."),
        (GOOD.replace("cost", "price: 3, cost"), "setting is 'price', but has to be one of command, cost, expected, "),
        (GOOD.replace("cost: c", "cost: 5"), "cost is 5, but has to be a valid string."),
        (GOOD.replace("{epochs: 3}", "[3]"), "settings is [3], but has to be a valid dictionary."),
        (GOOD.replace("epochs: 3", "epochs: 0"), "wrong.yaml: epochs is 0, but has to be greater than or equal to 1."),
        (GOOD.replace("epochs: 3", "epoch: 3"), "setting is 'epoch', but has to be one of batch_size, crop_padding, "),
        (GOOD.replace("epochs: 3", "seed: 3"), "seed is 3, but has to be left to the study, which lists its seeds."),
        (GOOD.replace("epochs: 3", "model: 3"), "model is 3, but has to be settings by name."),
        (GOOD.replace("epochs: 3", "model: {width: 3}"), "setting is 'width', but has to be one of channels, "),
    ],
)
def test_a_wrong_recipe_gets_one_sentence(tmp_path, text, sentence):
    (tmp_path / "wrong.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        recipes.load("wrong", tmp_path)
    assert "wrong.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_gets_the_names_of_the_known_ones():
    with pytest.raises(ValueError, match=r"recipe is 'bets', but has to be one of best, .*, homework\."):
        recipes.load("bets")


def test_the_accuracies_in_the_homeworks_recipe_are_those_of_the_study_of_seeds():
    found = {}
    for row in study.load("seeds").epochs:
        found.setdefault(row["epoch"], []).append(sum(row["test_correct"]) / 100)
    means = [f"{statistics.fmean(values):.1f}" for values in found.values()]
    assert re.findall(r"(\d\d\.\d) %", recipes.read("homework").expected) == means
