"use strict";
// The map: pointer, touch and keys, the photograph that is pointed at, and the one that is chosen.
(() => {
  const at = (id) => document.getElementById(id);
  const { element } = fastvbow;
  const canvas = at("map"), tip = at("tip"), said = at("said");
  let view, rows, index, data;

  const titleOf = ({ title, suggested }) => (suggested ? `${title} (suggested)` : title);
  const title = (photograph) => titleOf(photograph.topic);

  /** What the rows say of a point, once its chunk is there. */
  async function about(i) {
    return (await rows.photographs([view.row[i]]))[0];
  }

  /** Let an element show the picture of a point, at most so many pixels wide; without one it is hidden. */
  function showPicture(shown, i, most) {
    const place = view.slot[i];
    shown.hidden = place < 0;
    if (place < 0) return;
    const width = view.sizes[2 * i], height = view.sizes[2 * i + 1];
    const wide = Math.min(most, width * (most / 160));
    shown.style.width = `${wide}px`;
    shown.style.height = `${(wide * height) / width}px`;
    fastvbow.showSprite(shown, index.sheet, place, width, height);
  }

  async function hover(i, x, y) {
    view.hovered = i;
    view.request();
    canvas.classList.toggle("at", i >= 0);
    tip.hidden = i < 0;
    if (i < 0) return;
    showPicture(tip.firstElementChild, i, 160);
    tip.dataset.row = view.row[i];
    const words = tip.lastElementChild;
    words.textContent = titleOf(index.topics[view.topic[i]]);
    const place = () => {
      const left = x + 18 + tip.offsetWidth > view.width ? x - 18 - tip.offsetWidth : x + 18;
      const top = Math.min(Math.max(4, y - 30), view.height - tip.offsetHeight - 4);
      tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
    };
    place();
    const photograph = await about(i);
    if (view.hovered !== i) return;
    words.textContent = sentence(photograph);
    place();
  }

  function sentence(photograph) {
    const label = photograph.label === null ? "" : `, labelled ${photograph.label}`;
    return `${photograph.fileName}, ${title(photograph)}, probability ${photograph.probability.toFixed(2)}${label}`;
  }

  const link = (href, words, properties = {}) => element("li", {}, element("a", { href, ...properties }, words));

  async function choose(i) {
    view.chosen = i;
    view.request();
    const picture = at("chosen").querySelector(".picture"), links = at("links");
    if (i < 0) {
      at("chosen-title").textContent = "No photograph chosen";
      at("about").textContent = "Point at a photograph to see it, select it to keep it here.";
      picture.hidden = true;
      links.replaceChildren();
      return;
    }
    const photograph = await about(i);
    if (view.chosen !== i) return;
    showPicture(picture, i, Math.min(260, at("chosen").clientWidth));
    at("chosen-title").textContent = photograph.fileName;
    at("about").textContent = sentence(photograph).slice(photograph.fileName.length + 2);
    const { topic, label } = photograph;
    links.replaceChildren(
      ...(photograph.href ? [link(photograph.href, "Open the original", { id: "original", target: "_blank", rel: "noopener" })] : []),
      link(topic.page, `The page of ${topic.title}`),
      link(`browse.html#topic=${topic.id}`, `All of ${topic.title} as a list`),
      ...(label === null ? [] : [link(`browse.html#${new URLSearchParams({ label })}`, `All labelled ${label} as a list`)]),
    );
    said.textContent = sentence(photograph);
  }

  /** Fill the list of groups that can be shown alone. */
  function listGroups() {
    const options = view.groups[view.by].flatMap((group, i) => (group ? [element("option", { value: i }, group.suggested ? `${group.name} suggested` : group.name)] : []));
    at("alone").replaceChildren(element("option", { value: "" }, "all"), ...options);
  }

  function showAlone(number) {
    view.alone = number;
    at("alone").value = number < 0 ? "" : number;
    view.regroup();
  }

  /** #topic=3 shows that topic alone. */
  function follow() {
    const wanted = new URLSearchParams(location.hash.slice(1)).get("topic");
    const number = index.topics.findIndex(({ id }) => String(id) === wanted);
    if (number < 0 || !view.groups.topic[number]) return;
    colourBy("topic");
    showAlone(number);
  }

  function colourBy(by) {
    view.by = at("colour").value = by;
    view.haze = null;
    listGroups();
    showAlone(-1);
  }

  const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (DIRECTIONS[event.key]) {
      const to = view.chosen < 0 ? view.middle() : view.next(view.chosen, ...DIRECTIONS[event.key]);
      if (to >= 0) {
        view.reveal(to);
        choose(to);
      }
    } else if (event.key === "+" || event.key === "=" || event.key === "-") {
      const [x, y] = view.chosen < 0 ? [undefined, undefined] : view.toScreen(view.x[view.chosen], view.y[view.chosen]);
      view.zoomAt(event.key === "-" ? 1 / 1.5 : 1.5, x, y);
    } else if (event.key === "0") view.whole();
    else if (event.key === "Escape") choose(-1);
    else if (event.key === "Enter" && at("original")) at("original").click();
    else return;
    hover(-1);
    event.preventDefault();
  }

  /** Dragging, pinching, pointing and selecting, for mouse, pen and fingers alike. */
  function listenToPointers() {
    const down = new Map();
    let moved = 0;
    const local = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left - canvas.clientLeft, event.clientY - box.top - canvas.clientTop];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      if (!down.size) moved = 0;
      down.set(event.pointerId, local(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = local(event), before = down.get(event.pointerId);
      if (!before) {
        if (event.pointerType === "mouse") hover(view.at(...now), ...now);
        return;
      }
      const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (other) {
        const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
        view.zoomAt(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
        view.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      } else if (moved > 4) {
        canvas.classList.add("dragged");
        hover(-1);
        view.pan(now[0] - before[0], now[1] - before[1]);
      }
      down.set(event.pointerId, now);
    });
    const up = (event) => {
      if (!down.delete(event.pointerId)) return;
      canvas.classList.remove("dragged");
      if (event.type === "pointerup" && !down.size && moved <= 4) {
        choose(view.at(...local(event), event.pointerType === "mouse" ? 14 : 24));
      }
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => hover(-1));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1;
      view.zoomAt(Math.exp(-event.deltaY * lines * 0.0016), ...local(event));
      hover(-1);
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => view.zoomAt(2, ...local(event)));
  }

  async function begin() {
    [index, data] = await Promise.all([fastvbow.load("index"), fastvbow.load("map")]);
    rows = new fastvbow.rows.Rows(index);
    at("mapped").hidden = false;
    view = new fastvbow.MapView(canvas, data, index);
    if (!data.label) for (const field of document.querySelectorAll(".of-labels")) field.remove();
    else at("colour").addEventListener("change", (event) => colourBy(event.target.value));
    listGroups();
    at("alone").addEventListener("change", (event) => showAlone(event.target.value === "" ? -1 : Number(event.target.value)));
    at("pictures").addEventListener("change", (event) => { view.pictures = event.target.checked; view.request(); });
    at("nearer").addEventListener("click", () => view.zoomAt(1.6));
    at("farther").addEventListener("click", () => view.zoomAt(1 / 1.6));
    at("whole").addEventListener("click", () => view.whole());
    canvas.addEventListener("keydown", onKey);
    listenToPointers();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.recolour());
    addEventListener("hashchange", follow);
    follow();
  }

  begin().catch((error) => {
    at("mapped").replaceWith(element("p", { className: "note" }, `The map cannot be shown: ${error.message}`));
  });
})();
