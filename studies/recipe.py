"""Choose the recipe: train variants of it and note how each does on the validation images, never on the test set.

    python studies/recipe.py

Writes studies/recipe.csv, a row per variant. Runs are kept in build/recipe/, so that a stopped study goes on where it
was. On two cores it takes an hour.
"""

import csv
from dataclasses import replace

from vitlib import TrainConfig, ViTConfig, paths, train
from vitlib.config import differences

SHORT = TrainConfig(epochs=3)
LONG = TrainConfig(epochs=30)
VARIANTS = (
    [SHORT]
    + [replace(SHORT, model=ViTConfig(num_heads=heads)) for heads in (2, 8)]
    + [replace(SHORT, muon_lr=rate) for rate in (0.0025, 0.01)]
    + [replace(SHORT, lr=rate) for rate in (0.002, 0.008)]
    + [replace(SHORT, optimizer="adamw", lr=rate) for rate in (0.001, 0.002, 0.004)]
    + [replace(SHORT, batch_size=size) for size in (64, 256)]
    + [replace(SHORT, label_smoothing=0.1), replace(SHORT, flip=False), replace(SHORT, crop=2)]
    + [replace(SHORT, precision="float32")]
    + [replace(LONG, crop=2), LONG]
)
TABLE = paths.ROOT / "studies" / "recipe.csv"


def main() -> None:
    """Train every variant that is not there yet and write the table."""
    rows = []
    for config in VARIANTS:
        changed = ", ".join(f"{name}={value}" for name, value in differences(config, TrainConfig()).items())
        print(changed, flush=True)
        run = train(config, paths.ROOT / "build" / "recipe" / config.digest)
        last = run.history[-1]
        rows.append(
            {
                "digest": config.digest,
                "settings": changed,
                "validation_accuracy": last["validation_accuracy"],
                "validation_loss": last["validation_loss"],
            }
        )
    scratch = TABLE.with_suffix(".part")
    with scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    scratch.replace(TABLE)
    print(f"{len(rows)} variants in {paths.show(TABLE)}")


if __name__ == "__main__":
    main()
