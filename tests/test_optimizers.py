import pytest
import torch
from torch import nn

from vitlib.training.optimizers import Muon, muon_update, orthogonalise, orthogonalise_all


@pytest.mark.parametrize("shape", [(50, 50), (30, 70), (70, 20)])
def test_five_steps_bring_singular_values_near_one(shape):
    u, _, vh = torch.linalg.svd(torch.randn(4, *shape), full_matrices=False)
    values = torch.linspace(1, 4, u.shape[-1])
    assert values.min() > values.norm() / 50
    after = torch.linalg.svdvals(orthogonalise_all([u * values @ vh], torch.float32)[0])
    assert 0.6 < after.min() < after.max() < 1.3


def test_orthogonalising_keeps_the_singular_vectors():
    matrix = torch.randn(1, 4, 6)
    u, _, vh = torch.linalg.svd(matrix[0], full_matrices=False)
    rotated = u.T @ orthogonalise(matrix)[0] @ vh.T
    torch.testing.assert_close(rotated, rotated.diagonal().diag(), rtol=0, atol=1e-5)


def test_batched_muon_follows_torchs_muon():
    shapes = [(8, 8), (8, 8), (16, 8), (8, 16)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    mine = Muon(ours, lr=0.02, momentum=0.95, weight_decay=0.1)
    torchs = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.1)
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        mine.step()
        torchs.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-3)  # torch orthogonalises in bfloat16


def test_matrices_of_several_shapes_are_orthogonalised_as_each_alone():
    shapes = [(4, 4), (2, 7), (7, 2), (3, 5), (7, 2)]
    matrices = [torch.randn(3, *shape) for shape in shapes]
    for ours, each in zip(orthogonalise_all(matrices, torch.float32), matrices, strict=True):
        alone = orthogonalise(each) if each.shape[1] <= each.shape[2] else orthogonalise(each.mT).mT
        torch.testing.assert_close(ours, alone, rtol=1e-4, atol=1e-5)


def test_a_compiled_update_changes_the_same_tensors_by_the_same_amounts():
    def parameters():
        generator = torch.Generator().manual_seed(1)
        sets = [[torch.randn(shape, generator=generator) for shape in [(4, 4), (8, 4), (4, 8)]] for _ in range(3)]
        return [*sets, torch.tensor(0.02), 0.95, 0.1, torch.bfloat16]

    plain, compiled = parameters(), parameters()
    muon_update(*plain)
    torch.compile(muon_update, backend="aot_eager")(*compiled)
    for ours, theirs in zip(plain[:3], compiled[:3], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.equal(plain[0][0], parameters()[0][0])
