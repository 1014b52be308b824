"""``python -m fastvbow`` is the command ``fastvbow``."""

from __future__ import annotations

from fastvbow.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
