// The page: a view (what is looked at), and what the server says of it. Names come from files and
// models that others made: they are only ever set as text.
import * as draw from "./draw.js";
import { hover, show } from "./show.js";
import { $, called, state } from "./state.js";
import { build, element, options } from "./controls.js";
import { Failed, Gone, Superseded, alive, block, json, offer, upload } from "./server.js";

const RETRY = 1000;
const STRIP = 24; // thumbnails
const dropped = new Map(); // by key: the file itself, for a server that was started again
const newest = {}; // of each kind, the turn of the answer that is on the screen
let turns = 0;
let waiting = false;
let gone = false;

// Which parts of a view each kind of answer rests on: what is not touched is not asked again.
const where = (v) => [v.model, v.layer, v.data, v.image];
const how = (v) => [v.attribution, v.params[v.attribution], v.target, v.seed];
const RESTS_ON = {
  image: (v) => where(v),
  clean: (v) => [...where(v), ...how(v)],
  attacked: (v) => [...where(v), ...how(v), v.attack, v.params[v.attack], v.reach],
  covered: (v) => [...where(v), v.target, v.cover],
};

const method = (name) => state.offered.methods.find((each) => each.name === name);

function say(text, id = "wrong") {
  $(id).textContent = text;
  $(id).hidden = !text;
}

// A change: asked for at the next frame, however many come before it.
function refresh() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const kind of Object.keys(RESTS_ON)) look(kind);
  });
}

async function look(kind) {
  if ((kind === "attacked" && !state.view.attack) || (kind === "covered" && !state.view.cover)) {
    delete state.seen[kind];
    delete state.asked[kind];
    return show(kind);
  }
  const key = JSON.stringify(RESTS_ON[kind](state.view));
  if (state.asked[kind] === key) return;
  state.asked[kind] = key;
  const order = (turns += 1);
  busy(kind, true);
  try {
    const answer = await block(kind, state.view);
    // An answer that is older than what was asked last is still newer than what is on the screen.
    if (state.asked[kind] !== undefined && order > (newest[kind] ?? 0)) {
      newest[kind] = order;
      state.seen[kind] = answer;
      if (state.asked[kind] === key) say("");
      show(kind);
    }
  } catch (error) {
    if (error instanceof Superseded || state.asked[kind] !== key) return;
    delete state.asked[kind];
    complain(error);
  }
  if (state.asked[kind] === key || state.asked[kind] === undefined) busy(kind, false);
}

function complain(error) {
  if (error instanceof Gone) return wait();
  say(error instanceof Failed ? error.message : `the page has a fault: ${error.message}`);
}

function busy(kind, is) {
  const where = { image: ["clean-image"], clean: ["clean-map"], covered: ["clean-image"] };
  const shown = where[kind] || ["attacked-image", "change-image", "attacked-map", "change-map"];
  for (const id of shown) $(id).classList.toggle("busy", is);
}

// The server is gone: say so, try again, and go on where we were.
async function wait() {
  if (gone) return;
  gone = true;
  say("The server does not answer. Start it again as it told in the terminal (with its token and port): this page then goes on by itself.", "gone");
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, RETRY));
    try {
      await alive();
      for (const file of dropped.values()) await upload(file);
      break;
    } catch (error) {
      if (error instanceof Failed) say(`Another server answers here: ${error.message}`, "gone");
    }
  }
  gone = false;
  say("", "gone");
  for (const kind of Object.keys(state.asked)) delete state.asked[kind];
  if (state.offered) refresh();
  else start();
}

// Controls.
function reachable(which) {
  const found = method(state.view[which]);
  $(`${which}-sum`).textContent = found ? found.summary : "the image alone";
  const given = (state.view.params[state.view[which]] ||= {});
  build($(`${which}-controls`), found || { controls: [] }, given, (name, value) => {
    state.view.params[state.view[which]] = { ...state.view.params[state.view[which]], [name]: value };
    lines();
    stale();
    refresh();
  });
  lines();
}

// Lines that only some methods have, by what these say of themselves.
function lines() {
  const [map, attack] = [method(state.view.attribution), method(state.view.attack)];
  $("layer-line").hidden = !map?.layer;
  const aims = Boolean(attack?.targetable && state.view.params[state.view.attack]?.targeted);
  $("reach-line").hidden = !aims;
  if (aims && state.view.reach === null) state.view.reach = Number($("reach").value);
  $("seed-line").hidden = !(map?.random || attack?.random);
}

function stale() {
  $("lights").replaceChildren();
  $("checked").textContent = "";
  $("done").textContent = "";
  $("text").hidden = true;
}

function fill() {
  const listed = (kind) => state.offered.methods.filter((each) => each.kind === kind).map((each) => ({ value: each.name, text: each.name, why: each.why_not }));
  const all = Array.from({ length: Math.min(state.offered.class_count, 5000) }, (_, k) => ({ value: k, text: called(k) }));
  options($("model"), state.offered.models.map((name) => ({ value: name, text: name })), state.offered.model);
  options($("data"), state.offered.datas.map(({ key, name }) => ({ value: key, text: name })), state.offered.data);
  options($("target"), [{ value: "label", text: "the label" }, { value: "predicted", text: "what is predicted" }, ...all], state.view.target);
  options($("reach"), all, state.view.reach ?? 0);
  options($("attribution"), listed("attribution"), state.view.attribution);
  options($("attack"), [{ value: "", text: "none" }, ...listed("attack")], state.view.attack);
  options($("layer"), [{ value: "", text: "the model's own" }, ...state.offered.layers.map((name) => ({ value: name, text: name }))], state.view.layer ?? "");
  $("what").textContent = state.offered.run ? `${state.offered.run}: ${state.offered.model}` : state.offered.model;
  $("image").max = state.offered.count - 1;
  $("cover-size").value ||= Math.max(2, Math.round(Math.min(...state.offered.shape.slice(1)) / 8));
  $("seed").value = state.view.seed;
  place();
  strip();
  reachable("attribution");
  reachable("attack");
  if (state.view.cover) for (const name of ["row", "column", "size", "baseline"]) $(`cover-${name}`).value = state.view.cover[name];
  $("uncover").disabled = !state.view.cover;
  light(state.offered.verdicts, "as the run found");
}

function place() {
  $("image").value = state.view.image;
  $("previous").disabled = state.view.image <= 0;
  $("next").disabled = state.view.image >= state.offered.count - 1;
  for (const button of $("strip").children) button.ariaPressed = String(Number(button.value) === state.view.image);
}

function strip() {
  const first = Math.max(0, Math.min(state.view.image - STRIP / 2, state.offered.count - STRIP));
  const shown = Array.from({ length: Math.min(STRIP, state.offered.count) }, (_, k) => first + k);
  $("strip").hidden = state.offered.count < 2;
  $("strip").replaceChildren(
    ...shown.map((index) => {
      const button = element("button", undefined, { type: "button", value: index, ariaLabel: `image ${index}`, ariaPressed: String(index === state.view.image) });
      button.append(element("img", undefined, { alt: "", loading: "lazy", src: `thumbnail?${new URLSearchParams({ model: state.view.model, data: state.view.data, index })}` }));
      button.addEventListener("click", () => go(index));
      return button;
    }),
  );
}

function go(index) {
  const last = state.view.image;
  state.view.image = Math.max(0, Math.min(state.offered.count - 1, Math.round(Number(index)) || 0));
  if (![...$("strip").children].some((each) => Number(each.value) === state.view.image)) strip();
  if (last !== state.view.image) stale();
  place();
  refresh();
}

async function start(changes = {}) {
  try {
    state.offered = await offer({ model: changes.model, data: changes.data, layer: changes.layer });
    const kept = state.view && changes.model === state.view.model ? state.view : null;
    // The same methods on other images; another model may lack some.
    state.view = kept ? { ...kept, data: state.offered.data, image: 0, cover: null, layer: state.offered.layer } : state.offered.view;
    for (const kind of Object.keys(state.asked)) {
      delete state.asked[kind];
      delete state.seen[kind];
    }
    say("");
    stale();
    fill();
    refresh();
  } catch (error) {
    complain(error);
  }
}

async function take(file) {
  if (!file) return;
  try {
    const key = await upload(file);
    dropped.set(key, file);
    await start({ model: state.view.model, data: key });
  } catch (error) {
    complain(error);
  }
}

function light(verdicts, note) {
  const rows = Object.entries(verdicts).map(([name, by]) => {
    const row = element("tr");
    const cell = element("td");
    cell.append(...Object.entries(by).map(([who, verdict]) => element("span", `${who}: ${verdict}`, { className: `v ${verdict}` })));
    row.append(element("th", name, { scope: "row" }), cell);
    return row;
  });
  const table = element("table");
  table.append(...rows);
  $("lights").replaceChildren(...(rows.length ? [table] : []));
  $("checked").textContent = rows.length ? `${note}; against the reference, in float64` : "";
}

async function press(button, note, work) {
  button.disabled = true;
  note.textContent = "…";
  try {
    note.textContent = await work();
  } catch (error) {
    note.textContent = "";
    if (!(error instanceof Superseded)) complain(error);
  }
  button.disabled = false;
}

async function copy(what) {
  const text = (await json("reproduce", state.view))[what];
  if (!text) return "the model or the run is in memory only, where no command reaches it: copy as Python";
  $("text").textContent = text;
  $("text").hidden = false;
  try {
    await navigator.clipboard.writeText(text);
    return "copied";
  } catch {
    return "below, to copy by hand";
  }
}

function cover(row, column) {
  const size = Math.max(1, Math.round(Number($("cover-size").value)) || 1);
  state.view.cover = { row, column, size, baseline: Number($("cover-baseline").value) || 0 };
  $("cover-row").value = row;
  $("cover-column").value = column;
  $("uncover").disabled = false;
  refresh();
}

function listen() {
  const changed = (id, act) => $(id).addEventListener("change", (event) => { stale(); act(event.target.value); });
  changed("model", (value) => start({ model: value }));
  changed("data", (value) => start({ model: state.view.model, data: value }));
  changed("layer", (value) => { state.view.layer = value || null; refresh(); });
  changed("target", (value) => { state.view.target = /^\d+$/.test(value) ? Number(value) : value; refresh(); });
  changed("reach", (value) => { state.view.reach = Number(value); refresh(); });
  changed("seed", (value) => { state.view.seed = Math.max(0, Math.round(Number(value)) || 0); refresh(); });
  for (const which of ["attribution", "attack"]) {
    changed(which, (value) => { state.view[which] = value; reachable(which); refresh(); });
  }
  $("image").addEventListener("change", (event) => go(event.target.value));
  $("previous").addEventListener("click", () => go(state.view.image - 1));
  $("next").addEventListener("click", () => go(state.view.image + 1));
  $("clean-image").addEventListener("click", (event) => cover(...draw.cell(event.target, event)));
  for (const name of ["row", "column", "size", "baseline"]) {
    $(`cover-${name}`).addEventListener("change", () => {
      if ($("cover-row").value !== "" && $("cover-column").value !== "") cover(Number($("cover-row").value), Number($("cover-column").value));
    });
  }
  $("uncover").addEventListener("click", () => {
    state.view.cover = null;
    $("uncover").disabled = true;
    $("cover-row").value = $("cover-column").value = "";
    refresh();
  });
  for (const id of ["clean-map", "attacked-map", "change-map"]) $(id).addEventListener("pointermove", hover);
  $("check").addEventListener("click", () => press($("check"), $("checked"), async () => {
    const key = JSON.stringify(state.view);
    const { verdicts, failures } = await json("check", state.view);
    if (key !== JSON.stringify(state.view)) return "what is seen has changed meanwhile: check again";
    light(verdicts, "on this image");
    return [$("checked").textContent, ...failures.map((each) => `${each.method} ${each.implementation}: ${each.message}`)].join(". ");
  }));
  $("copy-python").addEventListener("click", () => press($("copy-python"), $("done"), () => copy("python")));
  $("copy-command").addEventListener("click", () => press($("copy-command"), $("done"), () => copy("command")));
  $("save").addEventListener("click", () => press($("save"), $("done"), async () => `saved in ${(await json("save", state.view)).folder}`));
  $("file").addEventListener("change", (event) => take(event.target.files[0]));
  const over = (is) => (event) => { event.preventDefault(); $("drop").classList.toggle("over", is); };
  document.addEventListener("dragover", over(true));
  document.addEventListener("dragleave", over(false));
  document.addEventListener("drop", (event) => { over(false)(event); take(event.dataTransfer.files[0]); });
  $("panel").addEventListener("submit", (event) => event.preventDefault());
}

draw.bar($("bar"));
listen();
start();
