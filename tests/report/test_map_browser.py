"""The map, the words and the drawings in a real browser: what pointer, keys and choices do, and what is then seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from report import planted
from report.browser import Browser, needs_browser
from report.sample import content
from report.test_map_page import order_of, value

from fastvbow.report.build import build_report
from fastvbow.report.content import Suggestion
from fastvbow.report.positions import MapInput

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [needs_browser, pytest.mark.usefixtures("quiet")]

N = 48
INJECTING = '"><img src=x onerror="document.documentElement.dataset.injected = 1">.jpg'


def colour(i: int) -> tuple[int, int, int]:
    return (i * 97 % 256, i * 53 % 256, i * 151 % 256)


def flat(i: int) -> np.ndarray:
    return np.full((300, 400, 3), colour(i), dtype=np.uint8)


@dataclass
class Map:
    """A report with a map, and where its photographs should lie on it."""

    folder: Path
    names: list[str]
    x: np.ndarray
    y: np.ndarray
    topic: np.ndarray

    def index(self, name: str) -> int:
        return next(i for i, own in enumerate(self.names) if own.endswith(name))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Map:
    """Photographs of one colour each, on a map that the test itself computes."""
    folder = tmp_path_factory.mktemp("map") / "a 'report' #1 100%25"
    rows = np.random.default_rng(5).dirichlet(np.full(3, 0.6), N)
    names = [INJECTING.replace("/", "∕") if i == 7 else f"folder/{i:03d}.jpg" for i in range(N)]
    given = content(
        N,
        3,
        names=names,
        ids=[str(i) for i in range(N)],
        topic=rows.argmax(axis=1),
        topic_names={1: "Küche <b>"},
        suggestions={2: Suggestion("harbour <i>", [("harbour <i>", 0.3, "")])},
        labels=[["sea", "town"][i % 2] if i % 3 else None for i in range(N)],
        read_photograph=flat,
        locate=lambda i: None if i == 7 else Path("/photographs") / names[i],
        positions=MapInput("pca", lambda i: rows[i], lambda i: rows[i]),
    )
    build_report(given, folder, per_topic=4, n_uncertain=2)
    data, index = value(folder / "data" / "map.js"), value(folder / "data" / "index.js")
    order = order_of(folder, index)
    at = [order.index(name) for name in names]
    x, y = (np.asarray(data[axis])[at] / 10_000 for axis in ("x", "y"))
    return Map(folder, names, x, y, rows.argmax(axis=1))


def show(browser: Browser, made: Map, fragment: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Open the map; where each photograph lies in the window, by the page's own rule."""
    browser.open(made.folder / "map.html", fragment)
    browser.until(lambda: browser.run("return !document.getElementById('mapped').hidden"))
    browser.run("document.getElementById('map').scrollIntoView({ block: 'center' })")
    left, top, width, height = browser.run(
        "const c = document.getElementById('map'), b = c.getBoundingClientRect();"
        "return [b.left, b.top, c.clientWidth, c.clientHeight]"
    )
    scale = min(width, height) - 48
    return left + width / 2 + (made.x - 0.5) * scale, top + height / 2 + (made.y - 0.5) * scale


def mouse(browser: Browser, kind: str, x: float, y: float, **more: object) -> None:
    event = {"type": kind, "x": float(x), "y": float(y), **more}
    browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def click(browser: Browser, x: float, y: float) -> None:
    for kind in ("mousePressed", "mouseReleased"):
        mouse(browser, kind, x, y, button="left", clickCount=1)


def shot(browser: Browser) -> np.ndarray:
    picture = np.frombuffer(browser.driver.get_screenshot_as_png(), np.uint8)
    return np.asarray(cv2.imdecode(picture, cv2.IMREAD_COLOR_RGB))


LOADED = """return new Promise((done) => {
  const image = new Image();
  image.onload = () => done(true);
  image.src = arguments[0];
})"""


def apart(made: Map, n: int) -> list[int]:
    """Some photographs that no other one lies close to."""
    distance = np.hypot(made.x[:, None] - made.x, made.y[:, None] - made.y) + 9 * np.eye(N)
    return np.argsort(-distance.min(axis=1))[:n].tolist()


def test_pointing_shows_the_photograph(browser: Browser, made: Map) -> None:
    x, y = show(browser, made)
    for i in apart(made, 4):
        mouse(browser, "mouseMoved", x[i], y[i])
        wanted = made.names[i].split("/")[-1]
        browser.until(lambda wanted=wanted: browser.text("#tip p").startswith(wanted))
        box = browser.run("const b = document.querySelector('#tip .picture').getBoundingClientRect();"
                          "return [b.left, b.top, b.width, b.height]")  # fmt: skip
        assert box[2] / box[3] == pytest.approx(4 / 3, rel=0.03)
        browser.run(LOADED, "sheets/0000.jpg")
        left, top, right, bottom = (round(v) for v in (box[0], box[1], box[0] + box[2], box[1] + box[3]))
        part = shot(browser)[top + 4 : bottom - 4, left + 4 : right - 4]
        assert np.abs(part.astype(int) - colour(i)).max() <= 24, made.names[i]
    mouse(browser, "mouseMoved", 5, 5)
    browser.until(lambda: browser.run("return document.getElementById('tip').hidden"))


def test_points_have_the_colours_of_their_topics(browser: Browser, made: Map) -> None:
    for dark in (False, True):
        browser.look(dark=dark)
        x, y = show(browser, made)
        browser.run("document.getElementById('pictures').click()")
        hexes = browser.run("const s = getComputedStyle(document.documentElement);"
                            "return [0, 1, 2].map((i) => s.getPropertyValue(`--m${i}`).trim())")  # fmt: skip
        index = value(made.folder / "data" / "index.js")
        seen = shot(browser)
        paper = seen[round(y.min()) - 12, round(x.min()) - 12].astype(int)
        for i in apart(made, 12):
            number = [topic["id"] for topic in index["topics"]].index(made.topic[i])
            wanted = np.array([int(hexes[number][k : k + 2], 16) for k in (1, 3, 5)])
            near = seen[round(y[i]) - 2 : round(y[i]) + 3, round(x[i]) - 2 : round(x[i]) + 3].reshape(-1, 3).astype(int)
            if np.abs(near - paper).sum(axis=1).max() < 60:
                pytest.fail(f"nothing is drawn at photograph {i}")
            # at most hidden by a name that is written there
            assert np.abs(near - wanted).sum(axis=1).min() < 140, (i, dark)


def chosen(browser: Browser) -> str:
    return str(browser.run("return document.getElementById('chosen-title').textContent"))


def said(browser: Browser) -> str:
    return str(browser.run("return document.getElementById('said').textContent"))


def test_selecting_keeps_it_with_its_links(browser: Browser, made: Map) -> None:
    x, y = show(browser, made)
    i = next(i for i in apart(made, 9) if i % 3 and i != 7)
    click(browser, x[i], y[i])
    name = made.names[i].split("/")[-1]
    browser.until(lambda: chosen(browser) == name)
    script = "return [...document.querySelectorAll('#links a')].map((a) => [a.textContent, a.getAttribute('href')])"
    links = dict(browser.run(script))
    topic = int(made.topic[i])
    title = "Küche <b>" if topic == 1 else f"Topic {topic}"
    assert links["Open the original"] == f"file:///photographs/folder/{name}"
    assert links[f"The page of {title}"] == f"topic-{topic:03d}.html"
    assert links[f"All of {title} as a list"] == f"browse.html#topic={topic}"
    label = ["sea", "town"][i % 2]
    assert links[f"All labelled {label} as a list"] == f"browse.html#label={label}"
    assert said(browser).startswith(f"{name}, {title}, probability 0.")
    click(browser, x.min() - 15, y.min() - 15)
    browser.until(lambda: chosen(browser) == "No photograph chosen")


def test_a_hostile_name_stays_text(browser: Browser, made: Map) -> None:
    x, y = show(browser, made)
    browser.run("for (let i = 0; i < 8; i++) document.getElementById('nearer').click()")
    browser.run("document.getElementById('whole').click()")
    mouse(browser, "mouseMoved", x[7], y[7])
    click(browser, x[7], y[7])
    browser.until(lambda: chosen(browser) != "No photograph chosen")
    if chosen(browser) == made.names[7]:
        assert browser.run("return document.getElementById('original')") is None
    assert browser.run("return document.querySelectorAll('#mapped img').length") == 0
    assert browser.run("return document.documentElement.dataset.injected || null") is None
    names = browser.run("return [...document.querySelectorAll('#alone option')].map((o) => o.textContent)")
    assert "Küche <b>" in names


def key(browser: Browser, name: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.driver.find_element("id", "map").send_keys(getattr(Keys, name, name))


def test_by_keyboard(browser: Browser, made: Map) -> None:
    """Arrows go to neighbours in their direction and say which; all photographs can be reached."""
    show(browser, made)
    key(browser, "ARROW_RIGHT")
    browser.until(lambda: chosen(browser) != "No photograph chosen")
    seen = [made.index(chosen(browser))]
    for name, axis, sign in (
        ("ARROW_RIGHT", made.x, 1),
        ("ARROW_DOWN", made.y, 1),
        ("ARROW_LEFT", made.x, -1),
        ("ARROW_UP", made.y, -1),
    ):
        for _ in range(3):
            before = chosen(browser)
            key(browser, name)
            ahead = sign * (axis - axis[seen[-1]]) > 1e-9
            aside = np.abs((made.y if axis is made.x else made.x) - (made.y if axis is made.x else made.x)[seen[-1]])
            reachable = np.flatnonzero(ahead & (aside <= np.abs(axis - axis[seen[-1]])))
            if not len(reachable):
                continue
            browser.until(lambda before=before: chosen(browser) != before)
            now = made.index(chosen(browser))
            steps = np.abs(axis - axis[seen[-1]]) + aside
            assert now in reachable and steps[now] == pytest.approx(steps[reachable].min(), abs=2e-4)
            spoken = said(browser)
            assert spoken.startswith(chosen(browser) + ", ") and "probability" in spoken
            seen.append(now)
    assert len(set(seen)) > 4
    key(browser, "ESCAPE")
    browser.until(lambda: chosen(browser) == "No photograph chosen")


def test_zooming_in_shows_pictures(browser: Browser, made: Map) -> None:
    x, y = show(browser, made)
    i = apart(made, 1)[0]
    mouse(browser, "mouseMoved", x[i], y[i])
    for _ in range(4):
        mouse(browser, "mouseWheel", x[i], y[i], deltaX=0, deltaY=-300)
    mouse(browser, "mouseMoved", 5, 5)
    part = slice(round(y[i]) - 8, round(y[i]) + 9), slice(round(x[i]) - 8, round(x[i]) + 9)

    def there() -> bool:
        return bool(np.abs(shot(browser)[part].astype(int) - colour(i)).max() <= 24)

    browser.until(there)
    browser.run("document.getElementById('pictures').click()")
    browser.until(lambda: not there())
    browser.run("document.getElementById('whole').click(); document.getElementById('map').blur()")
    mouse(browser, "mouseMoved", x[i], y[i])
    browser.until(lambda: browser.text("#tip p").startswith(made.names[i].split("/")[-1]))


def test_one_topic_alone(browser: Browser, made: Map) -> None:
    """By the list and by the address; photographs of others cannot be pointed at then."""
    x, y = show(browser, made, "topic=1")
    assert browser.run("return document.getElementById('alone').selectedOptions[0].textContent") == "Küche <b>"
    inside = next(i for i in apart(made, N) if made.topic[i] == 1)
    near = np.hypot(x[:, None] - x, y[:, None] - y)[:, made.topic == 1].min(axis=1)
    outside = next(i for i in apart(made, N) if made.topic[i] != 1 and near[i] > 20)
    mouse(browser, "mouseMoved", x[outside], y[outside])
    mouse(browser, "mouseMoved", x[outside] + 1, y[outside])
    assert browser.run("return document.getElementById('tip').hidden")
    mouse(browser, "mouseMoved", x[inside], y[inside])
    browser.until(lambda: not browser.run("return document.getElementById('tip').hidden"))
    browser.run("const c = document.getElementById('colour'); c.value = 'label'; c.dispatchEvent(new Event('change'))")
    names = browser.run("return [...document.querySelectorAll('#alone option')].map((o) => o.textContent)")
    assert sorted(names) == ["all", "sea", "town"]
    mouse(browser, "mouseMoved", x[outside], y[outside])
    browser.until(lambda: not browser.run("return document.getElementById('tip').hidden"))


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (390, False)])
def test_nothing_hangs_over(browser: Browser, made: Map, width: int, dark: bool) -> None:
    browser.look(width=width, height=800, dark=dark)
    show(browser, made)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    drawn = browser.run("const c = document.getElementById('map');"
                        "return [c.width, c.height, c.clientWidth, c.clientHeight]")  # fmt: skip
    assert drawn[:2] == drawn[2:] and drawn[2] > 300


def test_without_scripts_it_says_so(browser: Browser, made: Map) -> None:
    try:
        browser.scripts(False)
        browser.open(made.folder / "map.html")
        assert "The map needs JavaScript" in browser.text("main")
    finally:
        browser.scripts(True)


def test_an_incomplete_folder_is_told(browser: Browser, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    given = content(12, 3, positions=MapInput("pca", lambda i: rows[i], lambda i: rows[i]))
    build_report(given, tmp_path / "report")
    (tmp_path / "report" / "data" / "map.js").unlink()
    browser.open(tmp_path / "report" / "map.html")
    browser.until(lambda: "The map cannot be shown: data/map.js cannot be read" in browser.text("main"))
    assert all("ERR_FILE_NOT_FOUND" in line for line in browser.console())


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("topics") / "report"
    build_report(planted.planted(), folder, per_topic=4)
    return folder


VISIBLE = """return [...document.querySelectorAll(".overlay")].map(
  (overlay) => [...overlay.querySelectorAll("svg g, svg path")]
    .filter((e) => getComputedStyle(e).visibility === "visible").map((e) => e.getAttribute("class")))"""


def test_the_legend_shows_a_topic_alone(browser: Browser, topics: Path) -> None:
    """By a click, by the arrow keys, and under the pointer; in one photograph alone."""
    browser.open(topics / "topic-000.html")
    before = browser.run(VISIBLE)
    assert set(before[0]) == {"s0", "s1"}
    browser.run("document.querySelector('.overlay label.s1').click()")
    after = browser.run(VISIBLE)
    assert set(after[0]) == {"s1"} and after[1:] == before[1:]
    from selenium.webdriver.common.keys import Keys

    browser.driver.switch_to.active_element.send_keys(Keys.ARROW_UP)
    browser.driver.find_element("css selector", ".overlay label.s1 input").send_keys(Keys.ARROW_UP)
    assert set(browser.run(VISIBLE)[0]) == {"s0"}
    browser.run("document.querySelector('.overlay label.none').click()")
    assert browser.run(VISIBLE)[0] == []
    browser.run("document.querySelector('.overlay label.all').click()")
    box = browser.run(
        """const label = document.querySelectorAll(".overlay label.s1")[1];
        label.scrollIntoView({ block: "center" });
        const box = label.getBoundingClientRect();
        return [box.left + 40, box.top + box.height / 2]"""
    )
    mouse(browser, "mouseMoved", *box)
    browser.until(lambda: set(browser.run(VISIBLE)[1]) == {"s1"})
    assert browser.run(VISIBLE)[0] == before[0]


def test_drawings_and_patches_are_seen(browser: Browser, topics: Path) -> None:
    """A keypoint's circle lies where the keypoint is; a patch has the colour of its word."""
    browser.look(width=1280, height=3000)
    browser.open(topics / "topic-002.html")
    browser.run("for (const image of document.images) image.loading = 'eager'")
    loaded = "return [...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    browser.until(lambda: browser.run(loaded))
    box = browser.run("const b = document.querySelector('.drawing').getBoundingClientRect();"
                      "return [b.left, b.top, b.width, b.height]")  # fmt: skip
    circle = browser.run("const b = document.querySelector('.drawing circle').getBoundingClientRect();"
                         "return [b.left + b.width / 2, b.top + b.height / 2]")  # fmt: skip
    x, y, _, _ = planted.POINTS[0]
    assert circle[0] == pytest.approx(box[0] + (x + 0.5) / planted.WIDTH * box[2], abs=1.5)
    assert circle[1] == pytest.approx(box[1] + (y + 0.5) / planted.HEIGHT * box[3], abs=1.5)
    places = browser.run(
        """const list = [...document.querySelectorAll("#words h3")].find((h) => h.textContent.startsWith("Keypoints"));
        return [...list.parentElement.querySelectorAll("ul.words")].at(-1).querySelectorAll("svg").length"""
    )
    assert places >= 8
    spots = browser.run(
        """const [patch] = [...document.querySelectorAll("ul.words")].at(-1).querySelectorAll("svg");
        return patch.getBoundingClientRect().toJSON()"""
    )
    seen = shot(browser)
    middle = seen[round(spots["y"] + spots["height"] / 2), round(spots["x"] + spots["width"] / 2)].astype(int)
    assert np.abs(middle - planted.COLOURS[2]).max() < 25
