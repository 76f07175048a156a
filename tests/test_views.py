"""Views: the pictures that a teacher answers, drawn again for the runs that learn from it."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.conftest import SILENT, TINY
from tests.test_wide_resnet import TEACHER
from vitlib import TrainConfig, data, runs, train, train_seeds
from vitlib.training import distillation, views
from vitlib.training.engine import Engine
from vitlib.training.objective import make_loss

CONFIG = TrainConfig(
    model=TINY, epochs=2, batch_size=64, train_images=128, validation_images=100, crop_padding=1, mixup=0.5,
    teacher="owl", teacher_weight=1, temperature=2,
)  # fmt: skip
PLAIN = replace(CONFIG, flip=False, crop_padding=0, mixup=0)
UNTESTED = SILENT | {"test": "never"}
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(views, "FOLDER", tmp_path / "teachers")
    return tmp_path / "teachers"


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    """Return the folder of a teacher."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "FOLDER", tmp_path_factory.mktemp("teachers"))
        distillation.make("owl", TEACHER, CONFIG)
        return views.FOLDER


@pytest.fixture
def made(folder, owl):
    """Return the settings of a run with a teacher that was made."""
    shutil.copytree(owl, folder)
    return replace(CONFIG, teacher=views.find("owl", TEACHER, CONFIG))


def training_images():
    images, labels = data.load("train")
    index, _ = data.training_split(CONFIG.train_images, CONFIG.validation_images)
    return images[index], labels[index]


def test_a_view_shows_each_image_once_augmented_as_the_settings_say():
    images, labels = training_images()
    pictures, targets = views.draw(0, 0, PLAIN, images, labels)
    assert torch.equal(pictures, images)
    assert torch.equal(targets.argmax(1), labels)
    flipped, _ = views.draw(0, 0, replace(PLAIN, flip=True), images, labels)
    mirrored = [torch.equal(picture, image.flip(-1)) for picture, image in zip(flipped, images, strict=True)]
    kept = [torch.equal(picture, image) for picture, image in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 40 < sum(mirrored) < 88


def test_a_view_depends_on_its_number_and_seed_alone():
    images, labels = training_images()
    drawn = [(0, 0), (0, 0), (1, 0), (0, 1)]  # view, seed
    one, again, next_view, other_seed = (views.draw(*each, CONFIG, images, labels)[0] for each in drawn)
    assert torch.equal(one, again)
    assert not torch.equal(one, next_view)
    assert not torch.equal(one, other_seed)


def test_blends_of_two_images_are_exact_so_that_every_device_draws_them_alike():
    values = torch.randint(256, (10,))
    images = values.byte()[:, None, None].expand(10, 28, 28).contiguous()
    mixed = 0
    for view in range(40):
        pictures, targets = views.draw(view, 0, replace(PLAIN, mixup=0.8), images, torch.arange(10))
        weights = 256 * targets  # of each image, whole numbers: exact as integers
        assert torch.equal(weights, weights.round())
        exact = weights.long() @ values  # 256 times the blend
        rounded = torch.div(exact + 128, 256, rounding_mode="floor")
        half_way = exact % 256 == 128
        assert torch.equal(pictures[~half_way, 0, 0].long(), rounded[~half_way])
        mixed += (targets.amax(1) < 1).sum().item()
    assert mixed / 400 == pytest.approx(0.8, abs=0.06)


def test_a_run_sees_the_pictures_that_were_answered(made):
    pictures, targets = views.load(made, *training_images())
    assert pictures.shape == (TEACHER.views, 128, 28, 28)
    networks = distillation.networks(made.teacher)
    for view in range(TEACHER.views):
        drawn, labels = views.draw(view, TEACHER.seed, made, *training_images())
        assert torch.equal(pictures[view], drawn)
        assert torch.equal(targets[view, :, 0].float(), labels)
        answers = distillation.answers(networks, drawn)
        torch.testing.assert_close(targets[view, :, 1].float(), answers, atol=5e-3, rtol=0)


def test_a_teacher_is_named_after_its_content_and_made_once(made, folder, monkeypatch):
    path = folder / f"{made.teacher}.safetensors"
    assert made.teacher == f"owl-{runs.sha256(path)[:12]}"
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert [runs.sha256(file) for file in sorted(folder.glob("networks/*/*.safetensors"))] == [
        network["weights_sha256"] for network in about["networks"]
    ]
    assert 0 < about["validation_accuracy"] < 1
    monkeypatch.setattr(distillation, "fit", None)
    assert distillation.make("owl", TEACHER, CONFIG) == made.teacher
    assert views.find("owl", TEACHER, replace(CONFIG, seed=7, epochs=9, temperature=4)) == made.teacher
    for other in (replace(TEACHER, views=4), replace(TEACHER, seed=1)):
        assert views.find("owl", other, CONFIG) is None
    assert views.find("owl", TEACHER, replace(CONFIG, erase=0.5)) is None


def test_making_a_teacher_continues_after_the_last_finished_network(folder, owl, monkeypatch):
    fitted, fit = [], distillation.fit

    def stopped(*arguments):
        if fitted:
            raise KeyboardInterrupt
        fitted.append(1)
        return fit(*arguments)

    monkeypatch.setattr(distillation, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        distillation.make("owl", TEACHER, CONFIG)
    monkeypatch.setattr(distillation, "fit", lambda *arguments: fitted.append(1) or fit(*arguments))
    continued = distillation.make("owl", TEACHER, CONFIG)
    assert len(fitted) == TEACHER.networks
    assert (owl / f"{continued}.json").is_file()  # the same content as without a stop


def test_lost_answers_are_given_again_by_the_networks_but_only_if_they_are_the_same(made, folder, monkeypatch):
    path, record = folder / f"{made.teacher}.safetensors", (folder / f"{made.teacher}.json").read_bytes()
    before = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(distillation, "fit", None)
    assert distillation.make("owl", TEACHER, CONFIG) == made.teacher
    assert path.read_bytes() == before
    assert [file.read_bytes() for file in folder.glob("*.json")] == [record]
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "answers", lambda networks, images: torch.zeros(len(images), 10))
        with pytest.raises(ValueError, match=rf"teacher is 'owl-.*', but must be {made.teacher}: answered on this"):
            distillation.make("owl", TEACHER, CONFIG)
    next(folder.glob("networks/*/*.safetensors")).unlink()
    with pytest.raises(ValueError, match="but must be a file with SHA-256"):
        distillation.make("owl", TEACHER, CONFIG)


def test_a_teacher_without_validation_images_is_made_too(folder):
    config = replace(CONFIG, validation_images=0)
    name = distillation.make("owl", replace(TEACHER, networks=1, epochs=1), config)
    assert "validation_accuracy" not in views.record(name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"teacher": "owl"}, r"teacher is 'owl', but must be a teacher in .* \(owl-[0-9a-f]{12}\)\."),
        ({"erase": 0.5}, r"erase is 0\.5, but must be 0\.0, as in the views of teacher='owl-"),
        ({"validation_images": 99}, "validation_images is 99, but must be 100, as in the views"),
    ],
)
def test_another_teacher_or_other_pictures_get_one_sentence(made, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        views.load(replace(made, **change), *training_images())


def test_altered_answers_and_pictures_are_refused(made, folder, monkeypatch):
    draw = views.draw
    monkeypatch.setattr(views, "draw", lambda *arguments: (draw(*arguments)[0] // 2, draw(*arguments)[1]))
    with pytest.raises(ValueError, match=r"this machine draws others; make the teacher here"):
        views.load(made, *training_images())
    path = folder / f"{made.teacher}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"teacher is 'owl-.*, but must be named after its content"):
        views.load(made, *training_images())
    next(folder.glob("networks/*/*.safetensors")).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"the weights of a teacher is .*, but must be a file with SHA-256"):
        distillation.networks(made.teacher)


def test_the_teachers_content_belongs_to_the_runs_identity(made, folder, tmp_path):
    run = train(made, tmp_path / "run", **UNTESTED)
    other = replace(made, teacher=distillation.make("owl", replace(TEACHER, networks=1), CONFIG))
    assert other.digest != made.digest
    with pytest.raises(ValueError, match="run holds a run with teacher="):
        train(other, tmp_path / "run", **UNTESTED)
    taught = train(other, tmp_path / "other", **UNTESTED)
    assert taught.history[-1]["train_loss"] != run.history[-1]["train_loss"]


def test_a_seed_sees_every_view_of_every_image_once_in_as_many_epochs_as_there_are_views(monkeypatch):
    V, N = 3, 128
    pictures = torch.zeros(V, N, 28, 28, dtype=torch.uint8)
    pictures[..., 0, 0], pictures[..., 0, 1] = torch.arange(V)[:, None], torch.arange(N)
    engine = Engine(replace(CONFIG, train_images=N), pictures, torch.zeros(V, N, 2, 10), CPU, seeds=2, compiled=False)
    seen = []

    def loss(images, _):
        seen.append(images[..., 0, :2].clone())
        return torch.zeros(2, requires_grad=True)

    monkeypatch.setattr(engine, "loss_function", loss)
    for optimizer in engine.optimizers:
        monkeypatch.setattr(optimizer, "step", lambda: None)
    engine.begin([0, 1])
    for epoch in range(2 * V):
        engine.epoch(epoch)
    in_passes = torch.cat(seen, dim=1).view(2, 2, V * N, 2).tolist()  # seed, pass, picture, (view, image)
    for of_seed in in_passes:
        for of_pass in of_seed:
            assert sorted(map(tuple, of_pass)) == [(v, n) for v in range(V) for n in range(N)]
    assert in_passes[0] != in_passes[1]


def test_the_loss_weighs_softened_answers_against_labels_by_hand():
    logits, answers = torch.randn(5, 10), torch.randn(5, 10).half()
    labels = torch.randint(10, (5,))
    targets = torch.stack([F.one_hot(labels, 10).half(), answers], dim=1)

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(logits)

        def forward(self, images):
            return self.logits

    p, log_q = (answers.float() / 3).softmax(1), (logits / 3).log_softmax(1)
    softened = 9 * -(p * log_q).sum(1).mean()
    plain = -logits.log_softmax(1)[torch.arange(5), labels].mean()
    for weight in (1, 0.25):
        config = replace(CONFIG, temperature=3, teacher_weight=weight, precision="float32")
        loss = make_loss(Fixed(), config)(torch.zeros(5, 28, 28), targets)
        torch.testing.assert_close(loss, weight * softened + (1 - weight) * plain)


def test_seeds_with_a_teacher_learn_together_what_each_learns_alone(made, tmp_path):
    config = replace(made, teacher_weight=0.7, precision="float32")
    together = train_seeds(config, [0, 1], tmp_path / "together", **UNTESTED)
    for seed, run in zip((0, 1), together, strict=True):
        alone = train(replace(config, seed=seed), tmp_path / f"alone-{seed}", **UNTESTED)
        losses = [[row["train_loss"] for row in each.history] for each in (run, alone)]
        assert losses[0] == pytest.approx(losses[1], abs=5e-5)
