"use strict";
// What the pages' scripts share. A page opened from disk may not read files, but it may load scripts: each file of
// data/ is one call of fastvbow.put. Nothing that came from a file name or a label is ever taken for markup: text is
// set as text, and an address only where it is a file's or one of this report.
const fastvbow = (() => {
  const waiting = new Map();

  /** Called by the scripts of data/: hands their value to whoever asked for it. */
  function put(name, value) {
    const asked = waiting.get(name);
    if (asked) asked.resolve(value);
  }

  /** The value of data/NAME.js, as a promise; whoever needs it again keeps it. */
  function load(name) {
    if (!waiting.has(name)) {
      const asked = {};
      asked.promise = new Promise((resolve, reject) => { Object.assign(asked, { resolve, reject }); });
      waiting.set(name, asked);
      const script = document.createElement("script");
      const failed = new Error(`data/${name}.js cannot be read: this report’s folder is not whole`);
      script.onerror = () => { asked.reject(failed); };
      script.onload = () => { asked.reject(failed); };  // without effect where the script has called put
      script.src = `data/${name}.js`;
      document.head.append(script);
      const done = () => { waiting.delete(name); script.remove(); };
      asked.promise.then(done, done);
    }
    return waiting.get(name).promise;
  }

  /** A new element with properties and children; strings become text. */
  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  /** An address that may be opened: a file's, or none. */
  function fileAddress(text) {
    return typeof text === "string" && text.startsWith("file:///") ? text : null;
  }

  /** Let an element show one cell of the sprite sheets, as large as the element is. */
  function showSprite(shown, sheet, slot, width, height) {
    const [cellWidth, cellHeight] = sheet.cell;
    const number = Math.floor(slot / sheet.cells), cell = slot % sheet.cells;
    const cells = Math.min(sheet.cells, sheet.pictured - number * sheet.cells);
    const full = [sheet.columns * cellWidth, Math.ceil(cells / sheet.columns) * cellHeight];
    const left = (cell % sheet.columns) * cellWidth + sheet.margin;
    const top = Math.floor(cell / sheet.columns) * cellHeight + sheet.margin;
    const share = (begin, part, whole) => (whole > part ? `${(100 * begin) / (whole - part)}%` : "0");
    shown.style.backgroundImage = `url("sheets/${String(number).padStart(4, "0")}.jpg")`;
    shown.style.backgroundSize = `${(100 * full[0]) / width}% ${(100 * full[1]) / height}%`;
    shown.style.backgroundPosition = `${share(left, width, full[0])} ${share(top, height, full[1])}`;
  }

  return { put, load, element, fileAddress, showSprite };
})();
