"""The commands about the installation and this machine: `fastvbow doctor` and `fastvbow warmup`."""

from __future__ import annotations

import typer

from fastvbow.cli_frame import finish, working
from fastvbow.cli_options import Json

__all__ = ["doctor", "warmup"]


def doctor(as_json: Json = False) -> None:
    """Examine the installation and this machine, and say how to mend what is wrong."""
    with working(quiet=True):
        import msgspec

        from fastvbow import pipeline

        found = pipeline.doctor()
    lines = [f"{name:<12} {value}" for name, value in found.facts.items()]
    lines += [
        f"{'features':<12} {' '.join(found.cpu_features)}",
        "",
        *(f"{n:<24} {v}" for n, v in found.packages.items()),
        "",
    ]
    lines += [f"{name:<24} {what}" for name, what in found.providers.items()]
    lines += [f"\nproblem: {p.problem}\n    fix: {p.fix}" for p in found.problems] or ["\nno problem found"]
    finish(as_json, msgspec.to_builtins(found), lines)
    if found.problems:
        raise typer.Exit(1)


def warmup(as_json: Json = False) -> None:
    """Compile the kernels for this CPU now and keep them, so that no later run waits for the compiler."""
    with working(quiet=True):
        import msgspec

        from fastvbow import pipeline

        done = pipeline.warmup()
    kept = f"kept in {done.cache}" if done.cache else "not kept: no folder for them can be written"
    lines = [f"kernels ready after {done.seconds:.1f} s ({done.instructions}); {kept}"]
    finish(as_json, msgspec.to_builtins(done), lines)
