import torch

from vitlib.augment import augment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def image(count=1):
    return torch.arange(1, 36, dtype=torch.uint8).repeat(2)[:49].view(1, 7, 7).repeat(count, 1, 1)


def test_without_a_change_images_stay():
    assert augment(image(), generator(), flip=False, crop=0) is not None
    assert torch.equal(augment(image(), generator(), flip=False, crop=0), image())


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others():
    images = image(1000)
    changed = augment(images, generator(), flip=True, crop=0)
    mirrored = (changed == images.flip(-1)).all(dim=(1, 2))
    same = (changed == images).all(dim=(1, 2))
    assert (mirrored ^ same).all()
    assert 400 < mirrored.sum() < 600


def test_crop_shifts_each_image_by_its_own_draw_and_fills_with_black():
    images = image(500)
    changed = augment(images, generator(), flip=False, crop=2)
    padded = torch.nn.functional.pad(images[0], (2, 2, 2, 2))
    windows = torch.stack([padded[i : i + 7, j : j + 7] for i in range(5) for j in range(5)])
    which = (changed[:, None] == windows[None]).all(dim=(2, 3))  # (images, windows)
    assert (which.sum(dim=1) == 1).all()
    assert which.any(dim=0).all()  # every one of the 25 shifts is drawn


def test_the_generator_decides():
    first, again, other = (augment(image(50), generator(seed), flip=True, crop=3) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
