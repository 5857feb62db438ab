// What the page knows, and edges made ready to be drawn: decoded once a dialogue and choice, sorted without comparing.

const { about: ABOUT, dialogues: DIALOGUES } = JSON.parse(document.getElementById("data").textContent);
const IS_RUN = ABOUT.kind === "run";
const LEVELS = 1 << 16; // of strength: finer than the 8 bits of a weight in a dialogue whose range is small

/** An element with properties, attributes and children; strings become text, never markup. */
function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** The same for SVG. */
function draw(tag, given = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const byId = (id) => document.getElementById(id);

function bytesOf(base64) {
  const raw = atob(base64);
  const found = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) found[k] = raw.charCodeAt(k);
  return found;
}

/** Calls take(src, dst, weight) for every edge of a kind; the weight of an edge that has none is NaN. */
function unpack(packed, n, take) {
  const [form, low, high, base64] = packed;
  const bytes = bytesOf(base64);
  const weight = (code) => (low === null ? NaN : low + ((code - 1) / 254) * (high - low));
  if (form === "matrix") {
    for (let k = 0; k < bytes.length; k++) if (bytes[k]) take(k % n, Math.floor(k / n), weight(bytes[k]));
    return;
  }
  const count = bytes.length / 5;
  const end = (k) => bytes[2 * k] + 256 * bytes[2 * k + 1];
  for (let k = 0; k < count; k++) take(end(k), end(count + k), weight(bytes[4 * count + k]));
}

/** What can be chosen: each kind, and all of a part that has several. */
const CHOICES = (() => {
  const found = [];
  for (const part of new Set(ABOUT.kinds.map((kind) => kind.part))) {
    const numbers = ABOUT.kinds.flatMap((kind, k) => (kind.part === part ? [k] : []));
    const weighted = numbers.filter((k) => ABOUT.kinds[k].range);
    const together = weighted.length ? weighted : numbers; // those without weights can't be compared with those that have some
    if (together.length > 1) found.push({ key: `${part}/*`, part, label: `${part}: all`, kinds: together });
    for (const k of numbers) found.push({ key: ABOUT.kinds[k].key, part, label: `${part}: ${ABOUT.kinds[k].label}`, kinds: [k] });
  }
  return found.map((choice) => ({ ...choice, scale: scaleOf(choice.kinds) }));
})();

/** The first kind with weights that joins utterances with others. */
const FIRST_CHOICE = Math.max(0, CHOICES.findIndex(({ kinds, scale }) => kinds.length === 1 && scale && ["same", "pair"].includes(ABOUT.kinds[kinds[0]].relation)));

/** From the least to the greatest strength of some kinds; of signed weights, strength is the distance from 0. Null: no weights. */
function scaleOf(kinds) {
  const ends = kinds.map((k) => ABOUT.kinds[k].range).filter(Boolean);
  if (!ends.length) return null;
  const low = Math.min(...ends.map((e) => e[0]));
  const high = Math.max(...ends.map((e) => e[1]));
  return low < 0 ? { low: 0, high: Math.max(-low, high), signed: true } : { low, high, signed: false };
}

/** The weight at a share of a scale. */
const weightAt = (scale, share) => scale.low + share * (scale.high - scale.low);

/** From 0 to 1; an edge without weight is as strong as can be. */
function strengthOf(scale, weight) {
  if (!scale || Number.isNaN(weight)) return 1;
  return scale.high > scale.low ? Math.min(1, Math.max(0, (Math.abs(weight) - scale.low) / (scale.high - scale.low))) : 1;
}

const remembered = { dialogue: null, choice: null, edges: null };

/**
 * The edges of a dialogue that a choice names: src, dst, weight, kind and level (of strength) of each; order, the strongest first; rank,
 * how many stronger ones its destination has (equal ones have the same); into and from, per utterance, its edges, the strongest first; ends, the weakest and the
 * strongest level of this dialogue.
 */
function edgesOf(dialogue, choice) {
  if (remembered.dialogue === dialogue && remembered.choice === choice) return remembered.edges;
  const n = dialogue.text.length;
  const lists = { src: [], dst: [], weight: [], kind: [] };
  for (const kind of choice ? choice.kinds : []) {
    if (!dialogue.edges[kind]) continue;
    unpack(dialogue.edges[kind], n, (src, dst, weight) => {
      lists.src.push(src);
      lists.dst.push(dst);
      lists.weight.push(weight);
      lists.kind.push(kind);
    });
  }
  const level = Uint16Array.from(lists.weight, (w) => Math.round(strengthOf(choice.scale, w) * (LEVELS - 1)));
  const order = strongestFirst(level);
  const into = Array.from({ length: n }, () => []);
  const from = Array.from({ length: n }, () => []);
  const rank = new Uint32Array(level.length);
  for (const e of order) {
    const stronger = into[lists.dst[e]];
    const last = stronger.at(-1);
    rank[e] = last !== undefined && level[last] === level[e] ? rank[last] : stronger.length;
    stronger.push(e);
    from[lists.src[e]].push(e);
  }
  const ends = level.length ? [choice.scale?.signed ? 0 : level[order.at(-1)], level[order[0]]] : [0, LEVELS - 1];
  Object.assign(remembered, { dialogue, choice, edges: { ...lists, level, order, rank, into, from, ends, count: level.length } });
  return remembered.edges;
}

/** From 0 to 1, how strong an edge is among those of its dialogue: what colours and lines show. */
const shadeOf = ({ level, ends: [low, high] }, e) => (high > low ? (level[e] - low) / (high - low) : 1);

/** Numbers of edges by falling level, equal ones as they came: a counting sort. */
function strongestFirst(level) {
  const start = new Uint32Array(LEVELS + 1);
  for (const l of level) start[LEVELS - l]++;
  for (let k = 1; k <= LEVELS; k++) start[k] += start[k - 1];
  const order = new Uint32Array(level.length);
  for (let e = 0; e < level.length; e++) order[start[LEVELS - 1 - level[e]]++] = e;
  return order;
}

/** Whether an edge passes the filters: share of the scale, and how many of the strongest into each utterance (0: all). */
function passes(edges, e, filter) {
  return edges.level[e] >= filter.threshold * (LEVELS - 1) - 0.5 && (!filter.strongest || edges.rank[e] < filter.strongest);
}

const number = (weight) => (Number.isNaN(weight) ? "" : Math.abs(weight) >= 0.1 || weight === 0 ? weight.toFixed(2) : weight.toPrecision(2));

const isWrong = (dialogue, u) => Boolean(dialogue.predicted) && dialogue.label[u] >= 0 && dialogue.label[u] !== dialogue.predicted[u];

/** The look of a class; of -1, an utterance nobody labelled. */
const lookOf = (label) => ABOUT.classes[label] || { name: "no label", colour: "none", ink: "currentColor", letters: "–" };

/** Labelled and wrong utterances of a dialogue. */
function scoreOf(dialogue) {
  const labelled = dialogue.label.filter((label) => label >= 0).length;
  const wrong = dialogue.text.filter((_, u) => isWrong(dialogue, u)).length;
  return { labelled, wrong, right: labelled ? (labelled - wrong) / labelled : null };
}
