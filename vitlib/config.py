"""Settings: what defines the model, and what defines a training run.

Both are frozen, keyword-only and validated when they are made, so that code which receives one need not check it
again. They hold only what changes the result; the device and the progress display are arguments of `vitlib.train`.
"""

import hashlib
import json
import math
import re
import sys
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("float32", "bfloat16")
SCHEDULES = ("linear", "constant")
INITIALISATIONS = ("xavier", "truncated", "mimetic")
TRAIN_IMAGES = 60_000  # images in Fashion-MNIST's training set
IMAGES = {  # what Fashion-MNIST asks of a network
    "image_size": (28, "the pixels along a side of its images"),
    "channels": (1, "the colours of its pixels"),
    "num_classes": (10, "the kinds of its clothes"),
}
LARGEST = 2**16  # dimension of a network


def require(holds: bool, name: str, value: object, wanted: str) -> None:
    """Raise a ValueError of one sentence that names the value and what would be right, unless `holds`."""
    if not holds:
        raise ValueError(f"{name} is {value!r}, but has to be {wanted}.")


def _whole(settings: object, low: int, high: int, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        right = isinstance(value, int) and not isinstance(value, bool) and value >= low
        require(right, name, value, f"a whole number of at least {low}")
        require(value <= high, name, value, f"at most {high}")


def _real(settings: object, low: float, high: float, *names: str) -> None:
    """Check numbers in [low, high) and store them as floats, so that 1 and 1.0 are the same setting."""
    wanted = f"a number of at least {low}" + (f" and below {high}" if math.isfinite(high) else "")
    for name in names:
        value = getattr(settings, name)
        right = isinstance(value, int | float) and not isinstance(value, bool) and low <= value < high
        right = right and value <= sys.float_info.max
        require(right, name, value, wanted)
        object.__setattr__(settings, name, float(value))


def _share(settings: object, *names: str) -> None:
    """Check numbers from 0 to 1, both included, and store them as floats."""
    for name in names:
        value = getattr(settings, name)
        right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        require(right, name, value, "a number from 0 to 1")
        object.__setattr__(settings, name, float(value))


def _flag(settings: object, *names: str) -> None:
    for name in names:
        require(isinstance(getattr(settings, name), bool), name, getattr(settings, name), "True or False")


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The dimensions of a Vision Transformer; the defaults are the homework's.

    Raises:
        ValueError: a dimension is out of range, the patches do not tile the image or the heads do not divide the
            width.
    """

    image_size: int = 28  # pixels a side
    patch_size: int = 4  # pixels a side, P
    channels: int = 1  # colours of a pixel, C
    embed_dim: int = 64  # width of a token, D
    depth: int = 4  # encoder layers
    num_heads: int = 4  # attention heads, H
    mlp_ratio: int = 4  # width of the MLP's hidden layer over D
    num_classes: int = 10
    dropout: float = 0.0  # share of the MLP's outputs set to zero while training
    drop_path: float = 0.0  # stochastic depth: share of images that skip a branch of the last layer while training
    share_norm: bool = True  # one LayerNorm per block, applied twice (the homework's model), or two

    def __post_init__(self) -> None:
        _whole(self, 1, LARGEST, "image_size", "patch_size", "channels", "embed_dim", "depth", "num_heads")
        _whole(self, 1, LARGEST, "mlp_ratio", "num_classes")
        _real(self, 0, 1, "dropout", "drop_path")
        _flag(self, "share_norm")
        require(
            self.image_size % self.patch_size == 0,
            "patch_size",
            self.patch_size,
            f"a divisor of image_size={self.image_size}",
        )
        require(
            self.embed_dim % self.num_heads == 0,
            "embed_dim",
            self.embed_dim,
            f"a multiple of num_heads={self.num_heads}",
        )

    @property
    def num_patches(self) -> int:
        """Patches of an image: (image_size / patch_size) squared."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        """Tokens of a sequence, N: the patches and the class token."""
        return self.num_patches + 1

    @property
    def patch_dim(self) -> int:
        """Numbers in a flattened patch: P squared times C."""
        return self.patch_size**2 * self.channels

    @property
    def hidden_dim(self) -> int:
        """Width of the MLP's hidden layer, F = mlp_ratio D."""
        return self.mlp_ratio * self.embed_dim


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that defines the result of a training run.

    Raises:
        ValueError: a setting is out of range, unknown, or asks for more images than there are.
    """

    model: ViTConfig = field(default_factory=ViTConfig)
    epochs: int = 20
    batch_size: int = 128
    optimizer: str = "muon"  # "muon": Muon on the encoder's matrices, AdamW on the rest; "adamw": AdamW on all
    lr: float = 0.004  # AdamW's peak learning rate
    muon_lr: float = 0.005  # Muon's peak learning rate
    weight_decay: float = 0.01  # decoupled, on matrices only
    warmup: float = 0.1  # share of the steps over which the learning rates rise linearly to their peaks
    schedule: str = "linear"  # after that "linear": they fall linearly to zero; "constant": they stay
    flip: bool = True  # mirror each training image left to right with probability 1/2
    crop: int = 0  # pad by this many pixels and crop at random, for each training image
    randaugment: float = 0.0  # strength, up to 1, of two random operations on each training image; 0: none
    erase: float = 0.0  # share of training images of which a random rectangle is painted over
    mixup: float = 0.0  # share of training images blended with another
    cutmix: float = 0.0  # share of training images with a rectangle of another
    label_smoothing: float = 0.0
    teacher: str = ""  # whose answers are learnt too: a file of studies/teachers, see vitlib/teacher.py
    teacher_weight: float = 0.5  # weight of those answers against the labels; without a teacher it means nothing
    ema: float = 0.0  # the final weights are a running average of the steps' with this decay; 0: the last step's
    sam: float = 0.0  # radius in which the loss is made flat: sharpness-aware minimisation; 0: not
    initialisation: str = "xavier"  # of the weights, see vitlib/initialise.py
    train_images: int = 55_000  # images trained on, taken from the training set
    validation_images: int = 5_000  # images held out of the training set
    precision: str = "bfloat16"  # of the products in training; weights and evaluation stay float32 and float64
    seed: int = 0  # of weights, order and augmentation; the split does not depend on it

    def __post_init__(self) -> None:
        require(isinstance(self.model, ViTConfig), "model", self.model, "a ViTConfig")
        for name, (size, what) in IMAGES.items():
            require(getattr(self.model, name) == size, f"model.{name}", getattr(self.model, name), f"{size}, {what}")
        _whole(self, 1, 10**6, "epochs")
        _whole(self, 1, TRAIN_IMAGES, "batch_size", "train_images", "validation_images")
        _whole(self, 0, self.model.image_size, "crop")
        _whole(self, 0, 2**63 - 1, "seed")
        _real(self, 0, math.inf, "lr", "muon_lr", "weight_decay")
        _real(self, 0, 1, "warmup", "label_smoothing", "ema")
        _share(self, "randaugment", "erase", "mixup", "cutmix", "teacher_weight")
        _real(self, 0, math.inf, "sam")
        require(self.mixup + self.cutmix <= 1, "mixup + cutmix", self.mixup + self.cutmix, "at most 1")
        named = isinstance(self.teacher, str) and re.fullmatch(r"[a-z0-9-]*", self.teacher)
        require(bool(named), "teacher", self.teacher, "the name of a file in studies/teachers: a-z, 0-9 and hyphens")
        _flag(self, "flip")
        require(self.optimizer in OPTIMIZERS, "optimizer", self.optimizer, f"one of {', '.join(OPTIMIZERS)}")
        require(
            self.initialisation in INITIALISATIONS,
            "initialisation",
            self.initialisation,
            f"one of {', '.join(INITIALISATIONS)}",
        )
        require(self.schedule in SCHEDULES, "schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        require(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        require(self.batch_size <= self.train_images, "batch_size", self.batch_size, f"at most {self.train_images}")
        require(
            self.train_images + self.validation_images <= TRAIN_IMAGES,
            "train_images + validation_images",
            self.train_images + self.validation_images,
            f"at most {TRAIN_IMAGES}, the size of the training set",
        )

    @property
    def digest(self) -> str:
        """Identity of the run: 12 hexadecimal digits over the settings that differ from their defaults.

        Defaults are left out so that a setting added later leaves the identity of earlier runs as it was.
        """
        text = json.dumps(differences(self, type(self)()), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as nested plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the configuration that `to_dict` gave; ValueError for an unknown setting."""
        _known(cls, values)
        model = values.get("model", {})
        _known(ViTConfig, model)
        return cls(**{**values, "model": ViTConfig(**model)})


def _known(settings: type, values: dict[str, Any]) -> None:
    require(isinstance(values, dict), settings.__name__, values, "settings by name")
    known = {f.name for f in fields(settings)}
    for name in values:
        require(name in known, "setting", name, f"one of {', '.join(sorted(known))}")


def differences(a: TrainConfig, b: TrainConfig) -> dict[str, Any]:
    """Return the settings of `a` that differ from `b`, by dotted name (``model.depth``)."""
    flat_a, flat_b = _flatten(a), _flatten(b)
    return {name: value for name, value in flat_a.items() if value != flat_b[name]}


def _flatten(config: TrainConfig) -> dict[str, Any]:
    values = config.to_dict()
    return {f"model.{k}": v for k, v in values.pop("model").items()} | values
