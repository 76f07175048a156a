"""The benchmark compares like with like, and its summary follows from its stored results."""

import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import hosts
import measure
import peers
import pytest
import speed
import summary
import torch

from tests.conftest import TINY, call, git
from vitlib import TrainConfig, ViT, data, paths

CPU = torch.device("cpu")


def test_every_case_is_measured_in_every_round_after_the_warmup():
    calls = []
    cases = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    kept = measure.interleave(cases, rounds=2, warmup=1)
    assert [sorted(calls[i : i + 3]) for i in (0, 3, 6)] == [["a", "b", "c"]] * 3
    assert sorted(value for values in kept.values() for value in values) == [4, 5, 6, 7, 8, 9]


def test_no_round_begins_after_the_time_of_a_section_but_one_is_kept():
    assert len(measure.interleave({"a": lambda: time.sleep(0.02)}, rounds=50, warmup=1, seconds=0.1)["a"]) < 10
    assert measure.interleave({"a": lambda: 1}, rounds=3, warmup=1, seconds=0) == {"a": [1]}


def test_hosts_measure_in_processes_of_their_own_and_name_one_that_was_killed():
    with ExitStack() as stack:
        nine = stack.enter_context(hosts.Host(partial, pow, 3, 2))
        killed = stack.enter_context(hosts.Host(partial, os._exit, 1))
        hosts.start([nine, killed], processes=1)
        assert measure.interleave({"nine": nine}, rounds=2, warmup=1) == {"nine": [9, 9]}
        with pytest.raises(SystemExit, match="1 cannot be measured: its process was killed"):
            killed()


def test_the_quick_form_leaves_the_peers_in_their_usual_loop(monkeypatch):
    monkeypatch.setattr(peers, "models", lambda config: {"a peer": lambda: ViT(config)})
    bench = speed.Bench(CPU, "quick smoke", workers=0)
    with ExitStack() as stack:
        names = {name for section in speed.SECTIONS for name in speed.cases_of(bench, section, stack)}
    assert names == {
        "usual loop: this report", "usual loop: a peer", "our loop: this report", "matmul peak: float32",
        "matmul peak: bfloat16", "batch: 16", "batch: 32", "1", "2", "profile", "warm",
    }  # fmt: skip


def test_the_usual_loop_gets_the_same_normalised_images_as_ours():
    images, labels = (part[:8] for part in data.load("train"))
    dataset = peers.PILDataset(images, labels)
    torch.testing.assert_close(torch.stack([dataset[i][0] for i in range(8)]), data.normalise(images).unsqueeze(1))
    assert [dataset[i][1] for i in range(8)] == labels.tolist()


def test_the_usual_loop_lowers_the_loss():
    images, labels = (part[:64] for part in data.load("train"))
    loop = peers.UsualLoop(ViT(TINY), images, labels, CPU, workers=0, batch_size=32)

    @torch.inference_mode()
    def loss():
        return torch.nn.functional.cross_entropy(loop.model(data.normalise(images).unsqueeze(1)), labels)

    before = loss()
    loop.train(11)  # more than five epochs of two steps
    assert loss() < before


def test_every_peer_has_the_homeworks_dimensions():
    for package in ("timm", "transformers", "vit_pytorch"):
        pytest.importorskip(package, reason=f"{package} is only needed by benchmarks/speed.py")
    config = TrainConfig().model
    ours = sum(p.numel() for p in ViT(config).parameters())
    models = {name: make().eval() for name, make in peers.models(config).items()}
    assert len(models) == 5
    for name, model in models.items():
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10), name
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(ours, rel=0.03), name


def test_a_missing_peer_is_reported_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "timm.models.vision_transformer", None)
    with pytest.raises(SystemExit, match=r"timm.* is missing; run: pip install -r requirements-benchmarks\.txt"):
        speed.throughput(speed.Bench(CPU, "smoke"))


def test_the_summary_follows_from_what_the_sections_write(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "models", lambda config: {"a peer": lambda: ViT(config)})
    bench = speed.Bench(CPU, "smoke")
    bench.base, bench.recipe = (replace(config, model=TINY) for config in (bench.base, bench.recipe))

    def measured(section):
        with ExitStack() as stack:
            return speed.run_section(bench, section, speed.cases_of(bench, section, stack))

    results = {name: measured(name) for name in ("throughput", "growth", "seeds", "profile")}
    for shares in zip(*results["profile"]["shares"].values(), strict=True):
        assert sum(shares) == pytest.approx(1)
    race = speed.race_ours(bench)
    raced = {"ours": [race(0), race(1)], "usual": [speed.race_usual(bench, seed) for seed in (0, 1)], "warm": []}
    results["time"] = {"raced": raced, "target": speed.TARGET}
    for name, result in results.items():
        (tmp_path / f"speed-a-gpu-{name}.json").write_text(json.dumps(result), encoding="utf-8")
    figures = summary.summary_of(tmp_path)["a-gpu"]
    assert set(figures) == set(summary.summary_of(summary.RESULTS)["cpu"])
    for figure in figures.values():
        assert 0 < figure["low"] <= figure["median"] <= figure["high"]


def test_the_committed_summary_follows_from_the_committed_results():
    committed = json.loads((summary.RESULTS / "summary.json").read_text(encoding="utf-8"))
    assert committed == summary.summary_of(summary.RESULTS)


def test_an_epoch_is_the_engines_and_not_its_forward_and_backward_passes():
    measured = {"batch: 1": [10.0, 20.0, 40.0], "batch: 2": [50.0, 60.0, 30.0], "seeds: 4": [90.0] * 3}
    measured |= {"forward and backward: 1": [800.0] * 3, "forward and backward: 2": [600.0] * 3}
    rows = {name: {"axis": name.split(":")[0], "value": int(name[-1])} for name in ("batch: 1", "batch: 2", "seeds: 4")}
    figures = summary.growth({"measured": measured, "rows": rows})
    assert figures["epoch_ms"] == {"median": 1_200_000, "low": 1_000_000, "high": 2_000_000, "n": 3, "batch": 2}
    assert figures["forward_and_backward_ms"]["median"] == 100_000


@pytest.mark.parametrize(
    ("environment", "utilisation"),
    [
        ({"device": "NVIDIA H200", "device_kind": "cuda"}, 0.25),
        ({"device": "H100 simulator", "device_kind": "cpu"}, 0.5),
        ({"device": "a CPU"}, 0.5),
    ],
)
def test_a_gpu_is_recognised_by_its_kind_and_not_by_its_name(environment, utilisation):
    measured = {
        "usual loop: this report": [50, 50],
        "usual loop: timm": [100, 100],
        "usual loop: torchvision": [200, 50],
    }
    measured |= {"our loop: this report": [400, 400], "our loop: timm": [900, 900]}
    measured |= {"matmul peak: float32": [8000, 8000], "matmul peak: bfloat16": [16_000, 16_000]}
    figures = summary.throughput({"measured": measured, "train_flops": 10, "environment": environment})
    assert figures["matmul_peak_utilisation"]["median"] == utilisation
    # the fastest peer by its median is torchvision; ratios are taken round by round
    assert figures["throughput_over_fastest_peer"] == {"median": 5, "low": 2, "high": 8, "n": 2}


def test_a_race_counts_compiled_seeds_where_they_were_measured():
    ours, usual = [{"seconds": 10.0, "accuracy": 0.853}], [{"seconds": 60.0, "accuracy": 0.86}]
    warm = [{"seconds": seconds, "accuracy": accuracy} for seconds, accuracy in ((1.0, 0.86), (2.0, 0.84))]
    cold = summary.time({"raced": {"ours": ours, "usual": usual, "warm": []}, "target": 0.8517})
    assert cold["time_to_target_ratio"]["median"] == 6
    assert (cold["time_to_target_s"]["median"], cold["time_to_target_s"]["reached"]) == (10, 1)
    figure = summary.time({"raced": {"ours": ours, "usual": usual, "warm": warm}, "target": 0.8517})["time_to_target_s"]
    assert (figure["median"], figure["reached"], figure["n"]) == (1.5, 1, 2)


@pytest.mark.parametrize(
    ("name", "short"),
    [("NVIDIA H100 80GB HBM3", "h100"), ("Tesla T4", "t4"), ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090")],
)
def test_a_gpus_results_are_named_by_its_short_name(monkeypatch, name, short):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert speed.short_name(torch.device("cuda")) == short


def test_the_speed_is_compared_with_that_of_another_commits_code(tmp_path):
    tree = tmp_path / "tree"
    git(tmp_path, "clone", "--quiet", "--depth", "1", paths.ROOT.as_uri(), tree)
    file = tree / "benchmarks" / "speed.py"
    code = file.read_text(encoding="utf-8")
    for text in ("raise SystemExit('this is the older code')\n", code):
        file.write_text(text, encoding="utf-8")
        git(tree, "commit", "--quiet", "--all", "--message", "change the benchmark")

    def compare(commit):
        command = [sys.executable, tree / "benchmarks" / "before.py", "--smoke", commit]
        return call(command, cwd=tree, FASHION_MNIST=str(data.default_root()))

    status, output = compare("HEAD")
    assert status == 0
    assert output.count(" images/s, ") == 1
    status, output = compare("HEAD~1")
    assert status == 1
    assert "HEAD~1 cannot be measured: this is the older code" in output
    assert git(tree, "worktree", "list").count("\n") == 1
