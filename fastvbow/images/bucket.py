"""Photographs in an object store: a bucket, or a folder in one, is listed and read as a folder of image files is.

The paths of images are their keys behind the URL's own, so that a folder and its copy in a bucket give the same ids. A
modification time is the store's, in whole seconds or what else its listing tells. Labels by ``parent`` come from the
paths; what lies beside photographs as files (masks, ADE20K's indices) is not read.
"""

from __future__ import annotations

from fastvbow.errors import ImageError, NoImagesError, StoreError, UsageError
from fastvbow.images.decode import MOST_BYTES
from fastvbow.images.listing import Listing, is_image_name
from fastvbow.stores import open_store, told

__all__ = ["list_bucket", "read_object"]


def list_bucket(url: str, packed: tuple[bytes, ...]) -> Listing:
    """List what lies behind a URL; hidden folders and objects are left out.

    Parameters
    ----------
    url : str
        As `fastvbow.stores.url_of` gives it.
    packed : tuple of bytes
        Endings (lower case) of the names of objects that may hold images: these cannot be read here.

    Raises
    ------
    UsageError
        There is nothing, it is a single object, or there are packed images alone.
    NoImagesError
        The bucket is empty.
    StoreError
        It cannot be reached.
    """
    from pyarrow import fs  # heavy

    system, path = open_store(url)
    with told(url):
        found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        if not found and system.get_file_info(path).type == fs.FileType.File:
            raise UsageError(
                f"{url} is a single object: name the folder that it lies in; lists, .tar and Parquet files of images "
                "are read from a disk only, so copy those to one"
            )
    images: dict[bytes, tuple[int, int]] = {}
    n_packed = others = 0
    first = ""
    for info in found:
        raw = info.path[len(path) + 1 :].encode("utf-8", "surrogateescape")
        if info.type != fs.FileType.File or raw.startswith(b".") or b"/." in raw:
            continue
        if is_image_name(raw.rpartition(b"/")[2]):
            images[raw] = info.size, info.mtime_ns
            continue
        others += 1
        if raw.lower().endswith(packed):
            n_packed, first = n_packed + 1, first or info.base_name
    if n_packed and not images:
        raise UsageError(
            f"no image files in {url}, but {n_packed} that may hold images ({first!r} is one): .tar and Parquet files "
            "are read from a disk only, so copy them to one and name that folder"
        )
    if not found:
        _check_bucket(url)
        raise NoImagesError(f"there is nothing in {url}: is that the name of the folder of photographs?")
    return Listing(url, url.encode("utf-8", "surrogateescape"), None, sorted(images), [], others, [], images)


def _check_bucket(url: str) -> None:
    """Raise a StoreError where the bucket itself is not there."""
    from pyarrow import fs  # heavy

    system, path = open_store(url)
    with told(url):
        if system.get_file_info(path.partition("/")[0]).type == fs.FileType.NotFound:
            raise StoreError(
                f"there is no bucket as {url} names it: check its name, and AWS_ENDPOINT_URL if that is set"
            )


def read_object(url: str, raw_path: bytes) -> bytes:
    """The bytes of an image. Threads may call it at once.

    Parameters
    ----------
    url : str
        The root of the image table.
    raw_path : bytes
        Relative to it.

    Raises
    ------
    ImageError
        It is gone, empty, or larger than `fastvbow.images.decode.MOST_BYTES`.
    StoreError
        The store does not answer, after pyarrow's own retries, or refuses: that tells nothing of the image.
    """
    system, path = open_store(url)
    name = raw_path.decode("utf-8", "surrogateescape")
    try:
        with told(f"{url.partition('?')[0]}/{name}"), system.open_input_file(f"{path}/{name}") as file:
            n_bytes = file.size()
            if n_bytes > MOST_BYTES:
                raise ImageError(f"{n_bytes} bytes: more than {MOST_BYTES} are refused")
            data: bytes = file.read(n_bytes)
    except FileNotFoundError:
        _check_bucket(url)  # of an object in a bucket that is gone the store says no more than this
        raise ImageError("cannot be read: No such file or directory") from None
    if len(data) != n_bytes:
        raise ImageError("could be read only in part")
    if not data:
        raise ImageError("empty file")
    return data
