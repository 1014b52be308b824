"""Inside extraction: ONNX Runtime's options, the time of each step, and ways to do a step beside the plain way."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _extract_peers import FLOAT_MODEL, MODEL, SIDE, describe, extractors_of, listed, root_sift
from _harness import Check, Run, alternated, one_core, time_text
from descriptors import data_folder

from fastvbow.features import sift
from fastvbow.features.models import find_model
from fastvbow.images.decode import decode, read_bytes

__all__ = ["both_clocks", "enlarged", "onnx", "profile", "savings"]

OUTPUTS = ["block14", "pooled"]


def clocks() -> tuple[float, float]:
    """CPU seconds of this process, all threads, and the wall clock."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()


def both_clocks(run: Callable[[], Any], wall: bool) -> Run:
    """Seconds by one clock, and by the other as what was found."""

    def timed(i: int) -> tuple[float, float]:
        start = clocks()
        run()
        cpu, real = (b - a for a, b in zip(start, clocks(), strict=True))
        return (real, cpu) if wall else (cpu, real)

    return timed


def sample(n: int) -> list[Path]:
    paths = listed(data_folder() / "sun8")
    return [paths[i * len(paths) // n] for i in range(n)]


def session_runner(
    x: np.ndarray, batch: int = 1, outputs: list[str] | None = OUTPUTS, model: str = MODEL, **changed: Any
) -> Callable[[], None]:
    """What runs the CNN over x; `changed` are attributes of SessionOptions."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, value in changed.items():
        setattr(options, name, value)
    path = find_model(model).path
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.run(outputs, {"image": x[:batch]})

    def run(part: slice = slice(None)) -> None:
        for i in range(0, len(x[part]), batch):
            session.run(outputs, {"image": x[part][i : i + batch]})

    return run


def onnx(quick: bool, scratch: Path) -> list[Check]:
    """The CNN's session alone, 224 x 224: options of ONNX Runtime beside those in use, on one core and on two."""
    import onnxruntime as ort

    levels, x = ort.GraphOptimizationLevel, np.random.default_rng(0).random((32, 3, 224, 224), np.float32)
    with one_core():
        contenders = {
            "as used: batch 1, one thread, all optimisations, arena": session_runner(x),
            "two threads inside": session_runner(x, intra_op_num_threads=2),
            "batch 4": session_runner(x, 4),
            "batch 8": session_runner(x, 8),
            "batch 32": session_runner(x, 32),
            "no layout optimisations": session_runner(x, graph_optimization_level=levels.ORT_ENABLE_EXTENDED),
            "basic optimisations": session_runner(x, graph_optimization_level=levels.ORT_ENABLE_BASIC),
            "no optimisations": session_runner(x, graph_optimization_level=levels.ORT_DISABLE_ALL),
            "no memory arena": session_runner(x, enable_cpu_mem_arena=False),
            "no memory pattern": session_runner(x, enable_mem_pattern=False),
            "neither arena nor pattern": session_runner(x, enable_cpu_mem_arena=False, enable_mem_pattern=False),
            "the pooled output alone": session_runner(x, outputs=["pooled"]),
            "the float network": session_runner(x, model=FLOAT_MODEL),
            "the float network, batch 8": session_runner(x, 8, model=FLOAT_MODEL),
        }
        seconds, _ = alternated({k: both_clocks(v, False) for k, v in contenders.items()}, 2 if quick else 15)
    cpu = {k: float(np.median(v)) / len(x) for k, v in seconds.items()}
    base, checks = next(iter(cpu)), []
    for name, spent in cpu.items():
        what, quality = f"one core, {name}", f"{1 / spent:.4g} images/s"
        checks.append(Check(what, cpu[base], time_text(spent), spent / cpu[base], quality))
    halves, inside = [slice(0, None, 2), slice(1, None, 2)], session_runner(x, intra_op_num_threads=2)
    alone = session_runner(x)
    with ThreadPoolExecutor(2) as pool:
        runs = {
            "as used: two callers, one thread inside": lambda: list(pool.map(alone, halves)),
            "one caller, two threads inside": inside,
            "one caller, two threads inside, batch 8": session_runner(x, 8, intra_op_num_threads=2),
            "two callers, two threads inside": lambda: list(pool.map(inside, halves)),
            "one caller, one thread inside": alone,
        }
        seconds, other = alternated({k: both_clocks(v, True) for k, v in runs.items()}, 2 if quick else 15)
    wall = {k: float(np.median(v)) / len(x) for k, v in seconds.items()}
    base = next(iter(wall))
    for name, spent in wall.items():
        quality = f"{1 / spent:.4g} images/s, CPU {time_text(float(np.median(other[name])) / len(x))}"
        checks.append(Check(f"two cores, {name}", wall[base], time_text(spent), spent / wall[base], quality))
    return checks


def profile(quick: bool, scratch: Path) -> Iterator[str]:
    """CPU time of each step of one photograph on one core, means over many; a table of its own.

    A step and the library's calls inside it take turns at coming first: the first one finds cold caches.
    """
    spent: dict[str, list[float]] = {}
    mine, cnn = extractors = extractors_of(("sift", "cnn"))

    def step(name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        start = time.thread_time()
        found = function(*arguments, **options)
        spent.setdefault(name, []).append(time.thread_time() - start)
        return found

    def read(path: Path) -> None:
        step("(plain read)", path.read_bytes)

    def pixels(data: bytes) -> None:
        bgr = step("(imdecode)", cv2.imdecode, np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        step("(BGR to RGB)", cv2.cvtColor, bgr, cv2.COLOR_BGR2RGB)

    def keypoints(image: np.ndarray) -> None:
        grey = step("(RGB to grey)", cv2.cvtColor, image, cv2.COLOR_RGB2GRAY)
        scale = min(1, mine.side / max(grey.shape))
        size = tuple(round(n * scale) for n in grey.shape[::-1])
        grey = step("(resize)", cv2.resize, grey, size, interpolation=cv2.INTER_AREA)
        _, found = step("(detectAndCompute)", mine._sift().detectAndCompute, grey, None)
        if found is not None:
            step("(RootSIFT)", sift.root_sift, found[: mine.keypoints])

    def network(image: np.ndarray) -> None:
        square = step("(resize to 224)", cv2.resize, image, (224, 224))
        blob = step("(blob)", cv2.dnn.blobFromImage, square, 1 / 128, mean=(127,) * 3)
        step("(session.run)", cnn._session.run, OUTPUTS, {"image": blob})

    describe(sample(1)[0], extractors)
    for i, path in enumerate(sample(64 if quick else 512)):
        data = path.read_bytes()
        image = decode(data)
        pairs = [
            (("read_bytes", read_bytes, path), (read, path)),
            (("decode", decode, data), (pixels, data)),
            (("SIFT extractor", mine.extract, image), (keypoints, image)),
            (("CNN extractor", cnn.extract, image), (network, image)),
        ]
        for whole, (parts, given) in pairs:
            for part in (0, 1) if i % 2 else (1, 0):
                if part:
                    parts(given)
                else:
                    step(*whole)
        step("BLAKE2b", lambda data=data: hashlib.blake2b(data, digest_size=16).hexdigest())
        step("all, without writing", describe, path, extractors)
    ms = {name: 1e3 * float(np.mean(some)) for name, some in spent.items()}
    calls = {
        "read_bytes": ["(plain read)"],
        "decode": ["(imdecode)", "(BGR to RGB)"],
        "SIFT extractor": ["(RGB to grey)", "(resize)", "(detectAndCompute)", "(RootSIFT)"],
        "CNN extractor": ["(resize to 224)", "(blob)", "(session.run)"],
    }
    total = ms["all, without writing"]
    yield "| step | CPU an image | share | the library's calls in it | the rest |"
    yield "|---|---|---|---|---|"
    for name in [*calls, "BLAKE2b", "all, without writing"]:
        parts = calls.get(name, [])
        inside = ", ".join(f"{part.strip('()')} {ms[part]:.3f}" for part in parts)
        rest = f"{ms[name] - sum(ms[part] for part in parts):.3f} ms" if parts else ""
        yield f"| {name} | {ms[name]:.3f} ms | {ms[name] / total:.1%} | {inside} | {rest} |"


def opened(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read()


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """24 megapixels with a camera's noise, without which a JPEG would be small and quickly read."""
    large = cv2.resize(pixels, (6000, 4000), interpolation=cv2.INTER_CUBIC)
    return cv2.add(large, cv2.randn(np.empty_like(large, np.int8), 0, 6), dtype=cv2.CV_8U)


def to_rgb(data: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def to_grey(data: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2GRAY)


def to_side(pixels: np.ndarray) -> np.ndarray:
    scale = SIDE / max(pixels.shape[:2])
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def one_by_one(found: Any) -> tuple[np.ndarray, np.ndarray]:
    points = np.array([(*k.pt, k.size, k.angle) for k in found], np.float32)
    return points, np.array([k.response for k in found], np.float32)


def by_columns(found: Any) -> tuple[np.ndarray, np.ndarray]:
    points = np.empty((len(found), 4), np.float32)
    points[:, :2] = cv2.KeyPoint.convert(found)
    points[:, 2], points[:, 3] = [k.size for k in found], [k.angle for k in found]
    return points, np.fromiter((k.response for k in found), np.float32, len(found))


def values(found: Any) -> np.ndarray:
    """The bytes of whatever a step returns, as numbers."""
    if isinstance(found, tuple):
        return np.concatenate([values(each) for each in found])
    return np.frombuffer(found if isinstance(found, bytes) else found.tobytes(), np.uint8).astype(int)


def savings(quick: bool, scratch: Path) -> list[Check]:
    """Ways to do a step beside the plain way: what is saved, and whether the bytes stay."""
    paths = sample(16 if quick else 64)
    buffers = [np.frombuffer(p.read_bytes(), np.uint8) for p in paths]
    detector = cv2.SIFT_create(nfeatures=300)
    found = [detector.detectAndCompute(to_side(to_grey(b)), None) for b in buffers]
    points, descriptors = zip(*((p, d) for p, d in found if p), strict=True)
    large = [cv2.imencode(".jpg", enlarged(to_rgb(b)))[1] for b in buffers[: 1 if quick else 4]]

    def at(flag: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda data: cv2.imdecode(data, flag)

    quarter = at(cv2.IMREAD_REDUCED_COLOR_4)
    pairs: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any], Any]] = [
        ("read: read_bytes / open without a buffer", read_bytes, opened, paths),
        ("decode: BGR, then cvtColor / IMREAD_COLOR_RGB (in use)", to_rgb, at(cv2.IMREAD_COLOR_RGB), buffers),
        ("decode to grey, SIFT alone: by way of colour / at once", to_grey, at(cv2.IMREAD_GRAYSCALE), buffers),
        ("keypoints: one by one / by columns (in use)", one_by_one, by_columns, points),
        ("RootSIFT: all by NumPy / rounded by OpenCV (in use)", root_sift, sift.root_sift, descriptors),
        (
            "24 megapixels to 256: decoded whole / at a quarter (in use)",
            lambda b: to_side(at(cv2.IMREAD_COLOR)(b)),
            lambda b: to_side(quarter(b)),
            large,
        ),
    ]
    checks = []
    for what, *ways, inputs in pairs:
        runs = {
            f"{i}": both_clocks(lambda way=way, xs=inputs: [way(x) for x in xs], False) for i, way in enumerate(ways)
        }
        seconds, _ = alternated(runs, 3 if quick else 25)
        a, b = (float(np.median(some)) / len(inputs) for some in seconds.values())
        left, right = (np.concatenate([values(way(x)) for x in inputs]) for way in ways)
        same = len(left) == len(right) and np.array_equal(left, right)
        quality = "the same bytes" if same else f"the bytes change: by {np.abs(left - right).mean():.2g} on average"
        checks.append(Check(what, b, time_text(a), a / b, f"saves {1e3 * (a - b):.3f} ms; {quality}"))
    return checks
