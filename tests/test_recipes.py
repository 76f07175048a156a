"""Recipes: each says what it is for and is a valid configuration; a wrong one gets one sentence."""

import re
import statistics

import pytest

from vitlib import TrainConfig
from vitlib.config import differences
from vitlib.studies import recipes, study

GOOD = "{purpose: p, cost: c, expected: e, command: c, settings: {epochs: 3}}"


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_says_what_it_is_for_and_is_valid(name):
    values = recipes.read(recipes.FOLDER / f"{name}.yaml", recipes.KEYS)
    assert all(len(values[key].split()) > 2 for key in recipes.KEYS[:-1])
    assert f"recipes.load('{name}')" in values["command"]
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
    assert recipes.load("homework").batch_size == 128


def test_a_recipes_settings_may_name_some_of_the_network():
    config = recipes.changed(recipes.load("homework"), {"epochs": 1, "model": {"num_heads": 8}})
    assert (config.epochs, config.model.num_heads, config.model.depth) == (1, 8, 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "is not valid YAML: while parsing"),
        ("- a", "holds ['a'], but has to hold name: value for purpose, cost, expected, command, settings."),
        (GOOD.replace("cost: c, ", ""), "has no 'cost', but has to say purpose, cost, expected, command, settings."),
        (GOOD.replace("cost", "price: 3, cost"), "has 'price', but knows only purpose, cost, expected, command, sett"),
        (GOOD.replace("{epochs: 3}", "[3]"), "settings is [3], but has to be name: value."),
        (GOOD.replace("epochs: 3", "epochs: 0"), "epochs is 0, but has to be a whole number of at least 1."),
        (GOOD.replace("epochs: 3", "epoch: 3"), "setting is 'epoch', but has to be one of batch_size, crop, "),
        (GOOD.replace("epochs: 3", "seed: 3"), "seed is 3, but has to be left to the study, which names its seeds."),
        (GOOD.replace("epochs: 3", "model: 3"), "model is 3, but has to be name: value."),
        (GOOD.replace("epochs: 3", "model: {width: 3}"), "setting is 'width', but has to be one of channels, "),
    ],
)
def test_a_wrong_recipe_gets_one_sentence(tmp_path, text, sentence):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"wrong\.yaml") as error:
        recipes.load("wrong", tmp_path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_gets_the_names_of_those_there_are():
    with pytest.raises(ValueError, match=r"recipe is 'bets', but has to be one of best, .*, homework\."):
        recipes.load("bets")


def test_what_the_homeworks_recipe_expects_is_what_the_study_of_seeds_found():
    said = recipes.read(recipes.FOLDER / "homework.yaml", recipes.KEYS)["expected"]
    found = {}
    for row in study.load("seeds").epochs:
        found.setdefault(row["epoch"], []).append(sum(row["test_correct"]) / 100)
    means = [f"{statistics.fmean(values):.1f}" for values in found.values()]
    assert re.findall(r"(\d\d\.\d) %", said) == means
