// The timeline: a lane for each speaker, arcs above for what flows forward in time, below for what flows back.

const MOST_ARCS = 1500;
const MOST_DASHED = 60; // of more, dashes are a blur that takes a second to paint
const LAYERS = 6;
const timeline = {};

/** Draws a dialogue's utterances; arcs come with drawArcs. */
function drawTimeline(dialogue, width, handlers) {
  const n = dialogue.text.length;
  const step = Math.max(24, Math.min(56, (width - 24) / n));
  const rise = Math.min(130, 34 + 12 * Math.sqrt(n));
  const squares = ABOUT.modalities.length > 1 || dialogue.has.some((row) => row.includes("0"));
  const lane = 34 + (squares ? 7 : 0) + (IS_RUN ? 12 : 0);
  const top = rise + 18;
  const bottom = top + dialogue.speakers.length * lane;
  const size = { width: Math.max(width, n * step + 24), height: bottom + rise + 4 };
  Object.assign(timeline, { dialogue, step, rise, top, bottom, n, squares, near: [] });
  timeline.middle = (s) => top + s * lane + 18;
  timeline.x = (u) => 12 + (u + 0.5) * step;
  timeline.y = (u) => timeline.middle(dialogue.speaker[u]);
  const sheet = (cls) => draw("svg", { class: cls, width: size.width, height: size.height, viewBox: `0 0 ${size.width} ${size.height}`, "aria-hidden": "true" });
  const svg = sheet("marks");
  timeline.arcs = sheet("arcs"); // a picture of its own, so that it is not painted anew with every move of the pointer
  timeline.column = draw("rect", { class: "column", y: 0, width: step, height: size.height, visibility: "hidden" });
  svg.append(timeline.column);
  dialogue.speakers.forEach((_, s) => {
    const y = timeline.middle(s);
    svg.append(draw("line", { class: "lane", x1: 0, x2: size.width, y1: y, y2: y }));
  });
  timeline.focus = draw("g", { class: "focus" });
  svg.append(timeline.focus, drawPresence(dialogue), drawNumbers(n));
  timeline.marks = dialogue.text.map((_, u) => drawMark(dialogue, u));
  svg.append(...timeline.marks);
  layers();
  listen(svg, handlers);
  byId("graph").replaceChildren(timeline.arcs, svg);
  drawLanes(dialogue, size.height);
}

/** One path for each direction and opacity, whose number does not grow with the edges. */
function layers() {
  const paths = (cls, faintest, thinnest) =>
    Array.from({ length: LAYERS }, (_, k) => {
      const share = k / (LAYERS - 1);
      return draw("path", { class: cls, "stroke-opacity": faintest + (0.95 - faintest) * share, "stroke-width": thinnest + 1.4 * share });
    });
  timeline.all = paths("arc", 0.15, 0.8);
  timeline.incoming = paths("arc in", 0.5, 1.2);
  timeline.outgoing = paths("arc out", 0.5, 1.2);
  timeline.arcs.append(...timeline.all);
  timeline.focus.append(...timeline.outgoing, ...timeline.incoming);
}

/** The speakers' names beside the lanes, which stay where they are when the timeline is scrolled. */
function drawLanes(dialogue, height) {
  const names = dialogue.speakers.map((name, s) => {
    const label = make("span", { title: name.slice(0, 200), dir: "auto" }, name.slice(0, 60));
    label.style.top = `${timeline.middle(s)}px`;
    return label;
  });
  const forward = make("span", { class: "way" }, "forward ↷");
  const back = make("span", { class: "way" }, "back ↶");
  forward.style.top = "14px";
  back.style.top = `${height - 14}px`;
  byId("lanes").style.height = `${height}px`;
  byId("lanes").replaceChildren(forward, ...names, back);
}

/** An utterance: its true emotion inside; below, where it is wrong, what was predicted. */
function drawMark(dialogue, u) {
  const look = lookOf(dialogue.label[u]);
  const radius = Math.min(11, timeline.step / 2 - 1);
  const wrong = isWrong(dialogue, u);
  const at = { x: timeline.x(u), y: timeline.y(u) };
  const mark = draw("g", { class: `mark${wrong ? " wrong" : ""}${dialogue.label[u] < 0 ? " bare" : ""}`, "data-u": u });
  mark.append(draw("circle", { cx: at.x, cy: at.y, r: radius, fill: look.colour }));
  const letters = draw("text", { x: at.x, y: at.y + 3.5, fill: look.ink });
  letters.textContent = look.letters;
  mark.append(letters);
  if (wrong) {
    const said = draw("text", { class: "said", x: at.x, y: at.y + radius + (timeline.squares ? 18 : 11) });
    said.textContent = `≠${lookOf(dialogue.predicted[u]).letters}`;
    mark.append(said);
  }
  return mark;
}

/** A small square for each modality of an utterance, below its mark: full where it is present. */
function drawPresence(dialogue) {
  const group = draw("g", { class: "presence" });
  if (!timeline.squares) return group;
  const paths = { 0: "", 1: "" };
  dialogue.has.forEach((row, m) => {
    for (let u = 0; u < timeline.n; u++) {
      const x = timeline.x(u) + 5.5 * (m - (ABOUT.modalities.length - 1) / 2) - 2;
      paths[row[u]] += `M${x} ${timeline.y(u) + 14}h4v4h-4z`;
    }
  });
  group.append(draw("path", { class: "there", d: paths[1] }), draw("path", { class: "absent", d: paths[0] }));
  return group;
}

/** Positions, as often as there is room. */
function drawNumbers(n) {
  const group = draw("g", { class: "numbers" });
  const every = n > 30 ? 5 : 1;
  for (let u = 0; u < n; u += every) {
    const text = draw("text", { x: timeline.x(u), y: timeline.top - 8 });
    text.textContent = u;
    group.append(text);
  }
  return group;
}

function listen(svg, handlers) {
  const under = (event) => {
    const u = Math.floor((event.clientX - svg.getBoundingClientRect().left - 12) / timeline.step);
    return u >= 0 && u < timeline.n ? u : null;
  };
  svg.addEventListener("pointermove", (event) => handlers.hover(under(event)));
  svg.addEventListener("pointerleave", () => handlers.hover(null));
  svg.addEventListener("click", (event) => handlers.choose(under(event)));
}

/** The outline of an edge: above where it goes forward in time, below where it goes back; to itself, a loop. */
function arcOf(src, dst) {
  const [a, b] = [timeline.x(src), timeline.x(dst)];
  if (src === dst) {
    const y = timeline.y(src) - 10;
    return `M${a - 3} ${y}c-12 -20 18 -20 6 0`;
  }
  const up = (timeline.rise * 1.25 * Math.log1p(Math.abs(dst - src))) / Math.log1p(timeline.n); // a Bezier curve rises to 3/4 of this
  const [y, reach] = src < dst ? [timeline.top - 20, -up] : [timeline.bottom, up];
  return `M${a.toFixed(1)} ${y}C${a.toFixed(1)} ${(y + reach).toFixed(1)} ${b.toFixed(1)} ${(y + reach).toFixed(1)} ${b.toFixed(1)} ${y}`;
}

/** Fills the layers of paths with some edges, by their strength. */
function fill(paths, edges, chosen) {
  const outlines = paths.map(() => []);
  for (const e of chosen) {
    const layer = Math.min(paths.length - 1, Math.floor(shadeOf(edges, e) * paths.length));
    outlines[layer].push(arcOf(edges.src[e], edges.dst[e]));
  }
  paths.forEach((path, k) => path.setAttribute("d", outlines[k].join("")));
}

/** The strongest edges that pass. Returns how many pass, and how many of them are drawn. */
function drawArcs(edges, filter) {
  const chosen = [];
  let passing = 0;
  for (const e of edges.order) {
    if (!passes(edges, e, filter)) continue;
    passing++;
    if (chosen.length < MOST_ARCS) chosen.push(e);
  }
  fill(timeline.all, edges, chosen);
  timeline.arcs.style.setProperty("--all", Math.max(0.15, Math.min(1, 150 / chosen.length))); // many lie over each other
  return { passing, drawn: chosen.length };
}

/** The edges of an utterance alone, and a ring around its neighbours; of none, all again. */
function focusArcs(edges, filter, u) {
  const [into, from] = u === null ? [[], []] : [edges.into[u], edges.from[u]].map((list) => list.filter((e) => passes(edges, e, filter)));
  fill(timeline.incoming, edges, into);
  fill(timeline.outgoing, edges, from);
  for (const path of timeline.outgoing) path.classList.toggle("many", from.length > MOST_DASHED);
  timeline.arcs.classList.toggle("faint", u !== null);
  for (const mark of timeline.near) mark.classList.remove("near", "here");
  timeline.near = [...into.map((e) => edges.src[e]), ...from.map((e) => edges.dst[e])].map((v) => timeline.marks[v]);
  for (const mark of timeline.near) mark.classList.add("near");
  timeline.column.setAttribute("visibility", u === null ? "hidden" : "visible");
  if (u === null) return;
  timeline.column.setAttribute("x", timeline.x(u) - timeline.step / 2);
  timeline.marks[u].classList.add("here");
  timeline.near.push(timeline.marks[u]);
}

/** Scrolls the timeline, and nothing else, so that an utterance is seen. */
function revealMark(u) {
  const box = byId("graph");
  const x = timeline.x(u);
  if (x < box.scrollLeft + 40 || x > box.scrollLeft + box.clientWidth - 40) box.scrollLeft = x - box.clientWidth / 2;
}
