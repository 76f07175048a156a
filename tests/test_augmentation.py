from dataclasses import replace

import pytest
import torch

from vitlib import TrainConfig
from vitlib.training.augmentation import augment, mix, sample_augmentations

PLAIN = TrainConfig(flip=False)


def generator():
    return torch.Generator().manual_seed(0)


def image(count=1):
    """Images of 28 x 28 pixels, no two rows, columns or corners alike."""
    return (torch.arange(784) * 37 % 251 + 1).byte().view(1, 28, 28).repeat(count, 1, 1)


def changed(images, **settings):
    config = replace(PLAIN, **settings)
    return augment(images, sample_augmentations(len(images), generator(), config), config)


def test_without_a_change_nothing_is_drawn_and_images_stay():
    assert sample_augmentations(5, generator(), PLAIN) == {}
    assert torch.equal(changed(image()), image())


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others():
    images = image(1000)
    seen = changed(images, flip=True)
    mirrored = (seen == images.flip(-1)).all(dim=(1, 2))
    same = (seen == images).all(dim=(1, 2))
    assert (mirrored ^ same).all()
    assert 400 < mirrored.sum() < 600


def test_crop_shifts_each_image_by_its_own_draw_and_fills_with_black():
    images = image(500)
    seen = changed(images, crop_padding=2)
    padded = torch.nn.functional.pad(images[0], (2, 2, 2, 2))
    windows = torch.stack([padded[i : i + 28, j : j + 28] for i in range(5) for j in range(5)])
    which = (seen[:, None] == windows[None]).all(dim=(2, 3))  # (images, windows)
    assert (which.sum(dim=1) == 1).all()
    assert which.any(dim=0).all()  # every one of the 25 shifts is drawn


def test_erasing_paints_one_grey_rectangle_on_the_share_of_images_that_was_asked_for():
    images = image(2000)
    seen = changed(images, erase=0.25)
    touched = (seen != images).any(dim=(1, 2))
    assert 0.21 < touched.float().mean() < 0.29
    for before, after in zip(images[touched][:50], seen[touched][:50], strict=True):
        rows, columns = torch.nonzero(before != after, as_tuple=True)
        box = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (box == box[0, 0]).all()  # a pixel that had this grey already is inside as well
        assert 0.01 < box.numel() / 784 < 0.45


def test_mixing_gives_classes_in_the_shares_that_are_seen():
    images = torch.arange(1, 201, dtype=torch.uint8).view(200, 1, 1).expand(200, 28, 28)  # each image one grey
    config = replace(PLAIN, mixup=1.0)
    seen, shares = mix(images, torch.eye(200), sample_augmentations(200, generator(), config)["mix"])
    assert torch.allclose(shares.sum(dim=1), torch.ones(200))
    assert torch.allclose(seen, (shares @ torch.arange(1, 201).float())[:, None, None].expand(200, 28, 28), rtol=1e-4)
    own = shares.diagonal()
    assert own.min() < 0.25
    assert own.max() > 0.9
    assert own.mean() == pytest.approx(0.5, abs=0.06)


def test_only_the_given_share_of_images_is_mixed():
    config = replace(PLAIN, mixup=0.25)
    weights = sample_augmentations(2000, generator(), config)["mix"]
    assert 0.21 < (weights < 1).float().mean() < 0.29


def test_mixing_stays_within_a_seed():
    images, targets = image(6).view(2, 3, 28, 28).clone(), torch.eye(6).view(2, 3, 6)
    draws = sample_augmentations(6, generator(), replace(PLAIN, mixup=1.0))["mix"].view(2, 3, 1)
    seen, shares = mix(images, targets, draws)
    assert seen.shape == images.shape
    assert (shares[0, :, 3:] == 0).all()
    assert (shares[1, :, :3] == 0).all()


def test_another_augmentation_does_not_change_the_samples_of_those_before_it():
    settings = replace(PLAIN, flip=True, crop_padding=2)
    few = sample_augmentations(9, generator(), settings)
    more = sample_augmentations(9, generator(), replace(settings, erase=0.5, mixup=0.5))
    assert torch.equal(few["crop_flip"], more["crop_flip"])
    assert set(more) == {"crop_flip", "erase", "mix"}
