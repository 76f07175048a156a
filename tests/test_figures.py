"""What the pages show of the network, its images and its source code."""

import re
from base64 import b64decode
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from vitlib import ViTConfig, cost, homework
from vitlib.model import ViT, attention, patchify
from vitlib.report import diagrams, image_figures, output

CONFIGS = [ViTConfig(), ViTConfig(image_size=15, patch_size=5, embed_dim=6, num_heads=3, depth=2, num_classes=7)]


def pictures(shown):
    """Return the PNGs of an output as arrays."""
    found = re.findall(r"data:image/png;base64,([^\"]+)", shown.forms["text/html"])
    return [np.array(Image.open(BytesIO(b64decode(data)))) for data in found]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_steps_of_the_diagram_have_all_parameters(config):
    assert sum(step.parameters for step in diagrams.network_steps(config)) == cost.model(config).parameters
    assert sum(step.parameters for step in diagrams.layer_steps(config)) == cost.encoder_layer(config).parameters


def test_a_gallery_shows_each_class_as_the_data_set_has_it():
    labels = torch.arange(10).repeat(3)
    images = torch.randint(256, (30, 28, 28), dtype=torch.uint8)
    shown = pictures(image_figures.classes(images, labels, 2))
    assert [picture.tolist() for picture in shown] == images[20:].tolist()


def test_the_patches_stand_apart_in_the_order_of_the_tokens():
    image = torch.randint(256, (6, 6), dtype=torch.uint8)
    cut = patchify(image[None, None], 2).view(-1, 2, 2)
    whole, apart = pictures(image_figures.patches(image, cut))
    assert whole.tolist() == image.tolist()
    found = [apart[y : y + 2, x : x + 2, 0].tolist() for y in (0, 3, 6) for x in (0, 3, 6)]
    assert found == cut.tolist()
    assert apart[2, :, 1].max() == 0  # between the patches the page shows through


def test_a_mistakes_probability_is_never_rounded_to_certainty():
    probabilities = torch.zeros(1, 10)
    probabilities[0, 3], probabilities[0, 4] = 0.9997, 0.0003
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    html = image_figures.mistakes(image, torch.tensor([5]), torch.tensor([4]), probabilities).forms["text/html"]
    assert "Dress above 99.9 %, Coat below 0.1 %" in html


def test_source_shows_methods_under_their_class_without_docstrings():
    shown = output.source(ViT, "__init__", "forward").data
    assert shown.startswith("```python\nclass ViT(nn.Module):\n    def __init__(self, config: ViTConfig, ")
    assert "super().__init__()" in shown
    assert '"""' not in shown
    assert output.source(attention).data.startswith("```python\ndef attention(q: Tensor")


@pytest.mark.parametrize("value", ["91 %", True, np.float64(0.5), None])
def test_only_numbers_are_quoted(value):
    with pytest.raises(TypeError, match=r"accuracy is .*, but must be an int or a float"):
        output.quote(accuracy=value)


def test_a_summary_row_is_the_homeworks_whatever_its_underscores():
    ours = SimpleNamespace(index=5, type="Multi_HeadAttention", output_shape=(-1, 50, 64), parameters=0)
    theirs = SimpleNamespace(index=5, type="MultiHeadAttention", output_shape=(-1, 50, 64), parameters=0)
    assert homework.is_summary_row(ours, theirs)
    for name, other in (("index", 6), ("type", "Norm"), ("output_shape", (-1, 64)), ("parameters", 1)):
        assert not homework.is_summary_row(ours, SimpleNamespace(**vars(theirs) | {name: other}))
