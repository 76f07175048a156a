"""Compare how fast this tree trains with how fast another commit does, in turns.

    python benchmarks/before.py HEAD~1

Prints the median speed of both for two batch sizes, and the ratio with its range over the rounds. Run it on an idle
machine. Both are measured by this tree's hosts.py and measure.py.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import hosts
import measure
import torch

# neither this nor hosts and measure import vitlib: each process imports the one of its tree
ROOT = Path(__file__).resolve().parent.parent
BATCHES = {"cpu": (128, 512), "cuda": (128, 2048), "smoke": (32,)}
ROUNDS = {"cpu": 9, "cuda": 15, "smoke": 1}


def make_epochs(tree: Path, device: str, effort: str, batch: int) -> Callable[[], float]:
    """Return what trains for an epoch with the code of a tree, at the benchmark's settings, and returns images/s."""
    sys.path[:0] = [str(tree), str(tree / "benchmarks")]
    import speed

    bench = speed.Bench(torch.device(device), effort)
    return bench.epochs(replace(bench.base, batch_size=batch))


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Yield a folder that holds the files of a commit; SystemExit if there is no such commit."""
    with tempfile.TemporaryDirectory() as folder:
        packed, tree = Path(folder) / "tree.tar", Path(folder) / "tree"
        command = ["git", "-C", str(ROOT), "archive", f"--output={packed}", commit]
        result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if result.returncode:
            reason = result.stderr.strip().splitlines()[-1]
            raise SystemExit(f"commit is {commit!r}, but must be one that git knows: {reason}")
        with tarfile.open(packed) as archive:
            archive.extractall(tree, filter="data")
        yield tree


def compare(commit: str, device: str, effort: str) -> None:
    """Measure each batch size in both trees, and print a line for each."""
    os.environ.setdefault("FASHION_MNIST", str(ROOT / ".data"))
    with checkout(commit) as tree:
        for batch in BATCHES[effort]:
            with ExitStack() as stack:
                contestants = {
                    name: stack.enter_context(hosts.Host(name, make_epochs, folder, device, effort, batch))
                    for name, folder in ((commit, tree), ("this tree", ROOT))
                }
                hosts.start(contestants.values(), processes=1)
                before, now = measure.interleave(contestants, ROUNDS[effort]).values()
            ratio = measure.summarise(measure.ratios(now, before))
            speeds = f"{statistics.median(before):,.0f} -> {statistics.median(now):,.0f} images/s"
            print(f"batch {batch}: {speeds}, {ratio['median']:.3f} times ({ratio['low']:.3f} to {ratio['high']:.3f})")


def main() -> None:
    """Compare with the commit that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="a commit as git names it, such as HEAD~1")
    parser.add_argument("--smoke", action="store_true", help="measure a small size once, on the CPU")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() and not options.smoke else "cpu"
    compare(options.commit, device, "smoke" if options.smoke else device)


if __name__ == "__main__":
    main()
