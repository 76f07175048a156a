"""What ours is held against: four packages' Vision Transformers in the homework's dimensions, and the usual loop.

The usual loop is what tutorials show: a data set that hands out one PIL image at a time, torchvision's transforms, a
DataLoader, eager float32, Adam.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import VisionTransformer

from vitlib import ViTConfig
from vitlib.data import MEAN, STD


def models(config: ViTConfig) -> dict[str, Callable[[], nn.Module]]:
    """Return what makes each peer's model, from images (B, 1, 28, 28) to logits (B, 10), in `config`'s dimensions.

    Raises:
        ImportError: a package is not installed.
    """
    import timm.models.vision_transformer
    import transformers
    import vit_pytorch
    from vit_pytorch.simple_vit import SimpleViT

    width, heads = config.embed_dim, config.num_heads
    common = {"image_size": config.image_size, "patch_size": config.patch_size, "num_classes": config.num_classes}
    lucidrains = common | {
        "dim": width,
        "depth": config.depth,
        "heads": heads,
        "dim_head": width // heads,
        "mlp_dim": config.hidden_dim,
        "channels": config.channels,
    }

    def of_timm() -> nn.Module:
        return timm.models.vision_transformer.VisionTransformer(
            img_size=config.image_size,
            patch_size=config.patch_size,
            in_chans=config.channels,
            num_classes=config.num_classes,
            embed_dim=width,
            depth=config.depth,
            num_heads=heads,
            mlp_ratio=config.mlp_ratio,
        )

    def of_torchvision() -> nn.Module:
        model = VisionTransformer(
            num_layers=config.depth, num_heads=heads, hidden_dim=width, mlp_dim=config.hidden_dim, **common
        )
        model.conv_proj = nn.Conv2d(
            config.channels, width, config.patch_size, config.patch_size
        )  # it takes no channels
        return model

    def of_transformers() -> nn.Module:
        settings = transformers.ViTConfig(
            hidden_size=width,
            num_hidden_layers=config.depth,
            num_attention_heads=heads,
            intermediate_size=config.hidden_dim,
            image_size=config.image_size,
            patch_size=config.patch_size,
            num_channels=config.channels,
            num_labels=config.num_classes,
        )
        return Logits(transformers.ViTForImageClassification(settings))

    return {
        "timm": of_timm,
        "vit-pytorch ViT": lambda: vit_pytorch.ViT(**lucidrains),
        "vit-pytorch SimpleViT": lambda: SimpleViT(**lucidrains),
        "transformers": of_transformers,
        "torchvision": of_torchvision,
    }


class Logits(nn.Module):
    """A model of transformers that answers with its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, Y)."""
        return self.model(pixel_values=images).logits


class Pictures(Dataset):
    """Images handed out one by one, as torchvision's FashionMNIST does it: from PIL, through its transforms."""

    def __init__(self, images: Tensor, labels: Tensor, flip: bool = False) -> None:
        self.images, self.labels = images, labels
        mirror = [transforms.RandomHorizontalFlip()] if flip else []
        self.transform = transforms.Compose([*mirror, transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy(), mode="L")), int(self.labels[index])


class UsualLoop:
    """A model in the usual loop, to be stepped.

    Args:
        model: from images (B, 1, 28, 28) to logits (B, Y).
        images: uint8 (N, 28, 28).
        labels: int64 (N,).
        device: where to train.
        workers: processes of the DataLoader; on a GPU its memory is pinned.
        batch_size: B.
    """

    def __init__(
        self, model: nn.Module, images: Tensor, labels: Tensor, device: torch.device, workers: int, batch_size: int
    ) -> None:
        self.model, self.device, self.workers = model.to(device), device, workers
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.loader = DataLoader(
            Pictures(images, labels),
            batch_size,
            shuffle=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            drop_last=True,
        )
        self._batches = self._endless()

    def steps(self, number: int) -> None:
        """Take some steps, going on where the last call stopped."""
        self.model.train()
        for _ in range(number):
            self._step(*next(self._batches))

    def epoch(self) -> None:
        """Take the steps of one epoch."""
        self.model.train()
        for images, labels in self.loader:
            self._step(images, labels)

    def _step(self, images: Tensor, labels: Tensor) -> None:
        images, labels = images.to(self.device), labels.to(self.device)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        loss.item()  # for the running loss that such loops print

    def _endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader
