import pytest
import torch

from tests.test_figures import pictures
from vitlib import ViT, ViTConfig, data
from vitlib.evaluate import BATCH, Evaluation, evaluate
from vitlib.report import attention_figures, attention_maps


@pytest.fixture
def images():
    return torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_observed_rows_sum_to_one_for_every_layer_and_head(images):
    config = ViTConfig(depth=3, num_heads=2)
    observed = torch.cat([*attention_maps.observe(ViT(config), images)])
    assert observed.shape == (5, 3, 2, config.num_tokens, config.num_tokens)
    torch.testing.assert_close(observed.sum(dim=-1), torch.ones_like(observed[..., 0]), rtol=0, atol=1e-12)


def test_observing_does_not_depend_on_the_batch_size_or_change_the_model(images, monkeypatch):
    model = ViT(ViTConfig(depth=2, dropout=0.5)).train()
    large = torch.cat([*attention_maps.observe(model, images)])
    monkeypatch.setitem(BATCH, "cpu", 2)
    small = torch.cat([*attention_maps.observe(model, images)])
    torch.testing.assert_close(small, large, rtol=0, atol=1e-12)
    assert model.training
    assert next(model.parameters()).dtype == torch.float32


def test_observed_weights_times_values_are_the_layers_output(images):
    network = ViT(ViTConfig(depth=1, num_heads=2)).double().eval()
    layer, seen = network.encoder[0].attention, []
    layer.register_forward_hook(lambda _, inputs, outputs: seen.extend([*inputs, outputs]))
    (weights,) = attention_maps.observe(network, images)
    with torch.inference_mode():
        network(data.normalise(images).double().unsqueeze(1))
        x, output = seen[-2:]
        values = layer.value(x).unflatten(-1, (2, -1)).transpose(1, 2)
        heads = (weights[:, 0] @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(layer.output(heads), output, rtol=0, atol=1e-12)


def test_distances_by_hand():
    apart = attention_maps.distances(side=2, patch_size=3)
    assert apart.tolist()[0] == pytest.approx([0, 3, 3, 18**0.5])
    assert apart.tolist()[1] == pytest.approx([3, 0, 18**0.5, 3])


def test_the_class_token_has_no_distance():
    attention = torch.full((5, 5), 1 / 5, dtype=torch.float64)
    attention[1] = torch.tensor([0.5, 0.25, 0.25, 0, 0])  # the first patch attends half to the class token
    apart = attention_maps.distances(side=2, patch_size=7)
    by_hand = (7 / 2 + 3 * (7 + 7 + 98**0.5) / 4) / 4
    assert attention_maps.mean_distance(attention, apart).item() == pytest.approx(by_hand)


def test_rollout_of_two_layers_by_hand():
    first = torch.eye(3, dtype=torch.float64)
    first[1] = torch.tensor([0, 0, 1])  # the first patch attends to the second
    second = torch.eye(3, dtype=torch.float64)
    second[0] = torch.tensor([0, 1, 0])  # then the class token attends to the first
    assert attention_maps.rollout(torch.stack([first, second])[None, :, None]).tolist() == [[0.5, 0.5]]
    assert attention_maps.rollout(torch.stack([second, first])[None, :, None]).tolist() == [[1, 0]]


def test_blanking_starts_with_the_first_patch_of_the_order(images):
    order = torch.stack([torch.randperm(49) for _ in images])
    row, column = divmod(int(order[3, 0]), 7)
    wanted = images[3].clone()
    wanted[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
    assert torch.equal(attention_maps.blank(images, order, 1, patch_size=4)[3], wanted)
    assert not attention_maps.blank(images, order, 49, patch_size=4).any()


def test_deleting_no_patch_changes_no_prediction_and_deleting_all_leaves_one_prediction(images):
    model, labels = ViT(ViTConfig(depth=1)), torch.arange(5)
    nothing, everything = attention_maps.deletion(model, images, labels, torch.arange(49).expand(5, -1), [0, 49])
    assert torch.equal(nothing, evaluate(model, images, labels).predictions == labels)
    prediction = evaluate(model, torch.zeros_like(images), labels).predictions.unique()
    assert torch.equal(everything, labels == prediction)


def test_positions_are_compared_by_direction():
    model = ViT(ViTConfig(patch_size=14, embed_dim=4, num_heads=1, depth=1))
    with torch.no_grad():
        model.positions[0, 1:] = torch.tensor([[1, 0, 0, 0], [3, 0, 0, 0], [0, 2, 0, 0], [-1, 0, 0, 0]])
    assert attention_maps.position_similarity(model)[0].tolist() == [1, 1, 0, -1]


def test_each_order_ranks_every_patch_once_by_its_score():
    images = torch.zeros(1, 28, 28, dtype=torch.uint8)
    images[0, :14, 14:], images[0, 14:, 14:] = 10, 200  # of four patches, the second and the fourth show something
    orders = attention_maps.orders(images, torch.tensor([[0.1, 0.2, 0.4, 0.3]]), patch_size=14)
    assert orders["most rollout first"].tolist() == [[2, 3, 1, 0]]
    assert orders["least rollout first"].tolist() == [[0, 1, 3, 2]]
    assert orders["brightest first"].tolist() == [[3, 1, 0, 2]]
    assert {*orders["random, garment first"][0, :2].tolist()} == {1, 3}
    assert sorted(orders["random"][0].tolist()) == [0, 1, 2, 3]


def test_the_gallery_shows_the_surest_answers_of_the_classes_with_most_mistakes():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2])
    answers = torch.tensor([0, 0, 1, 1, 0, 2, 1, 2, 2])
    sure = torch.tensor([1.0, 2, 3, 1, 2, 3, 4, 5, 6])
    logits = torch.nn.functional.one_hot(answers, 3) * sure[:, None]
    result = Evaluation(logits.double(), labels)
    assert attention_maps.most_confident(result) == [6, 1, 5, 2]  # class 1 has two mistakes, class 0 one, class 2 none


def test_the_gallery_shows_each_image_as_it_is_and_its_largest_share_brightest(images):
    maps = torch.tensor([[[0.0, 0.5], [0.25, 0.25]], [[1.0, 0.0], [0.0, 0.0]]])
    shown = attention_figures.rollouts(images[:2], maps, torch.tensor([6, 0]), torch.tensor([6, 1]))
    found = pictures(shown)
    assert [found[i].tolist() for i in (0, 2)] == images[:2].tolist()
    assert [found[i][:, :, 0].tolist() for i in (1, 3)] == [[[0, 127], [63, 63]], [[255, 0], [0, 0]]]
    assert "<span>Shirt</span> <b>right</b>" in shown.forms["text/html"]
    assert "<span>T-shirt/top</span> <b>→ Trouser</b>" in shown.forms["text/html"]


def test_a_worked_example_names_its_three_most_probable_classes_and_none_is_certain(images):
    probabilities = torch.zeros(1, 10)
    probabilities[0, [6, 0, 4]] = torch.tensor([0.9996, 0.0003, 0.0001])
    shown = attention_figures.answers(images[:1], torch.ones(1, 2, 2), ["hard, label Coat"], probabilities)
    said = "<b>Shirt above 99.9 %, T-shirt/top below 0.1 %, Coat below 0.1 %</b>"
    assert f"<span>hard, label Coat</span> {said}" in shown.forms["text/html"]
    assert shown.forms["text/csv"].splitlines()[1].startswith('"hard, label Coat",')
