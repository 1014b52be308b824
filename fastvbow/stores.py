"""Object stores behind URLs such as ``s3://bucket/folder``: file systems of `pyarrow.fs`, for other kinds fsspec's.

A URL is taken as it is written, nothing in it is decoded: ``SCHEME://BUCKET/KEY``, and behind a ``?`` what
`pyarrow.fs.FileSystem.from_uri` reads (``region``, ``endpoint_override``, ``scheme``). Keys and passwords do not belong
there: of S3 they come from ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE`` or the machine's role, the
address of another server than Amazon's from ``AWS_ENDPOINT_URL``. Nothing is asked of a network unless a person names
such a URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fastvbow.errors import MissingExtraError, StoreError, UsageError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = ["open_store", "told", "url_of", "version_of", "within"]

_URL = re.compile(r"([a-z][a-z0-9+]+):/(/?)([^/].*)", re.DOTALL)  # a drive's letter is one alone
_SMALL_AT_ONCE = "allow_delayed_open=true"  # one request for a small object instead of three
_BUILT_IN = frozenset({"abfs", "abfss", "gcs", "gs", "s3"})


def url_of(given: str | bytes | Path) -> str | None:
    """The URL that is meant, without a ``/`` at its end; None for what lies on a disk.

    Parameters
    ----------
    given : str, bytes or Path
        A Path has lost one of the two slashes, as in ``s3:/bucket``: it is put back, unless there is a folder ``s3:``.

    Raises
    ------
    UsageError
        It holds a password, or empty steps, which a folder cannot have.
    """
    text = given.decode("utf-8", "surrogateescape") if isinstance(given, bytes) else str(given)
    match = _URL.fullmatch(text)
    if match is None or match[1] == "file" or (not match[2] and Path(f"{match[1]}:").exists()):
        return None
    if not match[2] and not isinstance(given, Path):
        return None
    place, mark, how = match[3].partition("?")
    place = place.rstrip("/")
    if "@" in place.partition("/")[0]:
        raise UsageError(
            f"a URL of {match[1]}:// with a password in it would be written into the project: pass that as the "
            "environment's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in ~/.aws/credentials"
        )
    if "" in place.split("/"):
        raise UsageError(f"{match[1]}://{place} has an empty step, two slashes side by side: write one")
    return f"{match[1]}://{place}{mark}{how}"


def within(given: str | Path, name: str) -> Path | str:
    """A file in a folder or behind a URL, as a person calls it.

    Parameters
    ----------
    given : str or Path
        The folder, or the URL.
    name : str
        Relative to it.
    """
    url = url_of(given)
    return Path(given) / name if url is None else f"{url.partition('?')[0]}/{name}"


def open_store(url: str) -> tuple[FileSystem, str]:
    """The file system of a URL that `url_of` gave, and the path in it. Threads may use it at once.

    Raises
    ------
    UsageError
        Its kind, or an option behind ``?``, is not known.
    MissingExtraError
        Its kind wants fsspec.
    StoreError
        The bucket's region could not be asked for.
    """
    scheme, _, rest = url.partition("://")
    place, _, how = rest.partition("?")
    return _file_system(scheme, place.partition("/")[0], how), place


@lru_cache
def _file_system(scheme: str, bucket: str, how: str) -> FileSystem:
    import pyarrow as pa  # heavy, and most calls name no URL
    from pyarrow import fs

    uri = f"{scheme}://{bucket}" + (f"?{how}" if how else "")
    try:
        if scheme in _BUILT_IN:
            with told(uri):
                if scheme == "s3":
                    with suppress(pa.ArrowInvalid):  # an older pyarrow, or what is said below
                        return fs.FileSystem.from_uri(f"{uri}{'&' if how else '?'}{_SMALL_AT_ONCE}")[0]
                return fs.FileSystem.from_uri(uri)[0]
        try:
            import fsspec
        except ImportError:
            raise MissingExtraError(f"a place of {scheme}://", "fsspec", "stores") from None
        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (pa.ArrowInvalid, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot use {uri}: {_first_line(error)}") from None


@contextmanager
def told(url: str) -> Iterator[None]:
    """Turn what a store or the way to it raises into a StoreError; FileNotFoundError, and what this machine's own files
    raise, goes through.

    Parameters
    ----------
    url : str
        What was asked for.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise
        address = url.partition("?")[0]
        raise StoreError(
            f"cannot reach {address}: {_first_line(error)}: check its name, the network, the server's address "
            "(AWS_ENDPOINT_URL, or endpoint_override behind a ? in the URL) and the permission of the keys in use; the "
            "same call goes on from what is finished"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def version_of(system: FileSystem, path: str) -> str:
    """What changes with every other content of an object: its ETag, or generation.

    Parameters
    ----------
    system : pyarrow.fs.FileSystem
    path : str

    Raises
    ------
    FileNotFoundError
        There is no such object.
    """
    handler = getattr(system, "handler", None)
    if handler is not None:
        handler.fs.invalidate_cache()
        return str(handler.fs.ukey(path))
    with system.open_input_file(path) as file:
        known = {name.lower(): value for name, value in file.metadata().items()}
    found = known.get("etag") or known.get("generation")
    if found is None:
        info = system.get_file_info(path)
        return f"{info.size} {info.mtime_ns}"
    return found.decode("ascii", "replace") if isinstance(found, bytes) else str(found)
