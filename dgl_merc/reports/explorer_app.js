// What is chosen, and what follows from it. The choice stands in the address, so that a link leads back to it.

const state = { d: 0, u: null, hovered: null, choice: FIRST_CHOICE, threshold: 0, strongest: 3, unfolded: false };
let found = [];
let rows = [];

const dialogueNow = () => DIALOGUES[state.d];

/** Edges without weights are all alike: every one of them passes. */
const filterNow = () => (CHOICES[state.choice]?.scale ? { threshold: state.threshold, strongest: state.strongest } : { threshold: 0, strongest: 0 });
const edgesNow = () => edgesOf(dialogueNow(), CHOICES[state.choice]);

/** The address of what is chosen. */
function writeAddress() {
  const words = new URLSearchParams({ d: dialogueNow().id });
  if (state.u !== null) words.set("u", state.u);
  if (CHOICES.length) words.set("e", CHOICES[state.choice].key);
  words.set("w", state.threshold);
  words.set("k", state.strongest);
  history.replaceState(null, "", `#${words}`);
}

/** Takes over what the address says, as far as it is there. */
function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  const d = DIALOGUES.findIndex((dialogue) => dialogue.id === words.get("d"));
  const choice = CHOICES.findIndex((one) => one.key === words.get("e"));
  if (choice >= 0) state.choice = choice;
  const share = Number(words.get("w"));
  if (share > 0 && share <= 1) state.threshold = share;
  const few = words.get("k");
  if (few !== null && [...byId("strongest").options].some((o) => o.value === few)) state.strongest = Number(few);
  if (d >= 0) state.d = d;
  const u = Number.parseInt(words.get("u"), 10);
  state.u = d >= 0 && u >= 0 && u < dialogueNow().text.length ? u : null;
}

/** Another dialogue: everything is drawn anew. */
function showDialogue(d) {
  if (d === undefined) return;
  if (d !== state.d) Object.assign(state, { d, u: null });
  Object.assign(state, { hovered: null, unfolded: false });
  const dialogue = dialogueNow();
  byId("name").textContent = dialogue.id.slice(0, 200);
  const { labelled, wrong, right } = dialogue.score;
  const facts = [dialogue.split, `${dialogue.text.length} utterances`, `${dialogue.speakers.length} speakers`, `${labelled} labelled`];
  if (dialogue.predicted && labelled) facts.push(`${wrong} wrong, accuracy ${Math.round(100 * right)} %`);
  byId("about").textContent = facts.join(" · ");
  rows = drawTurns(dialogue, { choose, hover });
  drawTimeline(dialogue, byId("graph").clientWidth, { choose, hover });
  drawMatrix(dialogue, byId("map").clientWidth, { choose, cell: (cell) => { byId("cell").textContent = sayCell(edgesNow(), cell); } });
  byId("cell").textContent = sayCell(edgesNow(), null);
  showEntries();
  byId("graph").scrollLeft = byId("turns").scrollTop = 0;
  showEdges();
  choose(state.u);
}

/** Other edges or filters: arcs, matrix and neighbours. */
function showEdges() {
  const choice = CHOICES[state.choice];
  const scale = choice && choice.scale;
  byId("kind").value = String(state.choice);
  byId("threshold").value = String(Math.round(100 * state.threshold));
  byId("threshold").disabled = byId("strongest").disabled = !scale;
  byId("strongest").value = String(state.strongest);
  byId("from").textContent = scale ? number(weightAt(scale, state.threshold)) : "these have none";
  byId("threshold").setAttribute("aria-valuetext", byId("from").textContent);
  const edges = edgesNow();
  const { passing, drawn } = drawArcs(edges, filterNow());
  const words = `${passing} of ${edges.count} edges pass the filters`;
  byId("drawn").textContent = drawn < passing ? `${words}; the ${drawn} strongest are drawn.` : `${words}.`;
  fillMatrix(edges, filterNow(), scale);
  showFocus();
  writeAddress();
}

/** The utterance under the pointer, or else the chosen one. */
function showFocus() {
  const u = state.hovered ?? state.u;
  const choice = CHOICES[state.choice];
  const fold = () => { state.unfolded = !state.unfolded; showFocus(); byId("panel").focus({ preventScroll: true }); };
  const go = (v) => { choose(v); byId("panel").focus({ preventScroll: true }); };
  const view = { filter: filterNow(), scale: choice && choice.scale, several: choice && choice.kinds.length > 1, unfolded: state.unfolded, fold };
  focusArcs(edgesNow(), view.filter, u);
  crossAt(u);
  drawPanel(dialogueNow(), edgesNow(), view, u, go);
}

let waiting = 0;

/** At most once a frame. */
function hover(u) {
  if (state.hovered === u) return;
  state.hovered = u;
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(showFocus);
}

function choose(u) {
  Object.assign(state, { u, hovered: null });
  const focused = rows.includes(document.activeElement);
  rows.forEach((row, k) => {
    row.setAttribute("aria-selected", String(k === u));
    row.tabIndex = k === (u ?? 0) ? 0 : -1;
  });
  if (u !== null) {
    reveal(byId("turns"), rows[u]);
    revealMark(u);
    if (focused) rows[u].focus({ preventScroll: true });
  }
  showFocus();
  byId("live").textContent = u === null ? "" : announced(u);
  writeAddress();
}

/** An utterance in a sentence, for who does not see it. */
function announced(u) {
  const dialogue = dialogueNow();
  const said = dialogue.predicted ? `, predicted ${lookOf(dialogue.predicted[u]).name}${isWrong(dialogue, u) ? ", wrong" : ""}` : "";
  const edges = edgesNow();
  const first = edges.into[u].find((e) => passes(edges, e, filterNow()));
  const most = first === undefined ? "" : `. Hears #${edges.src[first]} most ${number(edges.weight[first])}`;
  return `#${u}, ${dialogue.speakers[dialogue.speaker[u]]}: ${dialogue.text[u].slice(0, 200)}. ${lookOf(dialogue.label[u]).name}${said}${most}`;
}

const ORDERS = {
  corpus: ["corpus", () => 0],
  longest: ["longest", (a, b) => b.text.length - a.text.length],
  shortest: ["shortest", (a, b) => a.text.length - b.text.length],
  errors: ["most errors", (a, b) => b.score.wrong - a.score.wrong],
  accuracy: ["least accurate", (a, b) => (a.score.right ?? 2) - (b.score.right ?? 2)],
};

/** The dialogues that search and split leave, in order. */
function search() {
  const words = byId("search").value.toLowerCase();
  const split = byId("split").value;
  const compare = ORDERS[byId("sort").value][1];
  const fits = (dialogue) => (!split || dialogue.split === split) && (!words || dialogue.id.toLowerCase().includes(words) || dialogue.text.some((text) => text.toLowerCase().includes(words)));
  found = DIALOGUES.map((_, d) => d).filter((d) => fits(DIALOGUES[d])).sort((a, b) => compare(DIALOGUES[a], DIALOGUES[b]) || a - b);
  if (found.length && !found.includes(state.d)) showDialogue(found[0]);
  else showEntries();
}

/** The list, and whether there is a dialogue before and after. */
function showEntries() {
  drawEntries(found, state.d, showDialogue);
  const at = found.indexOf(state.d);
  byId("before").disabled = at <= 0;
  byId("after").disabled = at < 0 || at === found.length - 1;
}

const stepDialogue = (by) => showDialogue(found[found.indexOf(state.d) + by]);
const stepUtterance = (by, from = state.u) => choose(from === null ? 0 : Math.max(0, Math.min(rows.length - 1, from + by)));

function stepKind(by) {
  if (!CHOICES.length) return;
  state.choice = (state.choice + by + CHOICES.length) % CHOICES.length;
  showEdges();
}

function stepThreshold(by) {
  state.threshold = Math.max(0, Math.min(100, Math.round(100 * state.threshold) + by)) / 100;
  showEdges();
}

const KEYS = {
  ArrowLeft: () => stepUtterance(-1),
  ArrowRight: () => stepUtterance(1),
  Home: () => choose(0),
  End: () => choose(rows.length - 1),
  "[": () => stepDialogue(-1),
  "]": () => stepDialogue(1),
  PageUp: () => stepDialogue(-1),
  PageDown: () => stepDialogue(1),
  e: () => stepKind(1),
  E: () => stepKind(-1),
  "+": () => stepThreshold(5),
  "-": () => stepThreshold(-5),
  "/": () => byId("search").focus(),
  "?": () => byId("keys").showModal(),
  Escape: () => choose(null),
};
const IN_TURNS = { ArrowUp: () => stepUtterance(-1, state.u ?? 0), ArrowDown: () => stepUtterance(1, state.u ?? 0) }; // the first has the focus
const IN_ENTRIES = {
  ArrowUp: () => stepDialogue(-1),
  ArrowDown: () => stepDialogue(1),
  Home: () => showDialogue(found[0]),
  End: () => showDialogue(found.at(-1)),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open || event.target.closest("input, select, textarea")) return;
  const inList = byId("entries").contains(event.target);
  const row = event.target.closest("[role=option]");
  const enter = row && (event.key === "Enter" || event.key === " ") ? () => row.click() : null;
  const action = enter || (inList && IN_ENTRIES[event.key]) || (byId("turns").contains(event.target) && IN_TURNS[event.key]) || KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

/** What never changes: titles, legend, notes, the entries of selects. */
function drawFrame() {
  byId("title").textContent = ABOUT.title;
  byId("facts").textContent = Object.entries(ABOUT.facts).map(([name, value]) => `${name}: ${value}`).join(" · ");
  const options = (id, entries) => byId(id).replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
  options("split", [["", "all"], ...[...new Set(DIALOGUES.map((d) => d.split))].map((s) => [s, s])]);
  options("sort", Object.entries(ORDERS).filter(([name]) => IS_RUN || !["errors", "accuracy"].includes(name)).map(([name, [words]]) => [name, words]));
  options("kind", CHOICES.map((choice, k) => [k, choice.label]));
  options("strongest", [[0, "all"], ...[1, 2, 3, 5, 10, 20].map((k) => [k, `${k}`])]);
  byId("legend").replaceChildren(...ABOUT.classes.map((_, c) => make("li", {}, badge(c))));
  if (IS_RUN) byId("legend").append(make("li", {}, "✗ dashed: predicted otherwise, ≠ as what"));
  if (ABOUT.modalities.length > 1) byId("legend").append(make("li", {}, `small squares: ${ABOUT.modalities.join(", ")}; hollow where absent`));
  const parts = ["features: arccos similarity of scaled features", "turns: who may hear whom, without weights", ...(IS_RUN ? ["every other part: the weights of the model itself"] : [])];
  const notes = [`Edges: ${parts.join("; ")}. “#3 hears #7” is an edge from 7 to 3.`, "Colours and lines run from the least to the greatest weight of the dialogue. Weights and probabilities are rounded to 8 bits.", ...ABOUT.notes];
  byId("notes").replaceChildren(...notes.map((note) => make("p", {}, note)));
}

function listenToPage() {
  document.addEventListener("keydown", pressed);
  window.addEventListener("hashchange", () => { readAddress(); showDialogue(state.d); });
  byId("skip").addEventListener("click", () => { const row = rows[state.u ?? 0]; row.scrollIntoView({ block: "center" }); row.focus(); });
  byId("help").addEventListener("click", KEYS["?"]);
  byId("close").addEventListener("click", () => byId("keys").close());
  byId("before").addEventListener("click", () => stepDialogue(-1));
  byId("after").addEventListener("click", () => stepDialogue(1));
  for (const [id, event] of [["search", "input"], ["split", "change"]]) byId(id).addEventListener(event, search);
  byId("sort").addEventListener("change", () => { search(); showDialogue(found[0]); });
  byId("kind").addEventListener("change", (event) => { state.choice = Number(event.target.value); showEdges(); });
  byId("strongest").addEventListener("change", (event) => { state.strongest = Number(event.target.value); showEdges(); });
  byId("threshold").addEventListener("input", (event) => { state.threshold = Number(event.target.value) / 100; showEdges(); });
  dark.addEventListener("change", showEdges);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (width !== window.innerWidth) showDialogue(state.d);
    width = window.innerWidth;
  });
}

DIALOGUES.forEach((dialogue) => { dialogue.score = scoreOf(dialogue); });
drawFrame();
readAddress();
listenToPage();
search();
showDialogue(state.d);
