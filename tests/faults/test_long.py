"""A long training: memory stays flat, and the history is whole."""

import json
import sys

from tests.faults import trial
from tests.faults.test_killed import CONFIG
from vitlib import load_run, paths

PROGRAM = """
import json, sys
import psutil
from vitlib import TrainConfig, train
used = []
def progress(line):
    if line.startswith("epoch"):
        used.append(psutil.Process().memory_info().rss)
config = TrainConfig.from_dict(json.loads(sys.argv[1]))
train(config, sys.argv[2], device="cpu", compiled=False, progress=progress)
print(json.dumps(used))
"""
MB = 2**20


def test_memory_stays_flat_over_a_thousand_epochs_and_the_history_is_whole(tmp_path):
    epochs = trial.count(40, 1000)
    settings = CONFIG.to_dict() | {"epochs": epochs, "train_images": 128}
    command = [sys.executable, "-c", PROGRAM, json.dumps(settings), str(tmp_path / "run")]
    status, said = trial.call(command, paths.ROOT, timeout=1200)
    assert status == 0, said
    used = json.loads(said.splitlines()[-1])
    history = load_run(tmp_path / "run").history
    assert [row["epoch"] for row in history] == list(range(1, epochs + 1))
    assert len(used) == epochs
    early, late = used[epochs // 10], max(used[-epochs // 10 :])
    assert late - early < 16 * MB, f"{early / MB:.1f} MB after a tenth of the epochs, {late / MB:.1f} MB at the end"
    trial.note(
        f"Memory after {epochs // 10} of {epochs:,} epochs, and at most over the last {epochs // 10}",
        f"{early / MB:.1f} MB, {late / MB:.1f} MB",
        "thousand_epochs",
    )
