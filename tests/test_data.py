import gzip
import shutil

import pytest
import torch

from tests.conftest import damage
from vitlib import data

FILES = list(data.SHA256)


@pytest.fixture(scope="module")
def raw(test_set, tmp_path_factory):
    """Return a folder with the four files, decompressed."""
    folder = data.default_root() / "FashionMNIST" / "raw"
    found = folder if folder.is_dir() else data.default_root()
    raw = tmp_path_factory.mktemp("data") / "raw"
    raw.mkdir()
    for name in FILES:
        plain, archive = found / name, found / f"{name}.gz"
        (raw / name).write_bytes(plain.read_bytes() if plain.is_file() else gzip.decompress(archive.read_bytes()))
    return raw


def test_splits_have_the_published_shapes_and_balance():
    for split, count in (("train", 6000), ("test", 1000)):
        images, labels = data.load(split)
        assert (images.shape, images.dtype) == ((10 * count, 28, 28), torch.uint8)
        assert (labels.dtype, labels.bincount().tolist()) == (torch.int64, [count] * 10)


def test_unknown_split_gets_one_sentence():
    with pytest.raises(ValueError, match="split is 'valid', but must be 'train' or 'test'"):
        data.load("valid")


def test_a_folder_of_archives_is_enough(raw, tmp_path, no_source, test_set):
    for name in FILES[2:]:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes(), 1))
    assert torch.equal(data.load("test", tmp_path)[0], test_set[0])


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_file_is_rejected_by_name_and_checksum(raw, tmp_path, no_source, how):
    for name in FILES[2:]:
        shutil.copy(raw / name, tmp_path)
    damage(tmp_path / FILES[3], how)
    with pytest.raises(data.DataError) as error:
        data.load("test", tmp_path)
    assert f"{FILES[3]} is rejected: its content has SHA-256" in str(error.value)
    assert data.SHA256[FILES[3]][:12] in str(error.value)
    assert "no route to host" in str(error.value)


def test_a_damaged_file_is_downloaded_again(raw, tmp_path, monkeypatch, capsys, test_set):
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    for name in FILES:
        shutil.copy(raw / name, tmp_path / "FashionMNIST" / "raw")
    damage(tmp_path / "FashionMNIST" / "raw" / FILES[2], "flipped")
    monkeypatch.setattr(data, "download_from_torchvision", lambda scratch: raw)
    assert torch.equal(data.load("test", tmp_path)[0], test_set[0])
    said = capsys.readouterr().out
    assert "is rejected" in said
    assert "from torchvision's mirror, checksums verified" in said
    assert not list(tmp_path.glob(".fetch-*"))


def test_a_source_with_other_content_is_rejected(tmp_path, monkeypatch):
    fake = tmp_path / "fake"
    fake.mkdir()
    for name in FILES:
        (fake / name).write_bytes(b"not the data")
    monkeypatch.setattr(data, "download_from_torchvision", lambda scratch: fake)
    monkeypatch.setattr(data, "download_from_debian", lambda scratch: fake)
    with pytest.raises(data.DataError, match="is rejected"):
        data.load("train", tmp_path / "mine")
    assert not list((tmp_path / "mine").rglob("*ubyte"))


def test_training_and_validation_images_are_disjoint_and_inside():
    train, validation = data.training_split(55_000, 5_000)
    both = torch.cat([train, validation])
    assert (len(train), len(validation)) == (55_000, 5_000)
    assert torch.equal(both.sort().values, torch.arange(60_000))


def test_a_smaller_training_split_keeps_the_validation_images():
    assert torch.equal(data.training_split(100, 5_000)[1], data.training_split(55_000, 5_000)[1])


@pytest.mark.parametrize("folder", ["~/fm", "~/fm/", "$MINE/fm", "${MINE}/fm"])
def test_a_home_or_a_variable_in_the_folder_of_the_data_means_what_it_means_in_a_shell(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINE", str(tmp_path))
    monkeypatch.setenv("FASHION_MNIST", folder)
    assert data.default_root() == tmp_path / "fm"


@pytest.mark.parametrize("folder", ["~nobody-of-this-name/fm", "$NOT_SET/fm"])
def test_an_unknown_home_or_variable_gets_one_sentence_and_makes_no_folder(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(data.DataError, match="but must name known users and variables only"):
        data.load("test", folder)
    assert not any(tmp_path.iterdir())


def test_a_relative_folder_is_taken_from_the_working_directory_as_in_torchvision(raw, monkeypatch, no_source):
    monkeypatch.chdir(raw)
    assert len(data.load("test", ".")[1]) == 10_000
    monkeypatch.chdir(raw.parent)
    assert len(data.load("test", "raw/")[1]) == 10_000
