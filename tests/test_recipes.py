"""Recipes: each is a valid configuration; a wrong one gets one sentence."""

import re

import pytest

from vitlib.studies import recipes

GOOD = "settings: {epochs: 3}"


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_is_valid(name):
    recipes.load(name)


def test_settings_may_change_a_part_of_the_network():
    config = recipes.override(recipes.load("homework"), {"epochs": 1, "model": {"num_heads": 8}})
    assert (config.epochs, config.model.num_heads, config.model.depth) == (1, 8, 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"a: [", "wrong.yaml is not valid YAML: while parsing"),
        (b"settings: \xff\xfe\n", "is not valid YAML: 'utf-8' codec can't decode byte 0xff in position 10"),
        (b"settings: 2026-13-45\n", "is not valid YAML: month must be in 1..12."),
        (b"[" * 5000, "is not valid YAML: maximum recursion depth exceeded"),
        (b"<<<<<<< HEAD\ncost: a\n=======\ncost: b\n>>>>>>> theirs\n", "is not valid YAML: "),
        ("a: {b: 1, c: 2, b: 3}", "is not valid YAML: 'b' is given twice in "),
        (b"", "wrong.yaml holds None, but must hold settings."),
        ("- a", "wrong.yaml holds ['a'], but must hold settings."),
        ("{}", "wrong.yaml: settings is missing."),
        (f"price: 3\n{GOOD}", "setting is 'price', but must be one of settings."),
        (GOOD.replace("{epochs: 3}", "[3]"), "settings is [3], but must be a valid dictionary."),
        (GOOD.replace("epochs: 3", "epochs: 0"), "wrong.yaml: epochs is 0, but must be greater than or equal to 1."),
        (GOOD.replace("epochs: 3", "epoch: 3"), "setting is 'epoch', but must be one of batch_size, crop_padding, "),
        (GOOD.replace("epochs: 3", "seed: 3"), "seed is 3, but must be left to the study, which lists its seeds."),
        (GOOD.replace("epochs: 3", "model: 3"), "model is 3, but must be settings by name."),
        (GOOD.replace("epochs: 3", "model: {width: 3}"), "setting is 'width', but must be one of channels, "),
    ],
)
def test_a_wrong_recipe_gets_one_sentence(tmp_path, monkeypatch, text, sentence):
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    (tmp_path / "wrong.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        recipes.load("wrong")
    assert "wrong.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_gets_the_names_of_the_known_ones():
    with pytest.raises(ValueError, match=r"recipe is 'bets', but must be one of best, .*, homework\."):
        recipes.load("bets")
