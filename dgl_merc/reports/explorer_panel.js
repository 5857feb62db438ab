// Text: the list of dialogues, the transcript, and what is said of one utterance.

const MOST_ENTRIES = 200;
const FEW = 8;

/** An emotion as a word with its letters on its colour. */
function badge(label, extra = "") {
  const look = lookOf(label);
  const chip = make("span", { class: "chip", "aria-hidden": "true" }, look.letters);
  chip.style.background = look.colour === "none" ? "transparent" : look.colour;
  chip.style.color = look.ink;
  return make("span", { class: `emotion ${extra}` }, chip, look.name);
}

/** The dialogues found, some around the chosen one. */
function drawEntries(found, chosen, choose) {
  const focused = byId("entries").contains(document.activeElement);
  const at = Math.max(0, found.indexOf(chosen));
  const from = Math.max(0, Math.min(at - MOST_ENTRIES / 2, found.length - MOST_ENTRIES));
  const rows = found.slice(from, from + MOST_ENTRIES).map((d) => {
    const here = d === chosen;
    const entry = make("div", { class: "entry", role: "option", "aria-selected": here, tabindex: here ? 0 : -1, onclick: () => choose(d) });
    const { wrong, labelled } = DIALOGUES[d].score;
    const score = DIALOGUES[d].predicted ? (labelled ? `${wrong} of ${labelled} wrong` : "no labels") : "";
    entry.append(
      make("b", { dir: "auto" }, DIALOGUES[d].id.slice(0, 80)),
      make("span", { class: "small" }, [DIALOGUES[d].split, `${DIALOGUES[d].text.length} utt.`, score].filter(Boolean).join(" · ")),
    );
    return entry;
  });
  const more = (count, where) => (count > 0 ? [make("p", { class: "small" }, `${count} more ${where}: search, or go on with ] and [`)] : []);
  byId("entries").replaceChildren(...more(from, "before"), ...rows, ...more(found.length - from - rows.length, "after"));
  byId("count").textContent = `${found.length} of ${DIALOGUES.length} dialogues`;
  const here = byId("entries").querySelector("[aria-selected=true]");
  if (here) reveal(byId("entries"), here);
  else if (rows.length) rows[0].tabIndex = 0;
  if (focused && here) here.focus({ preventScroll: true });
}

/** Scrolls a box, and nothing else, so that an element in it is seen. */
function reveal(box, element) {
  const [outer, inner] = [box.getBoundingClientRect(), element.getBoundingClientRect()];
  if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top + 4;
  else if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom + 4;
}

/** The transcript. Returns its rows. */
function drawTurns(dialogue, handlers) {
  const rows = dialogue.text.map((text, u) => {
    const wrong = isWrong(dialogue, u);
    const row = make("div", {
      class: `turn${wrong ? " wrong" : ""}`,
      role: "option",
      "aria-selected": false,
      tabindex: -1,
      onclick: () => handlers.choose(u),
      onpointerenter: () => handlers.hover(u),
      onpointerleave: () => handlers.hover(null),
    });
    const head = make("div", { class: "head" }, make("span", { class: "place" }, `#${u}`), speakerOf(dialogue, u), badge(dialogue.label[u]));
    if (wrong) head.append(make("span", { class: "verdict" }, "✗ predicted"), badge(dialogue.predicted[u], "said"));
    else if (dialogue.predicted && dialogue.label[u] < 0) head.append(make("span", { class: "verdict" }, "predicted"), badge(dialogue.predicted[u], "said"));
    const missing = ABOUT.modalities.filter((_, m) => dialogue.has[m][u] === "0");
    if (missing.length) head.append(make("span", { class: "missing" }, `no ${missing.join(", ")}`));
    row.append(head, make("p", { class: "text", dir: "auto" }, text || "(no text)"));
    return row;
  });
  byId("turns").replaceChildren(...rows);
  return rows;
}

const speakerOf = (dialogue, u) => make("bdi", { class: "speaker" }, dialogue.speakers[dialogue.speaker[u]].slice(0, 80));

/** All that is known of an utterance, and its neighbours. */
function drawPanel(dialogue, edges, view, u, go) {
  const panel = byId("panel");
  if (u === null) {
    panel.replaceChildren(make("p", { class: "small" }, "Choose an utterance, in the timeline, in the transcript or with the arrow keys, to see its neighbours and their weights."));
    return;
  }
  const head = make("p", { class: "head" }, make("span", { class: "place" }, `#${u}`), speakerOf(dialogue, u), badge(dialogue.label[u]));
  if (dialogue.predicted) head.append(make("span", { class: "verdict" }, isWrong(dialogue, u) ? "✗ predicted" : "predicted"), badge(dialogue.predicted[u], "said"));
  const parts = [head, make("p", { class: "text", dir: "auto" }, dialogue.text[u].slice(0, 400) + (dialogue.text[u].length > 400 ? "…" : ""))];
  if (dialogue.chances) parts.push(chancesOf(dialogue, u));
  parts.push(factsOf(dialogue, u));
  const sides = [
    neighbours("Hears", edges.into[u], (e) => edges.src[e], dialogue, edges, view, go),
    neighbours("Is heard by", edges.from[u], (e) => edges.dst[e], dialogue, edges, view, go),
  ];
  parts.push(make("div", { class: "sides" }, ...sides));
  panel.replaceChildren(...parts);
}

/** Modalities, and whatever else a model says. */
function factsOf(dialogue, u) {
  const facts = ABOUT.modalities.map((m, k) => `${m}: ${dialogue.has[k][u] === "1" ? "present" : "absent"}`);
  for (const [name, values] of Object.entries(dialogue.more || {})) if (values[u] !== null) facts.push(`${name}: ${values[u]}`);
  return make("p", { class: "small" }, facts.join(" · "));
}

/** The probabilities of the classes, as bars with numbers. */
function chancesOf(dialogue, u) {
  dialogue.bytes ||= bytesOf(dialogue.chances);
  const list = make("ul", { class: "bars", "aria-label": "Probabilities" });
  ABOUT.classes.forEach((look, c) => {
    const share = dialogue.bytes[u * ABOUT.classes.length + c] / 255;
    const bar = make("i", {});
    bar.style.width = `${100 * share}%`;
    bar.style.background = look.colour;
    const words = [c === dialogue.predicted[u] ? "predicted" : "", c === dialogue.label[u] ? "true" : ""].filter(Boolean).join(", ");
    list.append(make("li", {}, make("span", {}, look.name), make("span", { class: "bar" }, bar), make("span", {}, `${Math.round(100 * share)} %`), make("em", {}, words)));
  });
  return list;
}

/** Neighbours by weight, as buttons that go there. */
function neighbours(title, list, other, dialogue, edges, view, go) {
  const found = list.filter((e) => passes(edges, e, view.filter));
  const shown = view.unfolded ? found : found.slice(0, FEW);
  const items = shown.map((e) => {
    const v = other(e);
    const bar = make("i", {});
    bar.style.width = `${100 * (view.scale ? shadeOf(edges, e) : 0)}%`;
    const kind = view.several ? make("span", { class: "small" }, ABOUT.kinds[edges.kind[e]].label) : "";
    const button = make("button", { type: "button", class: "neighbour", onclick: () => go(v) });
    const words = `${dialogue.speakers[dialogue.speaker[v]].slice(0, 40)}: ${dialogue.text[v].slice(0, 80)}`;
    button.append(make("span", { class: "weight" }, number(edges.weight[e])), make("span", { class: "bar" }, bar), make("b", {}, `#${v}`), badge(dialogue.label[v], "brief"), make("bdi", { class: "words" }, words), kind);
    return make("li", {}, button);
  });
  const block = make("div", {}, make("h4", { class: title === "Hears" ? "in" : "out" }, `${title} ${found.length}`), make("ul", { class: "neighbours" }, ...items));
  if (found.length > FEW) block.append(make("button", { type: "button", class: "link", onclick: view.fold }, view.unfolded ? "Show fewer" : `Show all ${found.length}`));
  return block;
}
