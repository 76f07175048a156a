"""The benchmark compares like with like."""

import os
import re
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import before
import hosts
import measure
import peers
import pytest
import speed
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
        nine = stack.enter_context(hosts.Host("nine", partial, pow, 3, 2))
        killed = stack.enter_context(hosts.Host("killed", partial, os._exit, 1))
        hosts.start([nine, killed], processes=1)
        assert measure.interleave({"nine": nine}, rounds=2, warmup=1) == {"nine": [9, 9]}
        with pytest.raises(SystemExit, match="killed cannot be measured: its process was killed"):
            killed()


def test_the_quick_form_leaves_the_peers_in_their_usual_loop(monkeypatch):
    monkeypatch.setattr(peers, "models", lambda config: {"a peer": lambda: ViT(config)})
    bench = speed.Bench(CPU, "quick smoke", workers=0)
    with ExitStack() as stack:
        names = {name for section in speed.SECTIONS for name in speed.cases_of(bench, section, stack)}
    assert names == {
        "usual loop: this report", "usual loop: a peer", "our loop: this report", "matmul peak: float32",
        "matmul peak: bfloat16", "16", "32", "1", "2", "profile", "warm",
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


def test_every_section_measures_each_contestant(monkeypatch):
    monkeypatch.setattr(peers, "models", lambda config: {"a peer": lambda: ViT(config)})
    monkeypatch.setattr(speed, "_race_in_new_process", lambda bench, loop, seed: lambda: race[loop](seed))
    bench = speed.Bench(CPU, "smoke")
    bench.base, bench.recipe = (replace(config, model=TINY) for config in (bench.base, bench.recipe))
    race = {"ours": speed.race_ours(bench), "usual": lambda seed: speed.race_usual(bench, seed)}
    results = {}
    for name in speed.SECTIONS:
        with ExitStack() as stack:
            results[name] = speed.run_section(bench, name, speed.cases_of(bench, name, stack))
    for name in ("throughput", "batches", "seeds"):
        assert results[name]["measured"].keys() == speed.SECTIONS[name].contestants(bench).keys()
        assert all(value > 0 for values in results[name]["measured"].values() for value in values)
    for shares in zip(*results["profile"]["shares"].values(), strict=True):
        assert sum(shares) == pytest.approx(1)
    raced = results["time"]["raced"]
    assert [len(raced[loop]) for loop in ("ours", "usual", "warm")] == [1, 1, 0]
    assert all(0 < row["accuracy"] < 1 for rows in raced.values() for row in rows)


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
    file = tree / "vitlib" / "training" / "engine.py"
    code = file.read_text(encoding="utf-8")
    for text in (f"{code}\nEngine.images_per_epoch = property(lambda _: 0.001, lambda *_: None)\n", code):
        file.write_text(text, encoding="utf-8")
        git(tree, "commit", "--quiet", "--all", "--message", "change the engine")
    command = [sys.executable, tree / "benchmarks" / "before.py", "--smoke", "HEAD~1"]
    status, output = call(command, cwd=tree, FASHION_MNIST=str(data.default_root()))
    assert status == 0
    assert float(re.search(r"^batch 32: 0 -> .* images/s, ([\d.]+) times", output, re.MULTILINE)[1]) > 10


def test_a_commit_that_does_not_exist_gets_one_sentence():
    sentence = r"^commit is 'nowhere', but must be one that git knows: fatal: [^\n]+$"
    with pytest.raises(SystemExit, match=sentence), before.checkout("nowhere"):
        pass
