"use strict";
// All photographs of the report as rows in chunks: reading them, and searching them chunk after chunk.
fastvbow.rows = (() => {
  const KEPT = 24;  // chunks in memory

  /** Text as it is compared: é typed as one sign or as two is the same, and so are capitals, small letters, ß and ss. */
  const folded = (text) => (/^[\x20-\x7e]*$/.test(text) ? text : text.normalize("NFKC").toUpperCase()).toLowerCase();

  /** A row as a page shows it. */
  function photograph(chunk, i, row, topic) {
    const name = chunk.folders[chunk.folder[i]] + chunk.name[i];
    const own = chunk.hrefs[i];
    const made = chunk.base === null ? null : chunk.base + name.split("/").map(encodeURIComponent).join("/");
    const place = chunk.places.get(i);
    return {
      row, name, topic,
      fileName: chunk.name[i],
      href: fastvbow.fileAddress(own === undefined ? made : own),
      probability: chunk.p[i] / 1000,
      entropy: chunk.e[i] / 1000,
      label: chunk.label && chunk.label[i] >= 0 ? chunk.labels[chunk.label[i]] : null,
      picture: place === undefined ? null
        : { slot: chunk.slot + place, width: chunk.sizes[2 * place], height: chunk.sizes[2 * place + 1] },
    };
  }

  class Rows {
    constructor(index) {
      this.index = index;
      this.kept = new Map();
    }

    async chunk(number) {
      let chunk = this.kept.get(number);
      if (chunk) this.kept.delete(number);  // and put at the end: what was used last goes last
      else {
        chunk = await fastvbow.load(`rows-${String(number).padStart(4, "0")}`);
        chunk.places = new Map(chunk.pictured.map((row, place) => [row, place]));
      }
      this.kept.set(number, chunk);
      if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
      return chunk;
    }

    topicOf(row) {
      return this.index.topics.find(({ start, size }) => row >= start && row < start + size);
    }

    /** What a page shows of some rows. */
    async photographs(rows) {
      const found = [];
      for (const row of rows) {
        const chunk = await this.chunk(Math.floor(row / this.index.chunk));
        found.push(photograph(chunk, row % this.index.chunk, row, this.topicOf(row)));
      }
      return found;
    }

    /** Runs of rows of the topics that are asked for, and the chunks that could hold what is asked for. */
    plan(query) {
      const { chunk, chunks } = this.index;
      const byTopic = query.uncertain || query.low > 0 || query.high < 1000;  // what no photograph without a topic has
      const runs = this.index.topics.filter(({ id }) => (query.topic === null || id === query.topic)
        && !(byTopic && id < 0));
      const parts = [];
      for (const topic of runs) {
        for (let begin = topic.start; begin < topic.start + topic.size;) {
          const number = Math.floor(begin / chunk);
          const end = Math.min(topic.start + topic.size, (number + 1) * chunk);
          const [lowest, highest, , doubt] = chunks[number];
          if (highest >= query.low && lowest <= query.high && (!query.uncertain || doubt >= this.index.uncertain)) {
            parts.push({ number, begin, end, topic });
          }
          begin = end;
        }
      }
      return parts;
    }

    /**
     * Search. `tell(result)` is called after every chunk; `result.rows` grows, or, where sorting needs all of them,
     * is filled at the end. Stops early where `signal.aborted`, with what was found till then.
     */
    async search(query, signal, tell) {
      const parts = this.plan(query);
      const result = { rows: [], looked: 0, of: 0, done: false, stopped: false };
      for (const { begin, end } of parts) result.of += end - begin;
      const sorted = query.sort !== "typical";
      const keys = [];
      for (const { number, begin, end, topic } of parts) {
        if (signal.aborted) break;
        const plain = !query.words.length && query.label === null && !query.labelled && !query.uncertain
          && query.low <= 0 && query.high >= 1000;
        if (plain && !sorted) {  // all of them, and no chunk has to be read to know it
          for (let row = begin; row < end; row++) result.rows.push(row);
        } else {
          const chunk = await this.chunk(number);
          if (signal.aborted) break;
          const first = number * this.index.chunk;
          const wanted = this.test(chunk, query, topic);
          for (let i = begin - first; i < end - first; i++) {
            if (!wanted(i)) continue;
            result.rows.push(first + i);
            if (sorted) keys.push(this.key(query.sort, chunk, i, topic));
          }
        }
        result.looked += end - begin;
        tell(result);
      }
      if (sorted) {
        const order = result.rows.map((_, i) => i);
        order.sort((a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : a - b));
        result.rows = order.map((i) => result.rows[i]);
      }
      result.stopped = signal.aborted;
      result.done = true;
      tell(result);
      return result;
    }

    /** What photographs are sorted by; those without a topic come last where it matters. */
    key(sort, chunk, i, topic) {
      if (sort === "name") {  // 9 before 10
        return folded(chunk.folders[chunk.folder[i]] + chunk.name[i]).replace(/\d+/g, (n) => n.padStart(15, "0"));
      }
      if (topic.id < 0) return Infinity;
      return sort === "entropy" ? -chunk.e[i] : chunk.p[i];
    }

    /** Whether a photograph of a chunk is asked for, as a function of its place there. */
    test(chunk, query, topic) {
      const tests = [];
      const labels = chunk.label ? chunk.labels : [];
      if (query.low > 0) tests.push((i) => chunk.p[i] >= query.low);
      if (query.high < 1000) tests.push((i) => chunk.p[i] <= query.high);
      if (query.uncertain) tests.push((i) => chunk.e[i] >= this.index.uncertain);
      if (query.label !== null) {
        const label = labels.indexOf(query.label);
        if (label < 0) return () => false;
        tests.push((i) => chunk.label[i] === label);
      }
      if (query.labelled) {
        const wanted = query.labelled === "yes";
        tests.push((i) => (chunk.label !== undefined && chunk.label[i] >= 0) === wanted);
      }
      const title = folded(topic.title);
      for (const word of query.words.filter((w) => !title.includes(w))) {
        const inLabels = labels.map((label) => folded(label).includes(word));
        const inFolders = chunk.folders.map((folder) => folded(folder).includes(word));
        const split = word.includes("/");
        tests.push((i) => inFolders[chunk.folder[i]] || (chunk.label !== undefined && inLabels[chunk.label[i]])
          || folded(split ? chunk.folders[chunk.folder[i]] + chunk.name[i] : chunk.name[i]).includes(word));
      }
      return (i) => tests.every((passes) => passes(i));
    }
  }

  return { Rows, folded };
})();
