"""Every error that fastvbow raises on purpose.

::

    FastvbowError
    ├── UsageError (ValueError)              an argument cannot be used: missing folder, K larger than the corpus
    ├── ProjectError (ValueError)            the project folder: not one, made by a newer version, busy, unwritable
    │   ├── StageMissingError                an earlier stage has not run yet
    │   └── StoreCorruptError                a file does not hold what its card says
    ├── NoImagesError (ValueError)           nothing that can be grouped was found
    ├── TooManySkippedError (ValueError)     more photographs cannot be read than was allowed
    ├── MissingExtraError (ImportError)      an optional package; carries the exact pip line
    ├── ProviderUnavailableError (RuntimeError)   the device asked for cannot run the model
    ├── ClusterError (RuntimeError)          Dask's scheduler or workers are gone, or cannot be used
    ├── StoreError (RuntimeError)            an object store does not answer, or refuses
    ├── Cancelled                            the caller ended it: `fastvbow.cancelling`
    └── ImageError (ValueError)              one photograph cannot be read; the route reports it and goes on

A message says what came, what was wanted and what to do. The library raises; only the command line catches.
"""

from __future__ import annotations

import errno

__all__ = [
    "EXHAUSTED",
    "Cancelled",
    "ClusterError",
    "FastvbowError",
    "ImageError",
    "MissingExtraError",
    "NoImagesError",
    "ProjectError",
    "ProviderUnavailableError",
    "StageMissingError",
    "StoreCorruptError",
    "StoreError",
    "TooManySkippedError",
    "UsageError",
]

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Error numbers that tell of the machine (too many open files, no memory), not of the file that was asked for."""


class FastvbowError(Exception):
    """Base of all errors raised by fastvbow."""


class UsageError(FastvbowError, ValueError):
    """An argument cannot be used as given."""


class ProjectError(FastvbowError, ValueError):
    """The project folder cannot be used."""


class StageMissingError(ProjectError):
    """A stage was asked for before the stages that feed it have run."""


class StoreCorruptError(ProjectError):
    """A stored file does not hold what its card says."""


class NoImagesError(FastvbowError, ValueError):
    """Nothing that can be grouped was found."""


class TooManySkippedError(FastvbowError, ValueError):
    """More photographs cannot be read than was allowed."""


class ImageError(FastvbowError, ValueError):
    """One photograph cannot be read; `reason` is one line, fit for a table."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ClusterError(FastvbowError, RuntimeError):
    """The machines that should do the work are gone, or cannot be used; what is finished stays."""


class StoreError(FastvbowError, RuntimeError):
    """An object store does not answer, or refuses what is asked of it; what is finished stays."""


class MissingExtraError(FastvbowError, ImportError):
    """An optional package is needed; the message carries the pip line that brings it."""

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'fastvbow[{extra}]'")
        self.purpose, self.package, self.extra = purpose, package, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        """What makes it again in another process; `ImportError` would pass the message alone."""
        return MissingExtraError, (self.purpose, self.package, self.extra)


class ProviderUnavailableError(FastvbowError, RuntimeError):
    """The execution provider asked for cannot run the model on this machine."""


class Cancelled(FastvbowError):  # noqa: N818 - nothing has gone wrong
    """The work was ended by its caller before it was done (see `fastvbow.cancelling`)."""
