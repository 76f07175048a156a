"""What the runs of a variant answer to each image, in a file that pages read instead of the runs' weights.

``studies/results/<study>-answers.safetensors`` holds, by variant, float16 logits (S, N, Y) of its runs: of the test
images and, where there are any, of the validation images; with a teacher also its mean logits of the test images,
(N, Y). The largest logit of each image is subtracted, which changes no probability and keeps small differences exact.
Axes: S seeds, N images, Y classes.
"""

from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from vitlib import data, paths, runs
from vitlib.config import require
from vitlib.evaluate import Evaluation, evaluate
from vitlib.studies.study import Study
from vitlib.training import distillation
from vitlib.training.wide_resnet import answers

TEST, VALIDATION, TEACHER = "test", "validation", "teacher"


def file_of(study: Study) -> Path:
    """Return the file of a study's answers."""
    return study.table.with_name(f"{study.name}-answers.safetensors")


def gather(study: Study, variants: Sequence[str]) -> Path:
    """Let the finished runs of some variants, and their teachers, answer the images, and write the file.

    Raises:
        ValueError: a variant is unknown or has no row in the table, or a run with a row, or its teacher, is not here.
    """
    tensors = {}
    test_images, test_labels = data.load("test")
    for variant in variants:
        require(variant in study.variants, "variant", variant, f"one of {', '.join(study.variants)}")
        config = study.with_made_teacher(study.variants[variant])
        seeds = [row["seed"] for row in study.rows.values() if row["variant"] == variant]
        require(bool(seeds), "variant", variant, f"one with a row in {paths.relative(study.table)}")
        of_variant = [runs.load_run(study.folder(config) / f"seed-{seed}") for seed in seeds]
        sets = {TEST: (test_images, test_labels)}
        if config.validation_images:
            images, labels = data.load("train")
            index = data.training_split(config.train_images, config.validation_images)[1]
            sets[VALIDATION] = images[index], labels[index]
        for name, labelled in sets.items():
            logits = [evaluate(run, *labelled, dtype=torch.float32).logits for run in of_variant]
            tensors[f"{variant}/{name}"] = _compact(torch.stack(logits))
        if config.teacher:
            tensors[f"{variant}/{TEACHER}"] = _compact(answers(distillation.networks(config.teacher), test_images))
    path = file_of(study)
    runs.write_bytes(path, safetensors.torch.save(tensors))
    return path


def load(study: Study, variant: str, images: str = TEST) -> list[Evaluation]:
    """Return the answers of a variant's runs in the order of its seeds, or of its teacher alone.

    Args:
        study: the study.
        variant: one whose answers were gathered.
        images: ``"test"``, ``"validation"``, or ``"teacher"`` for the teacher's answers to the test images.

    Raises:
        ValueError: there are no such answers, or they are not those of the runs in the study's table.
    """
    path, name = file_of(study), f"{variant}/{images}"
    with runs.reading(path, "restore the file, or gather the answers again."):
        tensors = safetensors.torch.load(path.read_bytes())
    require(name in tensors, "answers", name, f"one of {', '.join(sorted(tensors))}")
    logits = tensors[name].double()
    config = study.with_made_teacher(study.variants[variant])
    if images == VALIDATION:
        labels = data.load("train")[1][data.training_split(config.train_images, config.validation_images)[1]]
    else:
        labels = data.load("test")[1]
    evaluations = [Evaluation(of_run, labels) for of_run in (logits if logits.ndim == 3 else logits[None])]
    if images == TEST:
        ours = [round(evaluation.accuracy, 6) for evaluation in evaluations]
        rows = [row["test_accuracy"] for row in study.rows.values() if row["variant"] == variant]
        # the table's are from float64
        same = len(ours) == len(rows) and all(abs(a - b) < 5e-4 for a, b in zip(ours, rows, strict=True))
        require(same, f"test accuracy of {variant!r}", ours, f"{rows}, as in {paths.relative(study.table)}")
    return evaluations


def _compact(logits: Tensor) -> Tensor:
    return (logits - logits.amax(-1, keepdim=True)).half().cpu().contiguous()
