"""CIFAR-10: 60,000 photos of 32 x 32 pixels in ten classes, 10,000 of them for testing; 170 MB.

From "Learning Multiple Layers of Features from Tiny Images" (Krizhevsky 2009).
"""

from __future__ import annotations

from pathlib import Path

from fastgs.data.dataset import Dataset, Part
from fastgs.data.fetch import DownloadError, Progress, RemoteFile, fetch, ignore_progress

URL = "https://www.cs.toronto.edu/~kriz"
LICENSE = f"CIFAR-10 comes without a licence; see {URL}/cifar.html"
COUNT = 60_000

# The checksum is the one that Keras checks its download with.
ARCHIVE = RemoteFile(
    "cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", 170_498_071
)
_EXTRACTED_SIZE = 190_000_000  # bytes of the files in the archive


def download(
    folder: str | Path,
    url: str = URL,
    keep_archive: bool = False,
    progress: Progress = ignore_progress,
    wait: float = 1.0,
) -> Path:
    """Fetch, verify and extract the images, into the files that torchvision reads.

    If the download breaks off for any reason, the bytes received so far stay in NAME.part, and the next call continues
    there. If all files exist already, no connection is made.

    Args:
        folder: Folder to write the folder of images to; made if it does not exist.
        url: Address (http or https) of the folder that has the archive, official or of a mirror.
        keep_archive: True keeps the archive after its files are extracted.
        progress: Callback, called often.
        wait: Seconds before the first retry; doubled for each further one.

    Returns:
        The path folder/cifar10 of a folder that holds cifar-10-batches-py.

    Raises:
        DownloadError: The archive cannot be fetched, is not the official one, or does not fit on the disk.
        OSError: The folder is not writable, or the disk is full.
    """
    from torchvision.datasets.utils import extract_archive  # deferred: takes seconds

    target = Path(folder) / "cifar10"
    target.mkdir(parents=True, exist_ok=True)
    if _is_complete(target):
        return target
    archive = fetch(ARCHIVE, target, url, progress, wait, room=_EXTRACTED_SIZE)
    extract_archive(str(archive), str(target))
    if not _is_complete(target):
        raise DownloadError(f"{target}: could not be extracted whole; delete it, and try again")
    if not keep_archive:
        archive.unlink()
    return target


def _is_complete(folder: Path) -> bool:
    """Return True if all files exist and are the official ones."""
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
