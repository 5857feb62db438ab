// The adjacency of the chosen edges: rows hear columns. A cell is the strongest edge of its pair that passes the filters.

const MARGIN = 7; // of the emotions' strips, in pixels
const matrix = {};
const dark = window.matchMedia("(prefers-color-scheme: dark)");

/** From little to much strength; of signed weights, below 0 another. */
const RAMPS = {
  light: { plus: [[225, 238, 248], [8, 64, 129]], minus: [[253, 232, 216], [166, 54, 3]], none: [250, 250, 250] },
  dark: { plus: [[27, 52, 78], [160, 212, 255]], minus: [[76, 42, 20], [255, 178, 120]], none: [24, 27, 33] },
};

/** Makes the canvas of a dialogue; cells come with fillMatrix. */
function drawMatrix(dialogue, width, handlers) {
  const n = dialogue.text.length;
  const side = Math.min(n * 22, Math.max(160, Math.min(380, width - MARGIN - 2)));
  const canvas = make("canvas", { role: "img", "aria-label": `Adjacency of ${n} utterances: rows hear columns. The same numbers stand in the lists of neighbours.` });
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round((side + MARGIN) * scale);
  canvas.style.width = canvas.style.height = `${side + MARGIN}px`;
  const row = make("div", { class: "line across" });
  const column = make("div", { class: "line down" });
  Object.assign(matrix, { dialogue, n, side, canvas, scale, row, column });
  const under = (event) => {
    const box = canvas.getBoundingClientRect();
    const [u, v] = [event.clientY - box.top, event.clientX - box.left].map((p) => Math.floor(((p - MARGIN) / side) * n));
    return u >= 0 && u < n && v >= 0 && v < n ? { dst: u, src: v } : null;
  };
  canvas.addEventListener("pointermove", (event) => handlers.cell(under(event)));
  canvas.addEventListener("pointerleave", () => handlers.cell(null));
  canvas.addEventListener("click", (event) => under(event) && handlers.choose(under(event).dst));
  byId("map").replaceChildren(canvas, row, column);
}

/** Paints the edges that pass. Returns the strongest edge of each pair, [dst][src] flat; -1: none passes. */
function fillMatrix(edges, filter, scale) {
  const { n, side, canvas, scale: pixels, dialogue } = matrix;
  const ramp = RAMPS[dark.matches ? "dark" : "light"];
  const cells = new Int32Array(n * n).fill(-1);
  for (const e of edges.order) {
    const place = edges.dst[e] * n + edges.src[e];
    if (cells[place] < 0 && passes(edges, e, filter)) cells[place] = e;
  }
  drawRamp(ramp, scale, edges.ends.map((level) => scale && weightAt(scale, level / (LEVELS - 1))));
  const image = new ImageData(n, n);
  cells.forEach((e, place) => image.data.set([...colourOf(edges, e, ramp, scale), 255], 4 * place));
  const small = new OffscreenCanvas(n, n);
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.setTransform(pixels, 0, 0, pixels, 0, 0);
  context.clearRect(0, 0, side + MARGIN, side + MARGIN);
  context.imageSmoothingEnabled = n > side;
  context.drawImage(small, MARGIN, MARGIN, side, side);
  const cell = side / n;
  dialogue.label.forEach((label, u) => {
    if (label < 0) return;
    context.fillStyle = lookOf(label).colour;
    context.fillRect(0, MARGIN + u * cell, MARGIN - 2, cell);
    context.fillRect(MARGIN + u * cell, 0, cell, MARGIN - 2);
  });
  matrix.cells = cells;
}

/** What the colours mean. */
function drawRamp(ramp, scale, [low, high]) {
  const css = (colour) => `rgb(${colour})`;
  const ends = scale && scale.signed ? [...ramp.minus].reverse().concat(ramp.plus) : ramp.plus;
  byId("ramp").style.background = scale ? `linear-gradient(to right, ${ends.map(css).join(", ")})` : css(ramp.plus[1]);
  byId("low").textContent = scale ? number(scale.signed ? -high : low) : "";
  byId("high").textContent = scale ? number(high) : "an edge";
}

function colourOf(edges, e, ramp, scale) {
  if (e < 0) return ramp.none;
  const [from, to] = scale && scale.signed && edges.weight[e] < 0 ? ramp.minus : ramp.plus;
  const share = shadeOf(edges, e);
  return from.map((value, k) => Math.round(value + share * (to[k] - value)));
}

/** Lines around the row and the column of an utterance. */
function crossAt(u) {
  const { row, column, side, n } = matrix;
  row.hidden = column.hidden = u === null;
  if (u === null) return;
  const [at, cell] = [MARGIN + (u * side) / n, Math.max(3, side / n)];
  row.style.top = column.style.left = `${at}px`;
  row.style.height = column.style.width = `${cell}px`;
  row.style.width = column.style.height = `${side + MARGIN}px`;
}

/** What a cell says. */
function sayCell(edges, cell) {
  if (!cell) return "Rows hear columns. Move over it for numbers, click to choose the row.";
  const e = matrix.cells[cell.dst * matrix.n + cell.src];
  const pair = `#${cell.dst} hears #${cell.src}`;
  if (e < 0) return `${pair}: no edge that passes`;
  return `${pair}: ${[number(edges.weight[e]), ABOUT.kinds[edges.kind[e]].label].filter(Boolean).join(", ")}`;
}
