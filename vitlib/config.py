"""Settings: what defines the network, and what defines a training run.

Both classes are frozen, keyword-only and validated, so code that receives one need not check it again. They hold only
what changes the result. The device and the progress display are arguments of `vitlib.train`.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, field, fields
from functools import wraps
from typing import Annotated, Any, Literal, Self, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

CLASSES = (  # the name of each label of Fashion-MNIST
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
TRAIN_IMAGES = 60_000  # images in Fashion-MNIST's training set
IMAGES_OF_A_CLASS = 1_000  # in its test set
IMAGES = {  # what Fashion-MNIST fixes of a network
    "image_size": (28, "the pixels along a side of its images"),
    "channels": (1, "the channels of its grey images"),
    "num_classes": (10, "the number of its classes"),
}

Dimension = Annotated[int, Field(ge=1, le=2**16)]
ImageCount = Annotated[int, Field(ge=1, le=TRAIN_IMAGES)]
Count = Annotated[int, Field(ge=1, le=10**6)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Probability = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]


def require(holds: bool, name: str, value: object, wanted: str) -> None:
    """Raise a ValueError of one sentence that names the value and what would be right, unless `holds`."""
    if not holds:
        raise ValueError(f"{name} is {value!r}, but must be {wanted}.")


def complaint(error: ValidationError, known: Iterable[str]) -> str:
    """Return pydantic's first complaint as one sentence that names the value and what would be right.

    Args:
        error: what pydantic raised.
        known: the names that the object has, for one that it does not have.
    """
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"])) or error.title
    if first["type"] == "value_error":  # raised by our own check, a sentence already
        return str(first["ctx"]["error"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"setting is {name!r}, but must be one of {', '.join(sorted(known))}."
    if first["type"] == "missing":
        return f"{name} is missing."
    if first["type"] == "json_invalid":
        return f"{name} is not valid JSON."
    value = first["input"]
    sentence = f"{name} is {value!r}, but must {re.sub(r'^.*? should ', '', first['msg'])}"
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?|\d*\.\d+)[eE][-+]?\d+", value):
        return f"{sentence} (YAML reads {value} as text: write {float(value):.1e})."
    return f"{sentence}."


T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def _settings(cls: type[T]) -> type[T]:
    """Make a frozen, keyword-only class of validated settings; wrong ones are a ValueError of one sentence."""
    options = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    validated: Any = dataclass(frozen=True, kw_only=True, config=options)(cls)
    validate = validated.__init__

    @wraps(validate)
    def init(self: object, **values: object) -> None:
        try:
            validate(self, **values)
        except ValidationError as error:
            raise ValueError(complaint(error, (f.name for f in fields(validated)))) from None

    validated.__init__ = init
    return validated


@_settings
class ViTConfig:
    """The dimensions of a Vision Transformer; the defaults are the homework's.

    Raises:
        ValueError: a dimension is out of range, the patches do not tile the image, or the heads do not divide the
            width.
    """

    image_size: Dimension = 28  # pixels along a side
    patch_size: Dimension = 4  # pixels along a side, P
    channels: Dimension = 1  # C
    embed_dim: Dimension = 64  # width of a token, D
    depth: Dimension = 4  # encoder layers, L
    num_heads: Dimension = 4  # attention heads, H
    mlp_ratio: Dimension = 4  # width of the MLP's hidden layer over D
    num_classes: Dimension = 10  # Y
    dropout: BelowOne = 0.0  # share of the MLP's outputs set to zero in training
    share_norm: bool = True  # one LayerNorm per block, applied twice (the homework's network), or two

    def __post_init__(self) -> None:
        tiled = self.image_size % self.patch_size == 0
        require(tiled, "patch_size", self.patch_size, f"a divisor of image_size={self.image_size}")
        divided = self.embed_dim % self.num_heads == 0
        require(divided, "embed_dim", self.embed_dim, f"a multiple of num_heads={self.num_heads}")

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
        """Values in a flattened patch: P squared times C."""
        return self.patch_size**2 * self.channels

    @property
    def hidden_dim(self) -> int:
        """Width of the MLP's hidden layer, F = mlp_ratio D."""
        return self.mlp_ratio * self.embed_dim


@_settings
class TrainConfig:
    """Everything that defines the result of a training run.

    Raises:
        ValueError: a setting is unknown or out of range, or asks for more images than there are.
    """

    model: ViTConfig = field(default_factory=ViTConfig)
    epochs: Count = 20
    batch_size: ImageCount = 128
    optimizer: Literal["adamw", "muon"] = "muon"  # "muon": Muon on the encoder's matrices and AdamW on the rest
    lr: NonNegative = 0.004  # AdamW's peak learning rate
    muon_lr: NonNegative = 0.005  # Muon's peak learning rate
    weight_decay: NonNegative = 0.01  # decoupled, on matrices only
    warmup: BelowOne = 0.1  # share of the steps over which the learning rates rise linearly to their peaks
    schedule: Literal["linear", "constant"] = "linear"  # after the warmup: down to zero, or constant
    flip: bool = True  # mirror each training image with probability 1/2
    crop_padding: Annotated[int, Field(ge=0, le=28)] = 0  # pad by this many pixels, then crop at random
    erase: Probability = 0.0  # share of training images with a random rectangle erased
    mixup: Probability = 0.0  # share of training images blended with another
    label_smoothing: BelowOne = 0.0
    teacher: Annotated[str, Field(pattern=r"^[a-z0-9-]*$")] = ""  # in studies/teachers; its views replace the images
    teacher_weight: Probability = 0.5  # weight of the distillation loss; the labels' loss has the rest
    temperature: Annotated[float, Field(gt=0)] = 1.0  # divides all logits in the distillation loss
    train_images: ImageCount = 55_000  # images trained on, taken from the training set
    validation_images: Annotated[int, Field(ge=0, le=TRAIN_IMAGES)] = 5_000  # images held out of the training set
    precision: Literal["float32", "bfloat16"] = "bfloat16"  # of training: bfloat16 where the processor has fast
    # bfloat16, else float32 (the manifest says which); the weights that a step changes are always float32
    seed: Seed = 0  # of weights, order and augmentation; the split does not use it

    def __post_init__(self) -> None:
        for name, (size, what) in IMAGES.items():
            value = getattr(self.model, name)
            require(value == size, f"model.{name}", value, f"{size}, {what}")
        require(self.batch_size <= self.train_images, "batch_size", self.batch_size, f"at most {self.train_images}")
        images = self.train_images + self.validation_images
        wanted = f"at most {TRAIN_IMAGES}, the size of the training set"
        require(images <= TRAIN_IMAGES, "train_images + validation_images", images, wanted)

    @property
    def digest(self) -> str:
        """Identity of the run: 12 hexadecimal digits over every setting that differs from `BASELINE`."""
        settings = {RENAMED.get(name, name): value for name, value in _flatten(self.to_dict()).items()}
        changed = {name: value for name, value in settings.items() if value != BASELINE[name]}
        return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as nested plain values, ready for JSON."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the configuration that `to_dict` gave, also of an earlier version.

        A setting that is missing had the value of `BASELINE`, whatever the default is now.

        Raises:
            ValueError: a setting is unknown or out of range.
        """
        require(isinstance(values, dict), "configuration", values, "settings by name")
        require(isinstance(values.get("model", {}), dict), "model", values.get("model"), "settings by name")
        settings: dict[str, Any] = BASELINE | _flatten(values)
        for name, value in RETIRED.items():
            stored = settings.pop(name, value)
            require(stored == value, name, stored, f"{value!r}: this version has no other")
        current = {old: new for new, old in RENAMED.items()}
        settings = {current.get(name, name): value for name, value in settings.items()}
        model = {name.removeprefix("model."): settings.pop(name) for name in [*settings] if name.startswith("model.")}
        return cls(**settings, model=ViTConfig(**model))


@_settings
class TeacherConfig:
    """What defines a teacher: Wide ResNets, and augmented copies of the training images (views) that they answer.

    The images and their augmentations are those of the run that learns from it.

    Raises:
        ValueError: a setting is unknown or out of range, or the layers do not form three groups of equal blocks.
    """

    networks: Count = 2  # whose logits are averaged
    depth: Count = 16  # layers with weights, 6 n + 4: three groups of n blocks
    width: Count = 4  # the groups have 16, 32 and 64 times as many channels
    epochs: Count = 30
    batch_size: ImageCount = 512
    lr: NonNegative = 0.4  # peak learning rate
    weight_decay: NonNegative = 5e-4  # on matrices and filters
    views: Count = 40
    seed: Seed = 0  # of the first network and of the views; the next networks have the next seeds

    def __post_init__(self) -> None:
        require(self.depth % 6 == 4, "depth", self.depth, "6 n + 4, such as 10, 16 or 28")


# Digests of runs are computed from these two: never change a line. A new setting gets a line with the value that
# earlier runs had; a renamed one keeps its earlier name here; the line of one that goes moves to RETIRED.
BASELINE = {
    "model.image_size": 28,
    "model.patch_size": 4,
    "model.channels": 1,
    "model.embed_dim": 64,
    "model.depth": 4,
    "model.num_heads": 4,
    "model.mlp_ratio": 4,
    "model.num_classes": 10,
    "model.dropout": 0.0,
    "model.share_norm": True,
    "epochs": 20,
    "batch_size": 128,
    "optimizer": "muon",
    "lr": 0.004,
    "muon_lr": 0.005,
    "weight_decay": 0.01,
    "warmup": 0.1,
    "schedule": "linear",
    "flip": True,
    "crop": 0,
    "erase": 0.0,
    "mixup": 0.0,
    "label_smoothing": 0.0,
    "teacher": "",
    "teacher_weight": 0.5,
    "temperature": 1.0,
    "train_images": 55_000,
    "validation_images": 5_000,
    "precision": "bfloat16",
    "seed": 0,
}
RENAMED = {"crop_padding": "crop"}  # today's name: the earlier one
RETIRED = {  # settings of earlier versions, and the only value at which a run of theirs is still read
    "model.drop_path": 0.0,
    "randaugment": 0.0,
    "cutmix": 0.0,
    "ema": 0.0,
    "ema_decay": 0.0,
    "sam": 0.0,
    "sam_rho": 0.0,
    "initialisation": "xavier",
}


def differences(a: TrainConfig, b: TrainConfig) -> dict[str, Any]:
    """Return the settings of `a` that differ from `b`, by dotted name (``model.depth``)."""
    of_a, of_b = _flatten(a.to_dict()), _flatten(b.to_dict())
    return {name: value for name, value in of_a.items() if value != of_b[name]}


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings by dotted name."""
    network = {f"model.{name}": value for name, value in values.get("model", {}).items()}
    return network | {name: value for name, value in values.items() if name != "model"}
