import pytest
import torch

from vitlib import ViT, ViTConfig
from vitlib.evaluate import evaluate
from vitlib.report import attention_maps


@pytest.fixture
def pictures():
    return torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def uniform(*shape):
    return torch.full(shape, 1 / shape[-1], dtype=torch.float64)


def test_observed_rows_sum_to_one_for_every_layer_and_head(pictures):
    config = ViTConfig(depth=3, num_heads=2)
    seen = torch.cat([*attention_maps.observe(ViT(config), pictures, batch_size=2)])
    assert seen.shape == (5, 3, 2, config.num_tokens, config.num_tokens)
    torch.testing.assert_close(seen.sum(dim=-1), torch.ones_like(seen[..., 0]), rtol=0, atol=1e-12)


def test_observing_does_not_depend_on_batches_and_leaves_the_model_as_it_was(pictures):
    model = ViT(ViTConfig(depth=2, dropout=0.5)).train()
    small, large = (torch.cat([*attention_maps.observe(model, pictures, size)]) for size in (2, 7))
    torch.testing.assert_close(small, large, rtol=0, atol=1e-12)
    assert model.training
    assert next(model.parameters()).dtype == torch.float32
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_weights_times_values_are_what_the_layer_gives():
    layer = ViT(ViTConfig(depth=1, num_heads=2)).double().encoder[0].attention
    x = torch.randn(3, 5, layer.value.in_features, dtype=torch.float64)
    values = layer.value(x).unflatten(-1, (2, -1)).transpose(1, 2)
    gathered = (attention_maps.weights(layer, x) @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer.output(gathered), layer(x), rtol=0, atol=1e-12)


def test_distances_by_hand():
    apart = attention_maps.distances(side=2, patch_size=3)
    assert apart[0].tolist() == pytest.approx([0, 3, 3, 18**0.5])
    assert torch.equal(apart, apart.T)


def test_who_looks_at_itself_looks_no_distance_and_uniform_attention_the_mean():
    apart = attention_maps.distances(side=3, patch_size=2)
    assert attention_maps.mean_distance(torch.eye(10, dtype=torch.float64), apart) == 0
    assert attention_maps.mean_distance(uniform(10, 10), apart).item() == pytest.approx(apart.mean().item())


def test_the_class_token_has_no_distance():
    seen = uniform(5, 5)
    seen[1] = torch.tensor([0.5, 0.25, 0.25, 0, 0])  # half of the first patch goes to the class token
    apart = attention_maps.distances(side=2, patch_size=7)
    by_hand = (7 / 2 + 3 * (7 + 7 + 98**0.5) / 4) / 4
    assert attention_maps.mean_distance(seen, apart).item() == pytest.approx(by_hand)


def test_rollout_of_uniform_attention_is_uniform():
    torch.testing.assert_close(attention_maps.rollout(uniform(2, 3, 5, 8, 8)), uniform(2, 7))


def test_rollout_of_two_layers_by_hand():
    first = torch.eye(3, dtype=torch.float64)
    first[1] = torch.tensor([0, 0, 1])  # the first patch takes all from the second
    second = torch.eye(3, dtype=torch.float64)
    second[0] = torch.tensor([0, 1, 0])  # then the class token takes all from the first
    shares = attention_maps.rollout(torch.stack([first, second])[None, :, None])
    assert shares.tolist() == [[0.5, 0.5]]
    assert attention_maps.rollout(torch.stack([second, first])[None, :, None]).tolist() == [[1, 0]]


def test_blanking_takes_the_first_of_the_order(pictures):
    order = torch.stack([torch.randperm(49) for _ in pictures])
    patch = int(order[3, 0])
    row, column = 4 * (patch // 7), 4 * (patch % 7)
    wanted = pictures[3].clone()
    wanted[row : row + 4, column : column + 4] = 0
    assert torch.equal(attention_maps.blank(pictures, order, 1, patch_size=4)[3], wanted)
    assert not attention_maps.blank(pictures, order, 49, patch_size=4).any()


def test_deleting_nothing_changes_nothing_and_deleting_all_leaves_one_answer(pictures):
    model, labels = ViT(ViTConfig(depth=1)), torch.arange(5)
    order = torch.arange(49).expand(5, -1)
    nothing, everything = attention_maps.deletion(model, pictures, labels, order, [0, 49])
    assert torch.equal(nothing, evaluate(model, pictures, labels).predictions == labels)
    answer = evaluate(model, torch.zeros_like(pictures), labels).predictions.unique()
    assert len(answer) == 1
    assert torch.equal(everything, labels == answer)


def test_a_paired_distance_counts_what_differs():
    first = torch.tensor([True, False, False, False, True, False])
    second = torch.tensor([True, True, True, True, False, False])
    assert attention_maps.paired_distance(first, second) == pytest.approx((3 - 1) / 4**0.5)
    assert attention_maps.paired_distance(second, first) == pytest.approx(-1)
    assert attention_maps.paired_distance(first, first) == 0


@pytest.mark.parametrize("count", [-1, 50])
def test_more_patches_than_there_are_get_one_sentence(pictures, count):
    order = torch.arange(49).expand(5, -1)
    with pytest.raises(ValueError, match=f"count is {count}, but has to be 0 to 49, the number of patches"):
        attention_maps.blank(pictures, order, count, patch_size=4)
