"use strict";
// What the map shows: where photographs lie on the screen, and how points, pictures, names and density are drawn.
fastvbow.MapView = class {
  static SHEETS = 12;  // sprite sheets in memory: each is 8 MB of pixels
  static MOST_ZOOM = 400;

  /** `data` and `index` are the values of data/map.js and data/index.js. */
  constructor(canvas, data, index) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.index = index;
    this.n = data.rows.length;
    this.row = new Uint32Array(this.n);
    this.x = Float64Array.from(data.x, (v) => v / 10000);
    this.y = Float64Array.from(data.y, (v) => v / 10000);
    this.slot = Int32Array.from(data.slot);
    this.sizes = new Uint16Array(2 * this.n);
    this.topic = new Int32Array(this.n);
    this.label = data.label ? Int32Array.from(data.label) : null;
    let row = 0, pictured = 0, topic = 0;
    for (let i = 0; i < this.n; i++) {
      row += data.rows[i];
      while (row >= index.topics[topic].start + index.topics[topic].size) topic++;
      this.row[i] = row;
      this.topic[i] = topic;
      if (this.slot[i] < 0) continue;
      this.sizes[2 * i] = data.sizes[2 * pictured];
      this.sizes[2 * i + 1] = data.sizes[2 * pictured + 1];
      pictured++;
    }
    const group = (name, place, suggested = false) => place && {
      name, suggested, colour: place[0], x: place[1] / 10000, y: place[2] / 10000,
    };
    this.groups = {
      topic: data.topics.map((place, i) => group(index.topics[i].title, place, index.topics[i].suggested)),
      label: (data.labels || []).map(([name, , place]) => group(name, place)),
    };
    this.density = data.density;
    this.by = "topic";
    this.alone = -1;
    this.pictures = true;
    this.hovered = this.chosen = -1;
    this.zoom = 1;
    this.centre = [0.5, 0.5];
    this.sheets = new Map();
    this.drawn = [];  // pictures on the screen: point, left, top, width, height
    this.recolour();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
  }

  /** Read the colours anew, which follow the light or dark scheme. */
  recolour() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    this.colours = Array.from({ length: 10 }, (_, i) => of(`--m${i}`));
    [this.paper, this.ink] = [of("--paper"), of("--ink")];
    this.haze = null;
    this.regroup();
  }

  /** Sort the points by colour again, after another choice of groups. */
  regroup() {
    const group = this.by === "label" ? this.label : this.topic, groups = this.groups[this.by];
    const colour = (i) => (group[i] >= 0 && groups[group[i]] ? groups[group[i]].colour : 9);
    this.lists = Array.from({ length: 10 }, () => []);
    this.dim = [];
    for (let i = 0; i < this.n; i++) (this.shows(i) ? this.lists[colour(i)] : this.dim).push(i);
    this.colourOf = (i) => this.colours[colour(i)];
    this.request();
  }

  /** Whether a point belongs to the group that is shown alone, if any is. */
  shows(i) {
    return this.alone < 0 || (this.by === "label" ? this.label : this.topic)[i] === this.alone;
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.request();
  }

  get scale() {
    return (Math.min(this.width, this.height) - 48) * this.zoom;
  }

  /** Where a place of the map lies on the canvas, in CSS pixels. */
  toScreen(x, y) {
    return [(x - this.centre[0]) * this.scale + this.width / 2, (y - this.centre[1]) * this.scale + this.height / 2];
  }

  /** Zoom so that what lies at a place of the canvas stays there. */
  zoomAt(factor, x = this.width / 2, y = this.height / 2) {
    const to = Math.min(fastvbow.MapView.MOST_ZOOM, Math.max(1, this.zoom * factor));
    const left = (x - this.width / 2) / this.scale, top = (y - this.height / 2) / this.scale;
    const share = 1 - this.zoom / to;
    this.centre = [this.centre[0] + left * share, this.centre[1] + top * share];
    this.zoom = to;
    this.keepNear();
  }

  pan(right, down) {
    this.centre = [this.centre[0] - right / this.scale, this.centre[1] - down / this.scale];
    this.keepNear();
  }

  /** The middle of the screen stays on the map. */
  keepNear() {
    this.centre = this.centre.map((at) => Math.min(1, Math.max(0, at)));
    this.request();
  }

  whole() {
    [this.zoom, this.centre] = [1, [0.5, 0.5]];
    this.request();
  }

  /** Bring a point into view, if it is not. */
  reveal(i) {
    const [x, y] = this.toScreen(this.x[i], this.y[i]), rim = 30;
    if (x < rim || y < rim || x > this.width - rim || y > this.height - rim) this.centre = [this.x[i], this.y[i]];
    this.request();
  }

  /** The point, or picture, at a place of the canvas; -1: none. */
  at(x, y, reach = 14) {
    for (let k = this.drawn.length - 1; k >= 0; k--) {
      const [i, left, top, width, height] = this.drawn[k];
      if (x >= left && y >= top && x <= left + width && y <= top + height) return i;
    }
    let best = -1, nearest = reach * reach;
    for (let i = 0; i < this.n; i++) {
      const [px, py] = this.toScreen(this.x[i], this.y[i]);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < nearest && this.shows(i)) [best, nearest] = [i, distance];
    }
    return best;
  }

  /** The next point in a direction, as seen from another; those at the same place come one after another. */
  next(from, right, down) {
    let best = from, nearest = Infinity;
    for (let i = 0; i < this.n; i++) {
      if (i === from || !this.shows(i)) continue;
      const dx = this.x[i] - this.x[from], dy = this.y[i] - this.y[from];
      const along = dx * right + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * right);
      const same = dx === 0 && dy === 0 && (i > from) === (right + down > 0);
      if (!same && (along <= 0 || aside > along)) continue;
      const distance = same ? Math.abs(i - from) * 1e-9 : along + aside;
      if (distance < nearest) [best, nearest] = [i, distance];
    }
    return best;
  }

  /** The point nearest to the middle of the screen. */
  middle() {
    let best = -1, nearest = Infinity;
    for (let i = 0; i < this.n; i++) {
      const distance = (this.x[i] - this.centre[0]) ** 2 + (this.y[i] - this.centre[1]) ** 2;
      if (distance < nearest && this.shows(i)) [best, nearest] = [i, distance];
    }
    return best;
  }

  request() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => { this.asked = false; this.draw(); });
  }

  draw() {
    const { context, width, height } = this, ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (this.density) this.drawDensity();
    const size = Math.min(5, (this.n > 5000 ? 1.3 : this.n > 1500 ? 2 : 2.8) * this.zoom ** 0.35);
    context.globalAlpha = 0.12;
    this.drawPoints(this.dim, this.ink, size);
    context.globalAlpha = this.density ? 0.75 : 0.85;
    this.lists.forEach((list, colour) => this.drawPoints(list, this.colours[colour], size));
    context.globalAlpha = 1;
    this.drawPictures();
    this.drawNames();
    for (const i of new Set([this.chosen, this.hovered])) if (i >= 0) this.drawRing(i, size);
  }

  drawPoints(list, colour, size) {
    if (!list.length) return;
    const { context, width, height, scale } = this;
    const left = width / 2 - this.centre[0] * scale, top = height / 2 - this.centre[1] * scale;
    const square = size < (this.n > 5000 ? 2.6 : 1.7);  // is drawn three times as fast as a circle
    context.fillStyle = colour;
    context.beginPath();
    for (const i of list) {
      const x = this.x[i] * scale + left, y = this.y[i] * scale + top;
      if (x < -size || y < -size || x > width + size || y > height + size) continue;
      if (square) context.rect(x - size, y - size, 2 * size, 2 * size);
      else {
        context.moveTo(x + size, y);
        context.arc(x, y, size, 0, 2 * Math.PI);
      }
    }
    context.fill();
  }

  drawDensity() {
    const { side, cells, counts, topics } = this.density;
    if (!this.haze) {
      this.haze = document.createElement("canvas");
      this.haze.width = this.haze.height = side;
      const haze = this.haze.getContext("2d"), most = Math.log(1 + Math.max(...counts));
      let cell = 0;
      cells.forEach((step, k) => {
        cell += step;
        const group = this.groups.topic[topics[k]];
        haze.fillStyle = this.by === "topic" && group ? this.colours[group.colour] : this.ink;
        haze.globalAlpha = 0.08 + 0.6 * Math.log(1 + counts[k]) / most;
        haze.fillRect(cell % side, Math.floor(cell / side), 1, 1);
      });
    }
    const [x, y] = this.toScreen(0, 0);
    this.context.globalAlpha = this.alone >= 0 ? 0.15 : Math.max(0.25, Math.min(1, 1.6 / this.zoom));
    this.context.drawImage(this.haze, x, y, this.scale, this.scale);
  }

  /** Where few enough photographs are in view, some of them as pictures: the most typical where they would overlap. */
  drawPictures() {
    this.drawn = [];
    if (!this.pictures) return;
    const seen = [], taken = [];
    for (let i = 0; i < this.n && seen.length <= 400; i++) {
      const [x, y] = this.toScreen(this.x[i], this.y[i]);
      if (x > -40 && y > -40 && x < this.width + 40 && y < this.height + 40 && this.shows(i)) seen.push([i, x, y]);
    }
    if (seen.length > 400) return;
    const sheets = new Set(), longest = 76, apart = 66;
    const { context, index: { sheet } } = this;
    for (const [i, x, y] of seen) {
      if (this.slot[i] < 0) continue;
      const number = Math.floor(this.slot[i] / sheet.cells);
      if (taken.some(([left, top]) => Math.abs(left - x) < apart && Math.abs(top - y) < apart)
        || (sheets.size === fastvbow.MapView.SHEETS && !sheets.has(number))) continue;
      taken.push([x, y]);
      sheets.add(number);
      const image = this.sheet(number);
      if (!image) continue;
      const place = this.slot[i] % sheet.cells, [w, h] = [this.sizes[2 * i], this.sizes[2 * i + 1]];
      const shrink = Math.min(1, longest / Math.max(w, h)), wide = w * shrink, high = h * shrink;
      const left = x - wide / 2, top = y - high / 2;
      context.fillStyle = this.colourOf(i);
      context.fillRect(left - 2, top - 2, wide + 4, high + 4);
      context.drawImage(
        image, (place % sheet.columns) * sheet.cell[0], Math.floor(place / sheet.columns) * sheet.cell[1], w, h,
        left, top, wide, high,
      );
      this.drawn.push([i, left, top, wide, high]);
    }
  }

  /** A sprite sheet, if it is there already; else it is drawn when it comes. */
  sheet(number) {
    let image = this.sheets.get(number);
    if (image) this.sheets.delete(number);
    else {
      image = new Image();
      image.onload = () => this.request();
      image.src = `sheets/${String(number).padStart(4, "0")}.jpg`;
    }
    this.sheets.set(number, image);
    if (this.sheets.size > fastvbow.MapView.SHEETS) this.sheets.delete(this.sheets.keys().next().value);
    return image.complete && image.naturalWidth ? image : null;
  }

  drawNames() {
    const { context } = this, taken = [];
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    this.groups[this.by].forEach((group, number) => {
      if (!group || (this.alone >= 0 && number !== this.alone)) return;
      context.font = `${group.suggested ? "italic 500" : "600"} 12.5px system-ui, sans-serif`;
      const name = group.name.length > 28 ? `${group.name.slice(0, 27)}…` : group.name;
      const [x, y] = this.toScreen(group.x, group.y), half = context.measureText(name).width / 2 + 4;
      const box = [x - half, y - 9, x + half, y + 9];
      if (x < 0 || y < 0 || x > this.width || y > this.height) return;
      if (taken.some(([l, t, r, b]) => box[0] < r && box[2] > l && box[1] < b && box[3] > t)) return;
      taken.push(box);
      context.strokeStyle = this.paper;
      context.lineWidth = 4;
      context.globalAlpha = 0.85;
      context.strokeText(name, x, y);
      context.globalAlpha = 1;
      context.fillStyle = this.ink;
      context.fillText(name, x, y);
    });
  }

  drawRing(i, size) {
    const { context } = this, [x, y] = this.toScreen(this.x[i], this.y[i]);
    const picture = this.drawn.find(([drawn]) => drawn === i);
    for (const [colour, wide] of [[this.paper, 5], [this.ink, 2.2]]) {
      context.strokeStyle = colour;
      context.lineWidth = wide;
      context.beginPath();
      if (picture) context.rect(picture[1] - 2, picture[2] - 2, picture[3] + 4, picture[4] + 4);
      else context.arc(x, y, size + 4, 0, 2 * Math.PI);
      context.stroke();
    }
  }
};
