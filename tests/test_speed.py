"""The benchmark measures side by side, and its figures follow from its results."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from tests.conftest import TINY
from vitlib import TrainConfig, ViT, data, measure, paths

sys.path.insert(0, str(paths.ROOT / "benchmarks"))
try:
    import peers
    import speed
finally:
    sys.path.pop(0)

CPU = torch.device("cpu")


def test_every_contestant_is_measured_in_every_round_after_warming_up():
    calls = []
    contestants = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    kept = measure.interleaved(contestants, rounds=2, warmup=1, say=lambda _: None)
    assert [sorted(calls[i : i + 3]) for i in (0, 3, 6)] == [["a", "b", "c"]] * 3
    assert sorted(value for values in kept.values() for value in values) == [4, 5, 6, 7, 8, 9]


def test_a_ratio_is_taken_round_by_round():
    assert measure.over([6, 9], [2, 9]) == [3, 1]
    assert measure.spread([3, 1, 7]) == {"median": 3, "low": 1, "high": 7, "n": 3}


def test_the_usual_loop_sees_the_images_that_ours_sees():
    images, labels = (part[:8] for part in data.load("train"))
    pictures = peers.Pictures(images, labels)
    seen = torch.stack([pictures[i][0] for i in range(8)])
    torch.testing.assert_close(seen, data.normalise(images).unsqueeze(1))
    assert [pictures[i][1] for i in range(8)] == labels.tolist()


def test_the_usual_loop_learns():
    images, labels = (part[:64] for part in data.load("train"))
    loop = peers.UsualLoop(ViT(TINY), images, labels, CPU, workers=0, batch_size=32)
    before = loss(loop.model, images, labels)
    for _ in range(5):
        loop.epoch()
    loop.steps(3)  # goes on over the end of the data
    assert loss(loop.model, images, labels) < before


def loss(model, images, labels):
    with torch.inference_mode():
        return torch.nn.functional.cross_entropy(model(data.normalise(images).unsqueeze(1)), labels)


def test_every_peer_has_the_homeworks_dimensions():
    for package in ("timm", "transformers", "vit_pytorch"):
        pytest.importorskip(package, reason=f"{package} is only needed by benchmarks/speed.py")
    config = TrainConfig().model
    ours = sum(p.numel() for p in ViT(config).parameters())
    made = {name: make().eval() for name, make in peers.models(config).items()}
    assert len(made) == 5
    for name, model in made.items():
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10), name
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(ours, rel=0.03), name


def test_missing_peers_get_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "timm.models.vision_transformer", None)
    with pytest.raises(SystemExit, match=r"timm.* is missing; run: pip install -r requirements-benchmarks\.txt"):
        speed.throughput(speed.Bench(CPU, speed.SMOKE, smoke=True))


@pytest.fixture
def bench():
    """Return a bench whose sections take a second."""
    effort = replace(speed.SMOKE, batches=(16,), depths=(1,), widths=(8,), patches=(14,), seeds=(2,), peers=False)
    made = speed.Bench(CPU, effort, smoke=True)
    made.base, made.recipe = (replace(config, model=TINY) for config in (made.base, made.recipe))
    return made


def test_the_sections_give_what_the_figures_need(bench):
    results = {name: speed.SECTIONS[name](bench) for name in ("throughput", "growth", "seeds", "profile")}
    for shares in zip(*results["profile"]["shares"].values(), strict=True):
        assert sum(shares) == pytest.approx(1)
    results["time"] = {
        "raced": {"ours": speed.race_ours(bench, [0, 1]), "usual": speed.race_usual(bench, [0, 1]), "warm": []}
    }
    figures = speed.figures_of(json.loads(json.dumps(results)), on_gpu=False)
    assert set(figures) == {
        "share_of_matmul_peak",
        "epoch_ms",
        "seeds_2_over_1",
        "time_to_8517_ratio",
        "time_to_8517_s",
    }
    for figure in figures.values():
        assert 0 < figure["low"] <= figure["median"] <= figure["high"]


MODELS = ("this report", "timm", "torchvision")


def made_up(rounds=(1.0, 2.0, 3.0)):
    """Return results with round numbers: ours 400 times the round, peers 100 and 200 in the usual loop."""
    speeds = {"usual loop: this report": 50, "usual loop: timm": 100, "usual loop: torchvision": 200}
    speeds |= {f"our loop: {m}": 400 for m in (*MODELS, "this report, AdamW")}
    speeds |= {f"inference: {m}": 900 for m in MODELS}
    speeds |= {"peak of products: float32": 8000, "peak of products: bfloat16": 9000, "peak of traffic": 10}
    environment = {"device": "a machine"}
    rows, measured = {}, {}
    for axis in ("batch", "seeds"):
        for value in (1, 2):
            rows[f"{axis}: {value}"] = {"axis": axis, "value": value, "images_a_step": value, "flops": 10}
            measured[f"{axis}: {value}"] = [5.0 * value]
            measured[f"forward and backward: {value}"] = [6000.0 * value]
    usual = {"seed": 0, "seconds": 60.0, "accuracy": 0.86, "accuracies": [0.84, 0.86]}
    ours = {"seed": 0, "seconds": 10.0, "stepping_seconds": 8.0, "accuracy": 0.853}
    return {
        "throughput": {
            "measured": {name: [value * r for r in rounds] for name, value in speeds.items()},
            "workers": 0,
            "usual_batch": 128,
            "parameters": dict.fromkeys(MODELS, 200_000),
            "train_flops": 10,
            "environment": environment,
        },
        "growth": {"measured": measured, "rows": rows},
        "seeds": {"measured": {"1": [100.0], "4": [300.0]}, "seeds": 4, "batch": 128},
        "time": {
            "raced": {"ours": [ours], "usual": [usual], "warm": []},
            "target": 0.8517,
            "recipe": {"epochs": 2, "train_images": 40_000},
        },
    }


def test_figures_worked_by_hand():
    figures = speed.figures_of(made_up(), on_gpu=False)
    medians = {name: figure["median"] for name, figure in figures.items()}
    assert medians == {
        "throughput_over_fastest_peer": 2.0,
        "share_of_matmul_peak": 0.5,
        "epoch_ms": 5000.0,
        "seeds_4_over_1": 3.0,
        "time_to_8517_ratio": 6.0,
        "time_to_8517_s": 10.0,
    }
    assert figures["time_to_8517_s"]["reached"] == 1


def test_warm_runs_count_where_there_are_some():
    results = made_up()
    results["time"]["raced"]["warm"] = [{"seconds": s, "accuracy": a} for s, a in ((1.0, 0.86), (2.0, 0.84))]
    figure = speed.figures_of(results, on_gpu=True)["time_to_8517_s"]
    assert (figure["mean"], figure["reached"], figure["n"]) == (1.5, 1, 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("NVIDIA H100 80GB HBM3", "h100"), ("Tesla T4", "t4"), ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090")],
)
def test_a_gpu_goes_by_its_short_name(monkeypatch, name, kind):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert speed.kind_of(torch.device("cuda")) == kind
