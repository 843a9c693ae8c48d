"""Folders of images: samples depend on (seed, epoch, index) alone, and messages tell what is wrong with a folder."""

import logging
import warnings

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from PIL import Image
from skimage import data as photos
from torch.utils.data import DataLoader

from fastgs.data import Batch, EpochSampler, FolderDataModule, ImageFolder
from fastgs.data.folder import collate
from fastgs.io.images import ImageError, load_image

COUNT, HEIGHT, WIDTH = 10, 20, 28


def save(path, height=HEIGHT, width=WIDTH, seed=0, mode="RGB"):
    """Save an image whose red tells the column, green the row and blue the image, so that no two pixels are equal."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    pixels = np.stack([columns, rows, np.full_like(rows, seed)], axis=2)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for index in range(COUNT):
        save(tmp_path / "images" / f"{index:02}.png", seed=index)
    return tmp_path / "images"


def batches(dataset, sampler, workers=0, batch_size=2):
    return list(DataLoader(dataset, batch_size, sampler=sampler, collate_fn=collate, num_workers=workers))


# Samples


def test_sample_depends_on_seed_epoch_and_index_alone(folder):
    def sample(seed, epoch, index, **options):
        return ImageFolder(folder, crop=8, random_crop=True, flip=True, seed=seed, **options)[epoch, index]

    image, index, seed = sample(1, 2, 3)
    assert index == 3 and 0 <= seed < 2**63 and (image.shape, image.dtype) == ((3, 8, 8), torch.float32)
    again, *rest = sample(1, 2, 3, cache_megabytes=0)
    assert torch.equal(image, again) and rest == [index, seed]
    others = [sample(*key) for key in ((0, 2, 3), (1, 3, 3), (1, 2, 4))]
    assert len({seed, *(other[2] for other in others)}) == 4
    assert not any(torch.equal(image, other[0]) for other in others)


def test_workers_do_not_change_samples(folder):
    dataset = ImageFolder(folder, crop=8, random_crop=True, flip=True)
    for here, there in zip(
        batches(dataset, EpochSampler(dataset)), batches(dataset, EpochSampler(dataset), workers=2), strict=True
    ):
        assert isinstance(there, Batch) and there.indices.dtype == there.seeds.dtype == torch.int64
        assert all(torch.equal(*pair) for pair in zip(here, there, strict=True))


def test_crops_are_squares_from_anywhere_in_the_image(folder):
    whole = ImageFolder(folder)
    dataset = ImageFolder(folder, crop=18, random_crop=True, flip=True)
    places = set()
    for epoch in range(400):
        image, index, _ = dataset[epoch, epoch % COUNT]
        columns, rows = (image[:2] * 255).round().long()
        if columns[0, 0] == columns[0, -1]:  # transposed
            columns, rows, image = columns.T, rows.T, image.transpose(1, 2)
        left, top = int(columns.min()), int(rows.min())
        mirrored = bool(columns[0, 0] > columns[0, 1]), bool(rows[0, 0] > rows[1, 0])
        places.add((left, top, *mirrored))
        image = image.flip([2 - axis for axis in (0, 1) if mirrored[axis]])
        assert torch.equal(image, whole[index][0][:, top : top + 18, left : left + 18])
    assert len(places) > 110  # of 11 x 3 x 4 = 132
    assert {place[0] for place in places} == set(range(11)) and {place[1] for place in places} == {0, 1, 2}


def test_centre_crop_and_size_are_those_of_load_image(folder):
    path = folder / "00.png"
    assert torch.equal(ImageFolder(folder)[0][0], load_image(path))
    assert torch.equal(ImageFolder(folder, crop=20)[0][0], load_image(path, size=20))
    assert torch.equal(ImageFolder(folder, size=12)[0][0], load_image(path, size=12))
    assert torch.equal(ImageFolder(folder, size=12, crop=6)[0][0], load_image(path, size=12)[:, 3:9, 3:9])


def test_small_images_are_enlarged(folder):
    square = load_image(folder / "00.png", size=HEIGHT)
    assert torch.equal(ImageFolder(folder, crop=32)[0][0], load_image(square, size=32))
    assert ImageFolder(folder, crop=32, random_crop=True, flip=True)[5, 0][0].shape == (3, 32, 32)


def test_cache_is_bounded_and_does_not_change_samples(tmp_path, folder):
    save(folder / "alpha.png", mode="RGBA")
    save(folder / "gray.png", mode="L")
    save(folder / "palette.png", mode="P")
    Image.fromarray(np.arange(0, 65000, 100, dtype=np.uint16).reshape(25, 26)).save(folder / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)).save(folder / "turned.png", exif=turned)
    cached, fresh = ImageFolder(folder, cache_megabytes=1), ImageFolder(folder, cache_megabytes=0)
    for _ in range(2):
        for index, path in enumerate(cached.paths):
            assert torch.equal(cached[index][0], load_image(path)), path
            assert torch.equal(cached[index][0], fresh[index][0])
    assert len(cached._cache) == len(cached) and not fresh._cache
    for options in ({"size": 12}, {"size": 12, "crop": 12}, {}):
        dataset = ImageFolder(folder, **options)
        dataset[0][0].zero_()
        assert dataset[0][0].any()  # samples are copies

    large = tmp_path / "large"
    large.mkdir()
    for index in range(3):
        save(large / f"{index}.png", height=400, width=500)  # 0.57 MB each
    dataset = ImageFolder(large, crop=8, cache_megabytes=1)
    assert [len(dataset[index][0]) for index in range(3)] and list(dataset._cache) == [0]


# Errors


def test_unreadable_file_is_named_once_and_replaced(folder, caplog):
    (folder / "03.png").write_bytes((folder / "03.png").read_bytes()[:60])
    (folder / "04.png").write_text("this is no image")
    dataset = ImageFolder(folder, crop=8, random_crop=True)
    with caplog.at_level(logging.WARNING):
        samples = [dataset[epoch, 3] for epoch in (0, 1, 0)]
    assert [index for _, index, _ in samples] == [5, 5, 5] and torch.equal(samples[0][0], samples[2][0])
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [
        f"skipping {folder / name}" for name in ("03.png", "04.png")
    ]
    assert samples[0][2] != dataset[0, 5][2]  # the sample keeps its own seed
    for path in dataset.paths:
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="none of the 10 images can be read"):
        ImageFolder(folder)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "data.train: no folder is given"),
        ({"train": "nowhere"}, "data.train: nowhere: no such folder; "),
        ({"train": ["images", "empty"]}, "data.train: empty: holds no image; "),
        ({"train": "images", "val": "nowhere"}, "data.val: nowhere: no such folder; "),
        ({"train": "images"}, "data.batch_size: 16 is more than the 10 samples"),
        ({"crop": 0}, "data.crop: must be at least 1, got 0"),
        ({"crop": 64, "size": 32}, "data.crop: 64 pixels do not fit"),
        ({"seed": -1}, "data.seed: must be at least 0, got -1"),
    ],
)
def test_wrong_argument_is_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "empty").mkdir()
    with pytest.raises(ValueError, match=f"^{message}") as error:
        prepare(FolderDataModule(**arguments)).train_dataloader()
    assert "\n" not in str(error.value)


def test_images_of_several_sizes_do_not_stack(folder):
    save(folder / "z.png", height=9)
    with pytest.raises(ValueError, match="differ in size"):
        collate([ImageFolder(folder)[0], ImageFolder(folder)[COUNT]])


# Epochs and ranks


def list_pairs(count=10, epoch=0, **options):
    sampler = EpochSampler(range(count), **options)
    sampler.set_epoch(epoch)
    assert len(sampler) == len(list(sampler))
    return list(sampler)


def test_epochs_differ_and_cover_all_images():
    first, second = list_pairs(epoch=0), list_pairs(epoch=1)
    assert {epoch for epoch, _ in first} == {0} and {epoch for epoch, _ in second} == {1}
    orders = [[index for _, index in order] for order in (first, second, list_pairs(seed=1))]
    assert len({tuple(order) for order in orders}) == 3 and all(sorted(order) == list(range(10)) for order in orders)
    assert list_pairs(repeat=2, epoch=1) == list_pairs(epoch=2) + list_pairs(epoch=3)
    assert list_pairs(shuffle=False, epoch=4) == [(0, index) for index in range(10)]


@pytest.mark.parametrize("ranks", [2, 4])
def test_steps_see_the_same_images_on_any_number_of_ranks(ranks):
    def steps(number):
        batch = 4 // number
        lists = [list_pairs(11, num_replicas=number, rank=rank) for rank in range(number)]
        assert len({len(dealt) for dealt in lists}) == 1
        count = len(lists[0]) // batch
        return [{pair for dealt in lists for pair in dealt[t * batch : (t + 1) * batch]} for t in range(count)]

    assert steps(ranks) == steps(1) and len(steps(1)) == 2


def test_uneven_numbers_of_images_on_ranks():
    def dealt(uneven, count=10):
        options = {"shuffle": False, "num_replicas": 4, "uneven": uneven}
        return [[index for _, index in list_pairs(count, rank=rank, **options)] for rank in range(4)]

    assert dealt("drop") == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert dealt("repeat") == [[0, 4, 8], [1, 5, 9], [2, 6, 0], [3, 7, 1]]
    assert dealt("keep") == [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]
    assert dealt("repeat", count=1) == [[0]] * 4 and dealt("keep", count=1) == [[0], [], [], []]


# In Lightning


class Recorder(lightning.LightningModule):
    """Records its batches."""

    def __init__(self, folder):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.folder = folder
        self.seen, self.validated, self.predicted = [], [], []

    def training_step(self, batch, step):
        self.seen.append((batch.indices.tolist(), batch.seeds.tolist()))
        return self.weight.square().sum()

    def on_train_batch_end(self, *arguments):
        self.trainer.save_checkpoint(self.folder / f"step{self.global_step}.ckpt")

    def on_train_epoch_end(self):
        self.trainer.save_checkpoint(self.folder / f"epoch{self.global_step}.ckpt")

    def validation_step(self, batch, step):
        assert batch.images.shape == (2, 3, 12, 12)
        self.validated.append(batch.seeds.tolist())

    def on_validation_end(self):
        self.trainer.save_checkpoint(self.folder / f"validation{self.global_step}.ckpt")

    def predict_step(self, batch, step):
        self.predicted += batch.indices.tolist()
        return batch.images

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def prepare(module):
    module.setup("fit")
    return module


def fit(images, output, checkpoint=None, workers=0, **options):
    """Train for 3 epochs of 3 steps."""
    output.mkdir()
    data = FolderDataModule(str(images), str(images), str(images), crop=8, val_size=12, batch_size=3, val_batch_size=2,
                            num_workers=workers)  # fmt: skip
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", enable_checkpointing=False, num_sanity_val_steps=0,
                                **quiet, **options)  # fmt: skip
    model = Recorder(output)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*num_workers.*", category=PossibleUserWarning)
        warnings.filterwarnings("ignore", message=".*(LeafSpec|overfit)")
        warnings.filterwarnings("error", message=".*not resumable.*")
        trainer.fit(model, data, ckpt_path=checkpoint, weights_only=False)
    return model, trainer, data


def test_lightning_passes_the_epoch_to_workers(folder, tmp_path):
    model, trainer, data = fit(folder, tmp_path / "here")
    dataset = data.datasets["train"]
    expected = []
    for epoch in range(3):
        order = list_pairs(epoch=epoch)
        for step in range(3):
            samples = [dataset[pair] for pair in order[3 * step : 3 * step + 3]]
            expected.append(([index for _, index, _ in samples], [seed for *_, seed in samples]))
    assert model.seen == expected and len({seed for _, seeds in model.seen for seed in seeds}) == 27
    assert len(model.validated) == 15 and model.validated[:5] == model.validated[5:10] == model.validated[10:]
    assert fit(folder, tmp_path / "there", workers=1)[0].seen == expected

    trainer.predict(model, data)
    assert model.predicted == list(range(COUNT))


def test_resumed_run_continues_as_the_whole_run(folder, tmp_path):
    model, *_ = fit(folder, tmp_path / "whole")
    for name, step in (("step4", 4), ("step6", 6), ("validation3", 3), ("epoch6", 6)):
        resumed, *_ = fit(folder, tmp_path / name, checkpoint=tmp_path / "whole" / f"{name}.ckpt")
        assert resumed.seen == model.seen[step:], name


def test_overfitting_and_missing_validation(folder, tmp_path):
    model, *_ = fit(folder, tmp_path / "overfit", overfit_batches=1)
    assert [indices for indices, _ in model.seen] == [[0, 1, 2]] * 3
    data = prepare(FolderDataModule(str(folder), batch_size=2, num_workers=0))
    assert data.val_dataloader() == []
    assert next(iter(data.train_dataloader())).images.shape == (2, 3, 256, 256)


def test_scaled_images_of_training_are_kept_in_8_bits(tmp_path):
    """They are those of validation but for rounding, cached or not; photos of 16 bits stay as they are."""
    images = tmp_path / "images"
    images.mkdir()
    photo = photos.coffee()[:90, :120]
    Image.fromarray(photo).save(images / "a.png")
    Image.fromarray(photo.astype(np.uint16)[:, :, 0] * 257).save(images / "b.png")
    exact = ImageFolder(images, size=64)
    for cache in ({}, {"cache_megabytes": 0}, {"disk_cache": tmp_path / "cache"}, {"disk_cache": tmp_path / "cache"}):
        kept = ImageFolder(images, size=64, rounded=True, **cache)
        difference = (kept[0][0] - exact[0][0]).abs().max().item()
        assert 0 < difference <= 0.5 / 255 + 1e-6
        assert torch.equal(kept[0][0], (exact[0][0] * 255).round() / 255)
        assert torch.equal(kept[1][0], exact[1][0])
        if not cache:
            assert kept._cache[0].dtype == np.uint8 and kept._cache[0].nbytes == 3 * 64 * 64
    # A folder on disk may serve both.
    assert torch.equal(ImageFolder(images, size=64, disk_cache=tmp_path / "cache")[0][0], exact[0][0])
    data = prepare(FolderDataModule(str(images), val=str(images), size=64, crop=64, val_size=64, num_workers=0))
    assert data.datasets["train"]._rounded and not data.datasets["val"]._rounded


# Decoded images on disk


def test_disk_cache_changes_no_sample_and_decodes_once(tmp_path, monkeypatch, caplog):
    images = tmp_path / "images"
    images.mkdir()
    photo = photos.coffee()[:90, :120]
    Image.fromarray(photo).save(images / "a.png")
    Image.fromarray(photo[:, :, 0]).save(images / "b.png")
    Image.fromarray(photo.astype(np.uint16)[:, :, 0] * 257).save(images / "c.png")  # not of 8 bits
    for options in ({"crop": 40, "random_crop": True, "flip": True}, {"size": 64}, {}):
        plain = ImageFolder(images, **options)
        kept = ImageFolder(images, **options, disk_cache=tmp_path / "cache")
        wanted = [plain[epoch, index][0] for epoch in (0, 1) for index in range(3)]
        found = [kept[epoch, index][0] for epoch in (0, 1) for index in range(3)]
        assert all(torch.equal(one, other) for one, other in zip(wanted, found, strict=True))
    count = len(list((tmp_path / "cache").rglob("*.npy")))
    assert count == 6  # the crop and the whole image are cut out of the same pixels
    with monkeypatch.context() as patch:
        patch.setattr("fastgs.data.folder._decode", None)
        assert torch.equal(ImageFolder(images, disk_cache=tmp_path / "cache")[2][0], plain[2][0])
    Image.fromarray(photo[:50]).save(images / "a.png")  # a file that changes is decoded anew
    assert ImageFolder(images, disk_cache=tmp_path / "cache")[0][0].shape == (3, 50, 120)
    for path in (tmp_path / "cache").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:20])
    assert torch.equal(ImageFolder(images, disk_cache=tmp_path / "cache")[1][0], plain[1][0])


def test_full_disk_for_the_cache_is_named_once(tmp_path, monkeypatch, caplog):
    Image.fromarray(photos.coffee()[:20, :30]).save(tmp_path / "a.png")

    def fill_disk(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastgs.data.disk_cache.atomic_write", fill_disk)
    folder = ImageFolder(tmp_path, disk_cache=tmp_path / "cache")
    assert folder[0][0].shape == folder[0][0].shape == (3, 20, 30)
    assert caplog.text.count("cannot keep decoded images (No space left on device)") == 1
