"""CIFAR-10: 60,000 photos of 32 x 32 pixels in ten classes, 10,000 of them to test on; 170 MB.

From "Learning Multiple Layers of Features from Tiny Images" (Krizhevsky 2009).
"""

from __future__ import annotations

from pathlib import Path

from fastgs.data.dataset import Dataset, Part
from fastgs.data.fetch import DownloadError, Progress, RemoteFile, fetch

URL = "https://www.cs.toronto.edu/~kriz"
LICENSE = f"CIFAR-10 comes without a licence; see {URL}/cifar.html"
COUNT = 60_000

# The checksum is the one that Keras holds its download to.
ARCHIVE = RemoteFile(
    "cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", 170_498_071
)
_ROOM = 190_000_000  # bytes of the files in it


def download(
    folder: str | Path,
    url: str = URL,
    keep_archive: bool = False,
    progress: Progress = lambda action, done, total: None,
    wait: float = 1.0,
) -> Path:
    """Fetch, verify and extract the images, as torchvision keeps them.

    What was received stays in NAME.part if the download breaks off for any reason, and the next call continues there.
    If all files are there already no connection is made.

    Args:
        folder: where the folder of images is to lie; made if it does not exist.
        url: http(s) address of the folder that has the archive, of a mirror for instance.
        keep_archive: do not delete the archive at the end.
        progress: called often.
        wait: seconds before the first retry; doubled for each that follows.

    Returns:
        folder/cifar10, which holds cifar-10-batches-py.

    Raises:
        DownloadError: the archive cannot be fetched, is not what it should be, or does not fit on the disk.
        OSError: the folder is not writable, or the disk is full.
    """
    from torchvision.datasets.utils import extract_archive  # deferred: takes seconds

    target = Path(folder) / "cifar10"
    target.mkdir(parents=True, exist_ok=True)
    if _is_whole(target):
        return target
    archive = fetch(ARCHIVE, target, url, progress, wait, room=_ROOM)
    extract_archive(str(archive), str(target))
    if not _is_whole(target):
        raise DownloadError(f"{target}: could not be extracted whole; delete it, and try again")
    if not keep_archive:
        archive.unlink()
    return target


def _is_whole(folder: Path) -> bool:
    """Whether all files are there, and are the official ones."""
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(folder, train=False)
    except RuntimeError:
        return False
    return True


DATASET = Dataset(
    summary="60,000 photos of 32 x 32 pixels in ten classes to make splats of, 170 MB",
    license=LICENSE,
    parts={"all": Part("cifar10", COUNT, download)},
    image_files=False,
)
