"""The pages in a real browser: what loads, what the controls do, what a name could do, and what is asked for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from report.browser import Browser, needs_browser
from report.sample import HOSTILE, Report, content, photograph, report_of

from fastvbow.report import browse_page
from fastvbow.report.content import Skipped, Suggestion

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [needs_browser, pytest.mark.usefixtures("quiet")]

MARK = "document.documentElement.dataset.injected = 1"
INJECTING = [
    f'"><img src=x onerror="{MARK}">.jpg',
    f"<script>{MARK}</script>.jpg",
    f"</script><script>{MARK}</script>.jpg",
    f"javascript:{MARK}//.jpg",
    f"'; {MARK}; '.jpg",
    "\u2028\u2029 __proto__ constructor.jpg",
    "__proto__",
    *HOSTILE,
]
N = 200


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report in a folder with a difficult name, of photographs, topics and labels with worse ones."""
    folder = tmp_path_factory.mktemp("browser") / "the 'source' 100%25 #1 \"q\" ?ü"
    folder.mkdir()
    names = [INJECTING[i].replace("/", "∕") if i < len(INJECTING) else f"sub folder/{i}.jpg" for i in range(40)]
    paths = [folder / (name if len(name) < 250 else "long.jpg") for name in names]
    (folder / "sub folder").mkdir()
    for i, path in enumerate(paths):
        cv2.imwrite(str(folder / "x.jpg"), photograph(i)[:, :, ::-1])
        (folder / "x.jpg").rename(path)
    made = content(
        40,
        4,
        title=INJECTING[0],
        source=INJECTING[1],
        ids=[f"{i}" for i in range(40)],
        names=names,
        labels=[INJECTING[i % len(INJECTING)] if i % 5 else None for i in range(40)],
        topic=np.arange(40) % 4,
        topic_names={0: INJECTING[2], 1: INJECTING[0]},
        suggestions={
            topic: Suggestion(
                INJECTING[topic],
                [(word, 0.4 - 0.1 * i, INJECTING[-1 - i]) for i, word in enumerate(INJECTING)],
                word,
                0.5,
            )
            for topic, word in enumerate(INJECTING[2:5])
        },
        suggested_by=INJECTING[1],
        locate=paths.__getitem__,
        skipped=[Skipped(name, INJECTING[i % 3]) for i, name in enumerate(INJECTING)],
        parameters=dict.fromkeys(INJECTING, INJECTING[0]),
    )
    return report_of(made, folder / "the 'report' 100%25 #2 \"q\"", n_thumbnails=30)


LABELS = ["coast", "kitchen", "street"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """200 photographs in three chunks, of which 50 have a thumbnail."""
    made = content(
        N,
        4,
        names=[f"folder {i % 3}/{i:03d}{' Größe' if i == 7 else ''}.jpg" for i in range(N)],
        labels=[LABELS[i % 3] if i % 4 else None for i in range(N)],
        topic=np.where(np.arange(N) % 25 == 3, -1, np.arange(N) % 3),
        topic_names={1: "Topic of cars"},
        suggestions={
            1: Suggestion("truck", [("truck", 0.3, "")]),
            2: Suggestion(
                "harbour",
                [("harbour", 0.3, "a sheltered port"), ("quay", -0.1, ""), ("pier", -0.2, "")],
                "boats at rest",
                0.4,
            ),
        },
        locate=lambda i: None,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browse_page, "CHUNK", 70)
        return report_of(made, tmp_path_factory.mktemp("browser") / "report", n_thumbnails=50, per_topic=6)


def browse(browser: Browser, report: Report, fragment: str = "") -> None:
    browser.open(report.folder / "browse.html", fragment)
    settled(browser)


def settled(browser: Browser) -> None:
    """Wait until the search has ended and its photographs are there."""
    count = "document.querySelectorAll('#results > li').length"
    script = f"""const said = document.getElementById("status").textContent;
        if (!document.getElementById("stop").hidden) return false;
        if (said === "No photograph is like this.") return {count} === 0;
        const found = parseInt(said.replace(/,/g, ""), 10);
        const page = parseInt((/page (\\d+)/.exec(said) || [0, 1])[1], 10);
        return !said.includes("looked at") && {count} === Math.min(60, found - 60 * (page - 1))
          && document.getElementById("results").dataset.page === String(page);"""
    browser.until(lambda: browser.run(script))


def found(browser: Browser) -> list[str]:
    """The names on the page."""
    return list(browser.run("return [...document.querySelectorAll('#results .name')].map((e) => e.textContent)"))


def choose(browser: Browser, name: str, value: object) -> None:
    """Set a control as a person does, with the events that this brings."""
    browser.run(
        """const field = document.getElementById("filters").elements[arguments[0]];
        if (field.type === "checkbox") field.checked = arguments[1]; else field.value = arguments[1];
        field.dispatchEvent(new Event("input", { bubbles: true }));""",
        name,
        value,
    )
    browser.until(lambda: browser.run("return location.hash") != "")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_every_page_loads(browser: Browser, hostile: Report, width: int, dark: bool) -> None:
    """Pictures appear, nothing hangs over the edge, the colours follow the system, no name becomes markup."""
    browser.look(width=width, dark=dark)
    for name in hostile.pages:
        if name == "browse.html":
            browse(browser, hostile)
        else:
            browser.open(hostile.folder / name)
        state = browser.run(
            """const root = document.documentElement;
            for (const image of document.images) image.loading = "eager";
            return { wide: root.scrollWidth > innerWidth, injected: root.dataset.injected || null,
              paper: getComputedStyle(document.body).backgroundColor, images: document.images.length };"""
        )
        assert (state["wide"], state["injected"]) == (False, None), name
        assert (state["paper"] == "rgb(20, 20, 21)") == dark, "the style sheet is there, and follows the system"
        loaded = "return [...document.images].every((image) => image.complete && image.naturalWidth > 0)"
        browser.until(lambda loaded=loaded: browser.run(loaded))
        assert browser.console() == [], name
        assert state["images"] or name in {"run.html", "skipped.html"}


def test_sprites_show_their_own_photograph(browser: Browser, tmp_path: Path) -> None:
    """Each cell is cut out where it lies: the colour on the screen is that of the photograph."""
    n = 130  # two sheets, the second one with three rows
    sizes = [(300, 400), (400, 300), (60, 400), (40, 30), (300, 302)]

    def flat(i: int) -> np.ndarray:
        colour = (i * 97 % 256, i * 53 % 256, i * 151 % 256)
        return np.full((*sizes[i % len(sizes)], 3), colour, dtype=np.uint8)

    made = content(n, 2, read_photograph=flat, locate=lambda i: None)
    report = report_of(made, tmp_path / "report", per_topic=1, n_uncertain=0)
    browser.look(width=1280, height=4000)
    for page in (1, 2, 3):
        browse(browser, report, f"page={page}&sort=name")
        browser.until(lambda: browser.run("return document.querySelectorAll('.sprite').length") > 0)
        boxes = browser.run(
            """return [...document.querySelectorAll("#results > li")].map((li) => {
              const box = li.querySelector(".sprite").getBoundingClientRect();
              return [li.querySelector(".name").textContent, box.left, box.top, box.width, box.height];
            })"""
        )
        browser.run("return Promise.all([0, 1].map((i) => new Promise((done) => { const image = new Image();"
                    "image.onload = () => done(true); image.src = `sheets/000${i}.jpg`; })))")  # fmt: skip
        shot = cv2.imdecode(np.frombuffer(browser.driver.get_screenshot_as_png(), np.uint8), cv2.IMREAD_COLOR_RGB)
        for name, left, top, width, height in boxes:
            part = shot[round(top) + 3 : round(top + height) - 3, round(left) + 3 : round(left + width) - 3]
            expected = flat(int(name[:3]))
            assert np.abs(part.astype(int) - expected[0, 0].astype(int)).max() <= 24, name
            shape = expected.shape[1] / expected.shape[0]
            assert width / height == pytest.approx(shape, rel=0.06), name


def test_links_lead_somewhere(browser: Browser, plain: Report) -> None:
    """All relative addresses as the browser resolves them, those that scripts made included."""
    seen = set()
    for name in plain.pages:
        if name == "browse.html":
            browse(browser, plain, "topic=1")
        else:
            browser.open(plain.folder / name)
        seen |= set(browser.run("return [...document.links].map((a) => a.href)"))
    base = plain.folder.as_uri() + "/"
    assert all(address.startswith(base) for address in seen)
    files = {address.removeprefix(base).partition("#")[0] for address in seen}
    assert files == set(plain.pages) and all((plain.folder / name).is_file() for name in files)


def test_a_suggested_name_looks_suggested(browser: Browser, plain: Report) -> None:
    """In italics wherever it stands for a name, which one that a person gave is not; and the search knows it."""
    browser.open(plain.folder / "index.html")
    titles = browser.run(
        """return [...document.querySelectorAll(".cards .title")].map((title) => [title.textContent,
          getComputedStyle(title).fontStyle, title.parentElement.querySelectorAll(".tag").length])"""
    )
    assert sorted(titles) == [
        ["Topic 0", "normal", 0],
        ["Topic of cars", "normal", 0],
        ["harbour?", "italic", 1],
    ]
    links = """return [...document.querySelectorAll(arguments[0])].map(
      (a) => [a.textContent, getComputedStyle(a).fontStyle])"""
    assert {tuple(pair) for pair in browser.run(links, "#uncertain .caption a")} <= {
        ("Topic 0", "normal"),
        ("Topic of cars", "normal"),
        ("harbour?", "italic"),
    }
    browse(browser, plain, "q=harbour")
    assert len(found(browser)) == 60 and browser.text("#status").startswith("64 photographs")
    assert {tuple(pair) for pair in browser.run(links, "#results .caption a")} == {("harbour?", "italic")}
    options = browser.run("return [...document.getElementById('topic').options].map((option) => option.textContent)")
    assert "harbour? suggested (64)" in options and "Topic of cars (64)" in options
    browser.open(plain.folder / "topic-002.html")
    assert browser.text("h1") == "harbour?"
    assert browser.text(".head p").startswith("suggested topic 2 · 64 photographs")
    widths = browser.run("return [...document.querySelectorAll('.nouns .bar i')].map((i) => i.style.width)")
    assert widths == ["100%", "0%", "0%"]
    assert browser.text(".nearest") == "Nearest caption: boats at rest cosine 0.400"
    browser.open(plain.folder / "topic-001.html")
    assert browser.text("h1") == "Topic of cars"
    assert browser.text(".nouns .noun") == "truck"


@pytest.mark.parametrize("width", [500, 1300])
def test_a_noun_stands_beside_its_own_score(browser: Browser, plain: Report, width: int) -> None:
    """With a definition and without one, in wide windows and in narrow ones."""
    browser.look(width=width)
    browser.open(plain.folder / "topic-002.html")
    rows = browser.run(
        """return [...document.querySelectorAll(".nouns li")].map((li) => [".noun", ".score", ".bar"].map((part) => {
          const box = li.querySelector(part).getBoundingClientRect();
          return [box.left, box.top + box.height / 2];
        }))"""
    )
    assert len(rows) == 3 and all(a[0][1] + 10 < b[0][1] for a, b in pairwise(rows)), "one below the other"
    for noun, score, bar in rows:
        assert noun[0] < score[0] < bar[0]
        assert noun[1] == pytest.approx(score[1], abs=4) and noun[1] == pytest.approx(bar[1], abs=4)
    assert [row[0][0] for row in rows] == [rows[0][0][0]] * 3, "nouns begin in one column"


def test_no_caption_is_cut_without_a_sign(browser: Browser, tmp_path: Path) -> None:
    """Beside a narrow photograph the file's name gives way, then topic and label end in dots; the number never does."""
    made = content(
        30,
        2,
        read_photograph=lambda i: np.full((400, 220, 3), 8 * i, np.uint8),
        labels=["buildings and towers"] * 30,
        topic=np.arange(30) % 2,
        topic_names={0: "mountains and valleys", 1: "beaches and lakes"},
        locate=lambda i: None,
    )
    report = report_of(made, tmp_path / "report", per_topic=2)
    for width in (500, 1300):
        browser.look(width=width)
        browse(browser, report)
        lines = browser.run(
            """return [...document.querySelectorAll("#results .caption")].map((line) => {
              const number = line.querySelector(".p");
              return [line.clientWidth, line.scrollWidth, number.clientWidth, number.scrollWidth];
            })"""
        )
        assert len(lines) == 30 and min(line[0] for line in lines) < 120, "there are narrow ones"
        assert all(whole <= seen + 1 for seen, whole, _, _ in lines)
        assert all(whole <= seen for _, _, seen, whole in lines)


def test_the_filters(browser: Browser, plain: Report) -> None:
    rows = plain.data("index")
    assert [len(plain.data(f"rows-000{i}")["name"]) for i in range(3)] == [70, 70, 60]
    topic = np.where(np.arange(N) % 25 == 3, -1, np.arange(N) % 3)
    made = content(N, 4)
    probability, entropy = np.round(made.probability, 3), np.round(made.entropy, 3)
    browse(browser, plain)
    assert browser.text("#status") == f"{N} photographs · page 1 of 4"

    def check(expected: np.ndarray, order: np.ndarray | None = None) -> None:
        settled(browser)
        numbers = [int(name[:3]) for name in found(browser)]
        expected = np.flatnonzero(expected)
        assert browser.text("#status").startswith(f"{len(expected)} photograph") or not len(expected)
        assert set(numbers) <= set(expected.tolist()) and len(numbers) == min(60, len(expected))
        if order is not None:
            ranked = expected[np.argsort(order[expected], kind="stable")][: len(numbers)]
            np.testing.assert_allclose(order[numbers], order[ranked])

    choose(browser, "topic", "1")
    check(topic == 1, -probability)
    choose(browser, "label", "kitchen")
    labels = np.array([LABELS[i % 3] if i % 4 else "" for i in range(N)])
    check((topic == 1) & (labels == "kitchen"), -probability)
    choose(browser, "topic", "")
    check(labels == "kitchen")
    choose(browser, "sort", "entropy")
    check((labels == "kitchen"), np.where(topic < 0, 1, -entropy))
    choose(browser, "uncertain", True)
    check((labels == "kitchen") & (entropy >= rows["uncertain"] / 1000) & (topic >= 0))
    browser.driver.find_element("id", "clear").click()
    settled(browser)
    assert browser.text("#status") == f"{N} photographs · page 1 of 4"
    choose(browser, "from", "0.5")
    choose(browser, "to", "0.6")
    browser.until(lambda: "to=0.6" in browser.run("return location.hash"))
    check((probability >= 0.5) & (probability <= 0.6) & (topic >= 0))
    choose(browser, "labelled", "no")
    check((probability >= 0.5) & (probability <= 0.6) & (topic >= 0) & (labels == ""))
    browse(browser, plain, "topic=none")
    check(topic == -1)
    browse(browser, plain, "labelled=yes&sort=probability")
    check(labels != "", np.where(topic < 0, 2, probability))
    browse(browser, plain, "q=nothing+like+it")
    assert browser.text("#status") == "No photograph is like this." and found(browser) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("012", {12}),
        ("grösse", {7}),
        ("GRO\u0308SSE", {7}),
        ("folder 2/0", {i for i in range(100) if i % 3 == 2}),
        ("topic of CARS 19", {i for i in range(190, 200) if i % 3 == 1} | {19}),
        ("street 01", {i for i in (*range(10, 20), 101) if i % 3 == 2 and i % 4}),
    ],
)
def test_the_search(browser: Browser, plain: Report, words: str, expected: set[int]) -> None:
    """File, folder, topic and label, however they are typed."""
    browse(browser, plain)
    browser.driver.find_element("id", "q").send_keys(words)
    browser.until(lambda: browser.run("return location.hash").startswith("#q="))
    browser.until(lambda: len(found(browser)) < 60)
    settled(browser)
    assert {int(name[:3]) for name in found(browser)} == expected


def test_pages_and_the_address(browser: Browser, plain: Report) -> None:
    """What is shown stands in the address; going back works; the focus goes to the results."""
    browse(browser, plain, "sort=name&page=2")
    assert browser.text("#status") == f"{N} photographs · page 2 of 4"
    second = found(browser)
    assert second[0].startswith("180") or len(second) == 60
    browser.driver.find_element("id", "next").click()
    browser.until(lambda: found(browser) != second)
    settled(browser)
    assert browser.run("return location.hash") == "#sort=name&page=3"
    assert browser.run("return document.activeElement.id") == "results-title"
    browser.driver.back()
    browser.until(lambda: found(browser) == second)
    browser.run("document.getElementById('page').value = 99;"
                "document.getElementById('page').dispatchEvent(new Event('change'))")  # fmt: skip
    browser.until(lambda: len(found(browser)) == N - 180)
    assert browser.run("return document.getElementById('next').getAttribute('aria-disabled')") == "true"
    every = [*found(browser)]
    for page in (3, 2, 1):
        browse(browser, plain, f"sort=name&page={page}")
        every = found(browser) + every
    made = [f"folder {i % 3}/{i:03d}{' Größe' if i == 7 else ''}.jpg" for i in range(N)]
    assert every == [name.split("/")[1] for name in sorted(made)]
    browse(browser, plain, "page=999")
    assert browser.text("#status") == f"{N} photographs · page 4 of 4" and len(found(browser)) == N - 180


def test_links_within_the_page_leave_the_view(browser: Browser, plain: Report) -> None:
    """The address holds the query: to skip to the content or back to the top must not clear it."""
    from selenium.webdriver.common.keys import Keys

    browse(browser, plain, "topic=1&page=2")
    before = found(browser)
    for link, target in (("a.skip", "main"), ("footer a", "top")):
        browser.driver.find_element("css selector", link).send_keys(Keys.ENTER)
        browser.until(lambda target=target: browser.run("return document.activeElement.id") == target)
        settled(browser)
        assert browser.run("return location.hash") == "#topic=1&page=2" and found(browser) == before
    assert browser.run("return scrollY") == 0


def test_the_count_is_spoken(browser: Browser, plain: Report) -> None:
    browse(browser, plain, "q=kitchen")
    attributes = ["role", "aria-live", "aria-busy"]
    spoken = browser.run(
        "return arguments[0].map((a) => document.getElementById('status').getAttribute(a))", attributes
    )
    assert spoken == ["status", "polite", "false"]
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]}
    wanted = {
        ("banner", ""),
        ("navigation", "Report"),
        ("main", ""),
        ("search", "Photographs"),
        ("region", "Photographs"),
    }
    wanted |= {("searchbox", "Search"), ("combobox", "Topic"), ("combobox", "Label"), ("combobox", "Order")}
    wanted |= {("spinbutton", "Probability from"), ("spinbutton", "Probability to"), ("group", "Probability")}
    assert wanted <= named, wanted - named
    unnamed = [node for node in tree if node["role"]["value"] in {"link", "button", "image", "checkbox", "combobox"}]
    assert unnamed and all(node["name"]["value"] for node in unnamed if not node["ignored"])


@pytest.mark.parametrize("name", ["index.html", "topic-000.html", "browse.html", "skipped.html", "run.html"])
def test_headings_fall_by_one(browser: Browser, plain: Report, name: str) -> None:
    browser.open(plain.folder / name)
    script = "return [...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))"
    levels = browser.run(script)
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_shared_address_sets_the_form(browser: Browser, plain: Report) -> None:
    browse(browser, plain, "q=0&topic=1&label=no+such+label&labelled=yes&from=0.25&to=0.9&uncertain=1&sort=name")
    values = browser.run(
        """const e = document.getElementById("filters").elements;
        return [e.q.value, e.topic.value, e.label.value, e.labelled.value, e.from.value, e.to.value,
          e.uncertain.checked, e.sort.value]"""
    )
    assert values == ["0", "1", "no such label", "yes", "0.25", "0.9", True, "name"]
    browse(browser, plain, "topic=abc&from=x&to=-3&page=-1&sort=<b>&labelled=maybe")
    assert browser.run("return document.getElementById('filters').elements.sort.value") == "typical"


def test_a_search_can_be_stopped(browser: Browser, plain: Report) -> None:
    """The chunk that is read ends, what was found stays, and the page says how far it came."""
    browser.open(plain.folder / "index.html")
    browse(browser, plain)
    browser.run(
        """const load = fastvbow.load; window.held = [];
        fastvbow.load = (name) => load(name).then((value) => new Promise((go) => held.push(() => go(value))));
        location.hash = "#q=jpg";"""
    )
    # the first chunk is in memory: the second one waits
    browser.until(lambda: browser.run("return held.length") == 1)
    told = ["64 photographs so far; 32 % of 200 looked at", "70 photographs so far; 35 % of 200 looked at"]
    assert browser.text("#status") in told, "what the first chunk has of the first topic, or of the second one too"
    assert len(found(browser)) == 60, "what is found is shown as it comes"
    browser.driver.find_element("id", "stop").click()
    browser.run("held[0]()")
    browser.until(lambda: "stopped" in browser.text("#status"))
    assert browser.text("#status") == "70 photographs, stopped after 70 of 200 · page 1 of 2"
    assert not browser.driver.find_element("id", "stop").is_displayed()


def test_no_photograph_at_all(browser: Browser, tmp_path: Path) -> None:
    report = report_of(content(0, 2, skipped=[Skipped("a.txt", "not an image")]), tmp_path / "report")
    browse(browser, report)
    assert browser.text("#status") == "No photograph is like this."
    assert not browser.driver.find_elements("css selector", "#label, #labelled"), "nothing is labelled"


def test_an_incomplete_folder_is_told(browser: Browser, tmp_path: Path) -> None:
    report = report_of(content(), tmp_path / "report")
    (report.folder / "data" / "rows-0000.js").unlink()
    browser.open(report.folder / "browse.html")
    wanted = "data/rows-0000.js cannot be read: this report’s folder is not whole"
    browser.until(lambda: browser.text("#status") == wanted)
    assert all("ERR_FILE_NOT_FOUND" in line for line in browser.console())


def test_by_keyboard_alone(browser: Browser, plain: Report) -> None:
    """From the skip link through navigation and form to the photographs, with a visible focus, and none is lost."""
    from selenium.webdriver.common.keys import Keys

    browse(browser, plain, "topic=1")
    seen = []
    for _ in range(150):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        name, outlined = browser.run(
            """const e = document.activeElement;
            const name = e === document.body ? "BODY" : e.id || e.name || e.getAttribute("href");
            return [name, getComputedStyle(e).outlineStyle !== "none"]"""
        )
        if name == "BODY":
            break
        assert outlined, f"{name} shows no focus"
        seen.append(name)
    order = ["#main", "index.html", "browse.html", "q", "topic", "label", "labelled", "from", "to", "sort", "uncertain"]
    assert [seen.index(name) for name in order] == sorted(seen.index(name) for name in order)
    assert {"clear", "previous", "page", "next", "#top"} <= set(seen)
    browser.driver.find_element("id", "next").send_keys(Keys.ENTER)
    browser.until(lambda: "page=2" in browser.run("return location.hash"))
    settled(browser)
    assert browser.run("return document.activeElement.id") == "results-title"


def test_originals_where_there_is_no_thumbnail(browser: Browser, hostile: Report) -> None:
    """Names that no address takes as they are lead to their files; what a browser cannot show leaves its name."""
    browse(browser, hostile)
    for image in browser.driver.find_elements("css selector", "#results img"):
        browser.run("arguments[0].loading = 'eager'", image)
    loaded = "return [...document.querySelectorAll('#results img')].every((image) => image.naturalWidth === 400)"
    browser.until(lambda: browser.run(loaded))
    kinds = browser.run(
        "return ['img', '.sprite', 'a.frame'].map((s) => document.querySelectorAll(`#results ${s}`).length)"
    )
    assert kinds == [10, 30, 40]
    addresses = browser.run("return [...document.querySelectorAll('#results a.frame')].map((a) => a.href)")
    missing = "return Promise.all(arguments[0].map((src) => new Promise((done) => { const i = new Image();" \
              "i.onload = () => done(null); i.onerror = () => done(src); i.src = src; })))"  # fmt: skip
    assert set(browser.run(missing, addresses)) == {None}
    assert all(address.startswith("file:///") for address in addresses)


def test_what_cannot_be_shown_leaves_its_name(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    made = content(12, 1, locate=lambda i: tmp_path / f"folder/{i:03d}.jpg", read_photograph=lambda i: None)
    for i in range(12):
        (tmp_path / f"folder/{i:03d}.jpg").write_bytes(b"II*\0 not what a browser shows")
    report = report_of(made, tmp_path / "report", n_thumbnails=5, per_topic=1, n_uncertain=0)
    browse(browser, report)
    kinds = ("can no longer be read", "cannot be shown here")
    script = "return arguments[0].map((words) => [...document.querySelectorAll('#results .gone')]" \
             ".filter((e) => e.textContent === words).length)"  # fmt: skip
    browser.until(lambda: browser.run(script, kinds) == [5, 7])


def test_the_policy_stops_injected_scripts(browser: Browser, plain: Report, tmp_path: Path) -> None:
    """Should markup get into a page all the same: no inline script, no handler, no address of a network."""
    harm = f"""<script>{MARK}</script><img src="data:," onerror="{MARK}"><a id="bait" href="javascript:{MARK}">x</a>
    <script src="https://example.invalid/x.js"></script><img src="http://example.invalid/x.png">
    <iframe src="data:text/html,x"></iframe><form action="https://example.invalid/"><input></form>"""
    for name in ("index.html", "browse.html"):
        probe = plain.folder / "probe.html"
        probe.write_text(plain.pages[name].source.replace("</main>", f"{harm}</main>"), encoding="utf-8")
        try:
            browser.open(probe)
            browser.run("document.getElementById('bait').click()")
            assert browser.run("return document.documentElement.dataset.injected || null") is None
        finally:
            probe.unlink()
        blocked = " ".join(browser.console())
        for kind in ("script-src", "img-src", "x.js", "x.png"):
            assert kind in blocked, kind


def test_only_addresses_of_files_are_opened(browser: Browser, plain: Report) -> None:
    browse(browser, plain)
    given = ["file:///a.jpg", "javascript:alert(1)", " javascript:alert(1)", "http://a/", "//a/b", "FILE:///a", None, 3]
    assert browser.run("return arguments[0].map(fastvbow.fileAddress)", given) == ["file:///a.jpg", *[None] * 7]


def test_without_scripts(browser: Browser, plain: Report) -> None:
    """All pages but the browser are whole, and that one says what it needs."""
    try:
        browser.scripts(False)
        for name in plain.pages:
            browser.open(plain.folder / name)
            if name == "browse.html":
                assert "needs JavaScript" in browser.text("main") and "Search" not in browser.text("main").split("\n")
            else:
                words = " ".join(browser.text("main").split()).casefold()
                assert len(words) > 20 and "javascript" not in words
    finally:
        browser.scripts(True)


def test_through_http(browser: Browser, plain: Report) -> None:
    """The same folder from a server: the policy lets its own scripts in there too."""
    import functools
    import http.server
    import threading

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=plain.folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        origin = f"http://127.0.0.1:{server.server_port}/"
        browser.driver.get(f"{origin}browse.html#topic=1")
        settled(browser)
        assert len(found(browser)) == 60
        asked = [address for address in browser.requests() if not address.startswith(("data:", "about:"))]
        assert asked and all(address.startswith(origin) for address in asked)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("long", ["x" * 90, "Strasse_mit_Haeusern_und_Baeumen_im_Hintergrund", "some words " * 8])
def test_long_labels_fit_a_phone(browser: Browser, tmp_path: Path, long: str) -> None:
    labels = [f"{long}{'' if i % 5 else '_2'}" for i in range(60)]
    report = report_of(content(60, 4, labels=labels, topic=np.arange(60) % 4), tmp_path / "report")
    browser.look(width=390)
    common = """const box = (element) => element.getBoundingClientRect();
        const lines = [...document.querySelectorAll(".common")];
        return [document.documentElement.scrollWidth, lines.length, lines.filter((line) => {
          const [label, share] = line.children;
          return box(label).top != box(share).top || box(line).height > 25 || box(share).right > box(line).right + 0.5
            || share.scrollWidth > share.clientWidth + 1 || box(label).right > box(share).left;
        }).length];"""
    browser.open(report.folder / "index.html")
    assert browser.run(common) == [390, 4, 0]
    beside = """return [...document.querySelectorAll(".line:has(> .size)")].map((line) => {
        const [title, size] = [...line.children].map((part) => part.getBoundingClientRect());
        return Math.abs(title.top - size.top) < 4 && title.right <= size.left;
      })"""
    assert browser.run(beside) == [True] * 4, "a topic's size stands beside its title"
    browser.open(report.folder / "topic-000.html")
    counts = """const counts = [...document.querySelectorAll(".labels b")];
        const cut = counts.filter((count) => count.getBoundingClientRect().right > 390 - 15).length;
        return [document.documentElement.scrollWidth, counts.length, cut];"""
    assert browser.run(counts) == [390, 2, 0]
