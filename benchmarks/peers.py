"""What we compare against: published Vision Transformers in the homework's dimensions, and the usual training loop.

The usual loop is the one tutorials show: a data set of single PIL images, torchvision's transforms, a DataLoader, eager
float32, Adam.
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
    """Return a factory per peer; its model maps images (B, 1, 28, 28) to logits (B, 10) in `config`'s dimensions.

    Raises:
        ImportError: a package is not installed.
    """
    import timm.models.vision_transformer as timm
    import transformers
    import vit_pytorch
    from vit_pytorch.simple_vit import SimpleViT

    width, depth, heads, hidden = config.embed_dim, config.depth, config.num_heads, config.hidden_dim
    size, patch, channels, classes = config.image_size, config.patch_size, config.channels, config.num_classes
    common = {"image_size": size, "patch_size": patch, "num_classes": classes}
    lucidrains = {"dim": width, "depth": depth, "heads": heads, "dim_head": width // heads, "mlp_dim": hidden}
    lucidrains |= common | {"channels": channels}
    timms = {"img_size": size, "patch_size": patch, "in_chans": channels, "num_classes": classes, "embed_dim": width}
    timms |= {"depth": depth, "num_heads": heads, "mlp_ratio": config.mlp_ratio}

    def torchvision_vit() -> nn.Module:
        model = VisionTransformer(num_layers=depth, num_heads=heads, hidden_dim=width, mlp_dim=hidden, **common)
        model.conv_proj = nn.Conv2d(channels, width, patch, patch)  # its constructor assumes three channels
        return model

    def transformers_vit() -> nn.Module:
        settings = transformers.ViTConfig(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=hidden,
            image_size=size,
            patch_size=patch,
            num_channels=channels,
            num_labels=classes,
        )
        return Logits(transformers.ViTForImageClassification(settings))

    return {
        "timm": lambda: timm.VisionTransformer(**timms),
        "vit-pytorch ViT": lambda: vit_pytorch.ViT(**lucidrains),
        "vit-pytorch SimpleViT": lambda: SimpleViT(**lucidrains),
        "transformers": transformers_vit,
        "torchvision": torchvision_vit,
    }


class Logits(nn.Module):
    """A model of transformers that returns its logits only."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, Y)."""
        return self.model(pixel_values=images).logits


class PILDataset(Dataset):
    """Single images, as torchvision's FashionMNIST returns them: from PIL, through its transforms."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy(), mode="L")), int(self.labels[index])


class UsualLoop:
    """A model in the usual training loop.

    Args:
        model: from images (B, 1, 28, 28) to logits (B, Y).
        images: uint8 (N, 28, 28).
        labels: int64 (N,).
        device: where to train.
        workers: processes of the DataLoader.
        batch_size: B.
    """

    def __init__(
        self, model: nn.Module, images: Tensor, labels: Tensor, device: torch.device, workers: int, batch_size: int
    ) -> None:
        self.model, self.device = model.to(device), device
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.loader = DataLoader(
            PILDataset(images, labels),
            batch_size,
            shuffle=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            drop_last=True,
        )
        self._batches = self._endless_batches()

    def train(self, steps: int) -> None:
        """Take some steps from where the last call stopped; ``len(loader)`` steps are an epoch."""
        self.model.train()
        for _ in range(steps):
            images, labels = (part.to(self.device) for part in next(self._batches))
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(images), labels)
            loss.backward()
            self.optimizer.step()
            loss.item()  # such loops print a running loss

    def _endless_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader
