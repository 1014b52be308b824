"use strict";
// browse.html: the form, the address and the photographs. What is asked for stands in the address behind #, so that a
// view can be kept and shared; every change of the form goes there first, and the page follows the address.
(() => {
  const PER_PAGE = 60;
  const { element } = fastvbow;
  const at = (id) => document.getElementById(id);
  const form = at("filters"), heading = at("results-title"), status = at("status"), list = at("results");
  const stop = at("stop"), pager = at("pager"), pageField = at("page");
  const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

  let index, rows;
  let current = { key: null, result: null, control: null };
  let shown = "", moveFocus = false;

  /** The address as a query. */
  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const number = (name, otherwise) => {
      const value = parseFloat(given.get(name));
      return Number.isFinite(value) ? Math.min(1, Math.max(0, value)) : otherwise;
    };
    const topic = given.get("topic");
    return {
      text: given.get("q") || "",
      words: fastvbow.rows.folded(given.get("q") || "").split(/\s+/).filter(Boolean),
      topic: topic === "none" ? -1 : /^\d+$/.test(topic || "") ? Number(topic) : null,
      label: given.get("label") || null,
      labelled: ["yes", "no"].includes(given.get("labelled")) ? given.get("labelled") : "",
      low: Math.round(1000 * number("from", 0)),
      high: Math.round(1000 * number("to", 1)),
      uncertain: given.get("uncertain") === "1",
      sort: ["entropy", "probability", "name"].includes(given.get("sort")) ? given.get("sort") : "typical",
      page: Math.max(1, Math.min(1e6, parseInt(given.get("page"), 10) || 1)),
    };
  }

  /** A query as an address; what is as usual is left out. */
  function address(query) {
    const made = new URLSearchParams();
    if (query.text) made.set("q", query.text);
    if (query.topic !== null) made.set("topic", query.topic < 0 ? "none" : query.topic);
    if (query.label !== null) made.set("label", query.label);
    if (query.labelled) made.set("labelled", query.labelled);
    if (query.low > 0) made.set("from", query.low / 1000);
    if (query.high < 1000) made.set("to", query.high / 1000);
    if (query.uncertain) made.set("uncertain", "1");
    if (query.sort !== "typical") made.set("sort", query.sort);
    if (query.page > 1) made.set("page", query.page);
    return `#${made}`;
  }

  /** What the form says, as a query. */
  function fromForm() {
    const { q, topic, label, labelled, from, to, uncertain, sort } = form.elements;
    const share = (field, otherwise) => {
      const value = parseFloat(field.value);
      return Number.isFinite(value) ? Math.round(1000 * Math.min(1, Math.max(0, value))) : otherwise;
    };
    return {
      text: q.value, topic: topic.value === "" ? null : Number(topic.value),
      label: label && label.value !== "" ? label.value : null, labelled: labelled ? labelled.value : "",
      low: share(from, 0), high: share(to, 1000), uncertain: uncertain.checked, sort: sort.value, page: 1,
    };
  }

  function toForm(query) {
    const { q, topic, label, labelled, from, to, uncertain, sort } = form.elements;
    const put = (field, value) => { if (field && field.value !== value && field !== document.activeElement) field.value = value; };
    put(q, query.text);
    topic.value = query.topic === null ? "" : String(query.topic);
    if (label) {
      if (query.label !== null && ![...label.options].some((option) => option.value === query.label)) {
        label.append(element("option", { value: query.label, textContent: query.label }));
      }
      label.value = query.label === null ? "" : query.label;
    }
    if (labelled) labelled.value = query.labelled;
    put(from, query.low > 0 ? String(query.low / 1000) : "");
    put(to, query.high < 1000 ? String(query.high / 1000) : "");
    uncertain.checked = query.uncertain;
    sort.value = query.sort;
    at("clear").hidden = address({ ...query, page: 1, sort: "typical" }) === "#";
  }

  /** Go to a query: as a new entry of the history, or in place of the one that is there. */
  function go(query, instead) {
    const to = address(query);
    if (to === (location.hash || "#")) return;
    if (instead) location.replace(to);
    else location.hash = to;
  }

  const none = (words) => element("span", { className: "gone" }, words);

  function picture(photograph) {
    const found = photograph.picture;
    if (found && found.width) {
      const made = element("span", { className: "sprite" });
      made.setAttribute("role", "img");
      made.setAttribute("aria-label", photograph.name);
      made.style.setProperty("--own", found.width / found.height);
      fastvbow.showSprite(made, index.sheet, found.slot, found.width, found.height);
      return made;
    }
    if (found) return none("can no longer be read");
    if (!photograph.href) return none("no thumbnail");
    const made = element("img", { alt: photograph.name, loading: "lazy", decoding: "async" });
    made.onerror = () => { made.replaceWith(none("cannot be shown here")); };
    made.src = photograph.href;
    return made;
  }

  function tile(photograph, query) {
    const { name, topic, probability, entropy, label, href } = photograph;
    const detail = [name];
    if (label !== null) detail.push(`labelled ${label}`);
    if (topic.id >= 0) {
      detail.push(`${topic.title}, probability ${probability.toFixed(2)}, entropy ${entropy.toFixed(2)} nats`);
    }
    const frame = element(href ? "a" : "span", { className: "frame", title: detail.join(" · ") }, picture(photograph));
    if (href) Object.assign(frame, { href, target: "_blank", rel: "noopener" });
    const caption = element("p", { className: "caption" });
    if (topic.id >= 0) caption.append(element("span", { className: "p" }, probability.toFixed(2)), " ");
    if (query.topic === null) caption.append(element("a", { href: topic.page, dir: "auto", className: topic.suggested ? "suggested" : "" }, topic.title), " ");
    if (label !== null) {
      const className = topic.label && topic.label !== label ? "other" : "own-label";
      caption.append(element("span", { className, dir: "auto" }, label), " ");
    }
    caption.append(element("span", { className: "name", dir: "auto" }, photograph.fileName));
    const made = element("li", {}, frame, caption);
    const own = photograph.picture && photograph.picture.width ? photograph.picture.width / photograph.picture.height : 4 / 3;
    made.style.setProperty("--r", Math.min(2.4, Math.max(0.6, own)).toFixed(3));
    return made;
  }

  function say(result, query) {
    const found = count(result.rows.length, "photograph");
    const nPages = Math.max(1, Math.ceil(result.rows.length / PER_PAGE));
    if (!result.done) {
      const share = Math.floor((100 * result.looked) / Math.max(1, result.of));
      return `${found} so far; ${share} % of ${result.of.toLocaleString("en")} looked at`;
    }
    const stopped = result.stopped
      ? `, stopped after ${result.looked.toLocaleString("en")} of ${result.of.toLocaleString("en")}` : "";
    if (!result.rows.length) return result.stopped ? `Nothing found${stopped}.` : "No photograph is like this.";
    return `${found}${stopped}${nPages > 1 ? ` · page ${Math.min(query.page, nPages)} of ${nPages.toLocaleString("en")}` : ""}`;
  }

  /** Bring the page in line with what has been found so far. */
  async function render(result) {
    const query = read();
    const nPages = Math.max(1, Math.ceil(result.rows.length / PER_PAGE));
    stop.hidden = result.done;
    const page = result.done ? Math.min(query.page, nPages) : query.page;
    const part = result.rows.slice((page - 1) * PER_PAGE, page * PER_PAGE);
    const ready = result.done || (query.sort === "typical" && part.length === PER_PAGE);
    const text = say(result, query);
    status.setAttribute("aria-busy", String(!result.done));  // who listens hears the end alone, not every step
    if (status.textContent !== text) status.textContent = text;
    pager.hidden = nPages < 2;
    pageField.max = nPages;
    if (document.activeElement !== pageField) pageField.value = page;
    at("pages").textContent = nPages.toLocaleString("en") + (result.done ? "" : " or more");
    at("previous").setAttribute("aria-disabled", String(page <= 1));
    at("next").setAttribute("aria-disabled", String(page >= nPages));
    const wanted = `${current.key} ${part}`;
    if (!ready || wanted === shown) return;
    shown = wanted;
    const found = await rows.photographs(part);
    if (shown !== wanted) return;  // the person has gone on meanwhile
    list.replaceChildren(...found.map((photograph) => tile(photograph, query)));
    list.dataset.page = page;
    if (moveFocus) {
      moveFocus = false;
      heading.focus({ preventScroll: true });
      heading.scrollIntoView();
    }
  }

  function fail(error) {
    stop.hidden = true;
    status.setAttribute("aria-busy", "false");
    status.textContent = error.message;
  }

  /** Search for what the address says, if it is something else than before. */
  function follow() {
    const query = read();
    toForm(query);
    const key = address({ ...query, page: 1 });
    if (key === current.key) {
      render(current.result).catch(fail);
      return;
    }
    if (current.control) current.control.abort();
    const control = new AbortController();
    current = { key, control, result: { rows: [], looked: 0, of: 0, done: false } };
    const mine = current;
    let told = -Infinity;
    rows.search(query, control.signal, (result) => {
      mine.result = result;
      if (mine !== current || (!result.done && performance.now() - told < 200)) return;
      told = performance.now();
      render(result).catch(fail);
    }).catch((error) => { if (mine === current) fail(error); });
  }

  function turn(page) {
    const query = read();
    const nPages = Math.max(1, Math.ceil(current.result.rows.length / PER_PAGE));
    const to = Math.max(1, Math.min(nPages, page));
    if (to === query.page) return;
    moveFocus = true;
    go({ ...query, page: to });
  }

  /** Follow a link within the page without touching the address, in which the query stands. */
  function jump(event) {
    const link = event.target.closest('a[href^="#"]');
    const target = link && at(link.hash.slice(1));
    if (!target) return;
    event.preventDefault();
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
    target.scrollIntoView();
  }

  function listen() {
    let typing;
    document.addEventListener("click", jump);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typing);
      go(fromForm());
    });
    form.addEventListener("input", (event) => {
      clearTimeout(typing);
      const slowly = ["search", "number"].includes(event.target.type);
      typing = setTimeout(() => go({ ...fromForm() }, slowly), slowly ? 250 : 0);
    });
    at("clear").addEventListener("click", () => {
      form.reset();
      go(fromForm());
      form.elements.q.focus();
    });
    stop.addEventListener("click", () => {
      current.control.abort();
      heading.focus();
    });
    at("previous").addEventListener("click", () => turn(read().page - 1));
    at("next").addEventListener("click", () => turn(read().page + 1));
    pageField.addEventListener("change", () => turn(parseInt(pageField.value, 10) || 1));
    addEventListener("hashchange", follow);
  }

  async function begin() {
    index = await fastvbow.load("index");
    rows = new fastvbow.rows.Rows(index);
    const { topic, label } = form.elements;
    for (const { id, title, suggested, size } of index.topics) {
      topic.append(element("option", { value: id }, `${title}${suggested ? " suggested" : ""} (${size.toLocaleString("en")})`));
    }
    if (index.labelled) {
      for (const [name, n] of index.labels) {
        label.append(element("option", { value: name }, `${name} (${n.toLocaleString("en")})`));
      }
    } else {
      for (const field of form.querySelectorAll(".of-labels")) field.remove();
    }
    if (!index.unlabelled) for (const field of form.querySelectorAll(".of-both")) field.remove();
    at("doubt").textContent = `entropy from ${(index.uncertain / 1000).toFixed(2)} nats`;
    form.hidden = false;
    listen();
    follow();
  }

  at("browser").hidden = false;
  begin().catch(fail);
})();
