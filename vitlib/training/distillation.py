"""Makes teachers: trains their networks, and keeps what these answer to the views of a run's training images.

Axes: V views, N images of L by L pixels, Y classes.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from filelock import FileLock
from torch import Tensor

from vitlib import data, paths, runs
from vitlib.config import TeacherConfig, TrainConfig, require
from vitlib.evaluate import Evaluation
from vitlib.training import provenance, views
from vitlib.training.wide_resnet import WideResNet, answers, fit, load

Labelled = tuple[Tensor, Tensor]  # images uint8 (N, L, L), labels int64 (N,)


def make(name: str, teacher: TeacherConfig, config: TrainConfig) -> str:
    """Train a teacher, store its logits for all views, and return its full name. A finished teacher is reused.

    It prints a line per network, and one at the end.

    If it is stopped, the same call continues after the last finished network. A second process waits for the first.
    Where only the answers of a finished teacher are missing, its networks give them again.

    Args:
        name: lower-case letters, digits and hyphens; the hash of the content is added.
        teacher: its settings.
        config: those of the run that will learn from it.

    Raises:
        ValueError: the networks of a finished teacher are missing with its answers, or now give others.
    """
    folder = _folder(views.definition(teacher, config))
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        existing = views.find(name, teacher, config)
        if existing and (views.FOLDER / f"{existing}.safetensors").is_file():
            return existing
        if existing:
            networks(existing)  # a ValueError if one is missing: another network would make another teacher
        return _make(name, teacher, config, existing)


def _make(name: str, teacher: TeacherConfig, config: TrainConfig, existing: str | None) -> str:
    device = _device()
    record: dict[str, Any] = {"definition": views.definition(teacher, config), "start": provenance.environment(device)}
    images, labels = data.load("train")
    index, held_out = data.training_split(config.train_images, config.validation_images)
    training, validation = (images[index].to(device), labels[index].to(device)), (images[held_out], labels[held_out])
    trained: list[WideResNet] = []
    record["networks"] = []
    for seed in range(teacher.seed, teacher.seed + teacher.networks):
        path = _folder(record["definition"]) / f"{seed}.safetensors"
        if not path.is_file():
            _train(path, teacher, config, training, validation, seed)
        trained.append(load(safetensors.torch.load_file(path), teacher, device))
        network = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        network |= {"weights_sha256": runs.sha256(path)}
        record["networks"].append(network)
        print(f"teacher {name}, network {len(trained)} of {teacher.networks}: {_in_words(network)}", flush=True)
    began = time.perf_counter()
    content = _answer(trained, record, teacher, config, training)
    record["answers_sha256"] = hashlib.sha256(content).hexdigest()
    record["answering_seconds"] = round(time.perf_counter() - began, 1)
    record |= _validated(trained, validation)
    full_name = f"{name}-{record['answers_sha256'][: views.HASH_DIGITS]}"
    wanted = f"{existing}: answered on this machine, the views get other logits; use the machine that made it"
    require(existing in (None, full_name), "teacher", full_name, wanted)
    runs.write_bytes(views.FOLDER / f"{full_name}.safetensors", content)
    if not existing:
        runs.write_json(views.FOLDER / f"{full_name}.json", record)
    print(
        f"teacher {full_name}: answered {teacher.views} views in {record['answering_seconds']} s; {_in_words(record)}",
        flush=True,
    )
    return full_name


def _train(
    path: Path, teacher: TeacherConfig, config: TrainConfig, training: Labelled, validation: Labelled, seed: int
) -> None:
    """Train a network, and write its weights and, beside them, what is known of it."""
    device, began = training[0].device, time.perf_counter()
    network = fit(teacher, config, *training, seed, device)
    record: dict[str, Any] = {"seed": seed, "seconds": round(time.perf_counter() - began, 1)}
    record |= _validated([network], validation) | {"device": provenance.device_name(device), "code": provenance.code()}
    runs.write_json(path.with_suffix(".json"), record)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    runs.write_bytes(path, safetensors.torch.save(tensors))  # last: a network with weights is finished


def _answer(
    networks: Sequence[WideResNet],
    record: dict[str, Any],
    teacher: TeacherConfig,
    config: TrainConfig,
    training: Labelled,
) -> bytes:
    """Return the content of a teacher's file: logits, the sums that identify the pictures, and what made them."""
    logits = torch.empty(teacher.views, len(training[1]), len(data.CLASSES), dtype=torch.float16)
    pixel_sums = torch.empty(teacher.views, dtype=torch.int64)
    for view in range(teacher.views):
        pictures, _ = views.draw(view, teacher.seed, config, *training)
        logits[view] = answers(networks, pictures)
        pixel_sums[view] = pictures.sum()
    weights = [network["weights_sha256"] for network in record["networks"]]
    identity = {"definition": record["definition"], "weights_sha256": weights}
    return safetensors.torch.save({"answers": logits, "pixel_sums": pixel_sums}, {"about": json.dumps(identity)})


def networks(full_name: str) -> list[WideResNet]:
    """Return the networks of a teacher, on a GPU if there is one.

    Raises:
        ValueError: there is no such teacher, or its weights are not here or not those of its record.
    """
    record = views.record(full_name)
    teacher = TeacherConfig(**{field.name: record["definition"][field.name] for field in fields(TeacherConfig)})
    loaded = []
    for network in record["networks"]:
        path = _folder(record["definition"]) / f"{network['seed']}.safetensors"
        digest = runs.sha256(path) if path.is_file() else "nothing"
        wanted = f"a file with SHA-256 {network['weights_sha256'][:12]}… (found: {digest[:12]}): restore it"
        require(digest == network["weights_sha256"], "the weights of a teacher", paths.relative(path), wanted)
        loaded.append(load(safetensors.torch.load_file(path), teacher, _device()))
    return loaded


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _folder(definition: dict[str, Any]) -> Path:
    """Return the folder of a teacher's weights."""
    digest = hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
    return views.FOLDER / "networks" / digest[: views.HASH_DIGITS]


def _validated(networks: Sequence[WideResNet], validation: Labelled) -> dict[str, float]:
    """Return the accuracy of the networks' mean answer, or nothing without validation images."""
    images, labels = validation
    if not len(images):
        return {}
    seen = Evaluation(answers(networks, images).double().cpu(), labels)
    return {"validation_accuracy": round(seen.accuracy, 6)}


def _in_words(record: dict[str, Any]) -> str:
    accuracy = record.get("validation_accuracy")
    return "no validation images" if accuracy is None else f"validation {100 * accuracy:.2f} %"
