// The page: a view (what is looked at), and what the server says of it. Names come from files and
// models that others made: they are only ever set as text.
import * as draw from "./draw.js";
import { build, element, options } from "./controls.js";
import { Failed, Gone, Superseded, alive, block, json, offer, upload } from "./server.js";

const $ = (id) => document.getElementById(id);
const RETRY = 1000;
const STRIP = 24; // thumbnails
const dropped = new Map(); // by key: the file itself, for a server that was started again
const seen = {}; // the newest answer of each kind
const asked = {}; // what that answer is of
let offered = null;
let view = null;
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

const method = (name) => offered.methods.find((each) => each.name === name);
const called = (k) => (offered.classes.length ? `${offered.classes[k]} (${k})` : `class ${k}`);
const percent = (p) => `${(100 * p).toFixed(p < 0.0995 || p > 0.9994 ? 2 : 1)} %`;

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
  if ((kind === "attacked" && !view.attack) || (kind === "covered" && !view.cover)) {
    delete seen[kind];
    delete asked[kind];
    return show(kind);
  }
  const key = JSON.stringify(RESTS_ON[kind](view));
  if (asked[kind] === key) return;
  asked[kind] = key;
  busy(kind, true);
  try {
    const answer = await block(kind, view);
    // An answer that is older than what was asked last is still newer than what is on the screen.
    if (asked[kind] !== undefined) {
      seen[kind] = answer;
      if (asked[kind] === key) say("");
      show(kind);
    }
  } catch (error) {
    if (error instanceof Superseded || asked[kind] !== key) return;
    delete asked[kind];
    complain(error);
  }
  if (asked[kind] === key || asked[kind] === undefined) busy(kind, false);
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
  for (const kind of Object.keys(asked)) delete asked[kind];
  if (offered) refresh();
  else start();
}

// What is on the screen, of the newest answers: whatever rests on the one that came. They come in
// any order, and for a moment some may be of another image than the others.
function show(kind) {
  $("stage").classList.toggle("alone", !view.attack);
  const { image, clean, attacked } = seen;
  const covered = view.cover && seen.covered;
  const rests = (...kinds) => kinds.includes(kind);
  if (image && rests("image", "covered")) {
    draw.image($("clean-image"), covered ? covered.x : image.x, offered.bounds);
    $("clean-head").textContent = covered ? "image, covered" : "image";
  }
  if (clean && rests("clean", "covered")) classes("clean-says", clean.facts, covered);
  if (image && attacked && draw.alike(image.x, attacked.adversarial) && rests("image", "attacked")) {
    draw.image($("attacked-image"), attacked.adversarial, offered.bounds);
    const change = draw.difference(attacked.adversarial, image.x);
    draw.map($("change-image"), change, draw.largest(change));
  }
  if (clean && attacked && rests("clean", "attacked")) {
    classes("attacked-says", attacked.facts);
    outcome(attacked.facts);
    why(attacked.facts);
  }
  if (clean && rests("clean", "attacked")) maps();
  remarks();
}

function maps() {
  const { clean, attacked } = seen;
  const limit = view.attack && attacked ? Math.max(attacked.facts.limit, clean.facts.limit) : clean.facts.limit;
  draw.map($("clean-map"), clean.map, limit);
  if (attacked && draw.alike(attacked.map, clean.map)) {
    draw.map($("attacked-map"), attacked.map, limit);
    draw.map($("change-map"), draw.difference(attacked.map, clean.map), limit);
  }
  const [height, width] = clean.map.shape;
  $("words").textContent =
    `Blue is below 0, white is 0, red is above 0; full colour from ±${draw.number(limit)} on, in all maps. ` +
    `${height} × ${width} values, ${draw.number(clean.facts.lowest)} to ${draw.number(clean.facts.highest)}, sum ${draw.number(clean.facts.sum)}; about ${called(clean.facts.target)}.`;
}

function classes(id, facts, covered) {
  const expected = seen.clean.facts.label;
  const moved = covered ? covered.facts : null;
  const rows = (moved || facts).classes.rows.map((each) => {
    const row = element("div", undefined, { className: each.class === expected ? "row true" : "row" });
    const bar = element("i");
    bar.style.width = `${100 * each.probability}%`;
    const name = element("span", called(each.class), { title: called(each.class) });
    if (each.class === expected) name.append(element("small", " expected"));
    row.append(bar, name, element("span", `${percent(each.probability)} · ${each.logit.toFixed(2)}`));
    return row;
  });
  const head = element("div", `predicted ${called((moved || facts).classes.predicted)}`);
  if (expected === null) head.append(element("small", ", no label"));
  const lines = [head, ...rows];
  if (moved) {
    lines.push(element("div", `covered: the logit of ${called(moved.target)} moves ${moved.before.toFixed(3)} → ${moved.after.toFixed(3)} (${moved.moved >= 0 ? "+" : "−"}${Math.abs(moved.moved).toFixed(3)})`));
  }
  $(id).replaceChildren(...lines);
}

function outcome(facts) {
  const mark = element("span", facts.fooled ? "another class" : "the same class", { className: facts.fooled ? "mark bad" : "mark good" });
  $("change-says").replaceChildren(
    mark,
    element("div", `size ${facts.size}: largest change ${draw.number(facts.linf)}, Euclidean ${draw.number(facts.l2)}`),
    element("div", "full colour at the largest change"),
  );
}

function why(facts) {
  const { spearman, top10_iou: overlap, ssim } = facts.shift;
  const shown = (value) => (typeof value === "number" ? value.toFixed(2) : "–");
  const predicted = (kind) => called(seen[kind].facts.classes.predicted);
  const became = facts.fooled ? `The prediction went from ${predicted("clean")} to ${predicted("attacked")}. ` : `The prediction stayed ${predicted("attacked")}. `;
  $("why").textContent = `${became}The maps before and after, of the same class: rank correlation ${shown(spearman)}, overlap of the top tenth of the pixels ${shown(overlap)}, structural similarity ${shown(ssim)} (1 is the same map).`;
}

function remarks() {
  const kinds = ["clean", "attacked"].filter((kind) => seen[kind]);
  const texts = new Set(kinds.flatMap((kind) => seen[kind].facts.remarks));
  $("remarks").replaceChildren(...[...texts].map((text) => element("li", text)));
  $("cost").textContent = kinds
    .map((kind) => `${kind === "clean" ? "map" : "attack and its map"}: ${seen[kind].facts.passes[0]} forward and ${seen[kind].facts.passes[1]} backward passes, ${(1000 * seen[kind].facts.seconds).toFixed(0)} ms (${seen[kind].facts.implementation})`)
    .join("; ");
}

// The value under the mouse, in all maps at once.
function hover(event) {
  const { clean, attacked } = seen;
  if (!clean) return;
  const [row, column] = draw.cell(event.target, event);
  const at = ({ shape, values }) => values[row * shape[1] + column];
  let text = `row ${row}, column ${column}: map ${draw.number(at(clean.map))}`;
  if (view.attack && attacked && draw.alike(attacked.map, clean.map)) {
    text += `, attacked ${draw.number(at(attacked.map))}, moved by ${draw.number(at(attacked.map) - at(clean.map))}`;
  }
  $("value").textContent = text;
}

// Controls.
function reachable(which) {
  const found = method(view[which]);
  $(`${which}-sum`).textContent = found ? found.summary : "the image alone";
  const given = (view.params[view[which]] ||= {});
  build($(`${which}-controls`), found || { controls: [] }, given, (name, value) => {
    view.params[view[which]] = { ...view.params[view[which]], [name]: value };
    lines();
    stale();
    refresh();
  });
  lines();
}

// Lines that only some methods have, by what these say of themselves.
function lines() {
  const [map, attack] = [method(view.attribution), method(view.attack)];
  $("layer-line").hidden = !map?.layer;
  const aims = Boolean(attack?.targetable && view.params[view.attack]?.targeted);
  $("reach-line").hidden = !aims;
  if (aims && view.reach === null) view.reach = Number($("reach").value);
  $("seed-line").hidden = !(map?.random || attack?.random);
}

function stale() {
  $("lights").replaceChildren();
  $("checked").textContent = "";
  $("done").textContent = "";
  $("text").hidden = true;
}

function fill() {
  const listed = (kind) => offered.methods.filter((each) => each.kind === kind).map((each) => ({ value: each.name, text: each.name, why: each.why_not }));
  const all = Array.from({ length: Math.min(offered.class_count, 5000) }, (_, k) => ({ value: k, text: called(k) }));
  options($("model"), offered.models.map((name) => ({ value: name, text: name })), offered.model);
  options($("data"), offered.datas.map(({ key, name }) => ({ value: key, text: name })), offered.data);
  options($("target"), [{ value: "label", text: "the label" }, { value: "predicted", text: "what is predicted" }, ...all], view.target);
  options($("reach"), all, view.reach ?? 0);
  options($("attribution"), listed("attribution"), view.attribution);
  options($("attack"), [{ value: "", text: "none" }, ...listed("attack")], view.attack);
  options($("layer"), [{ value: "", text: "the model's own" }, ...offered.layers.map((name) => ({ value: name, text: name }))], view.layer ?? "");
  $("what").textContent = offered.run ? `${offered.run}: ${offered.model}` : offered.model;
  $("image").max = offered.count - 1;
  $("cover-size").value ||= Math.max(2, Math.round(Math.min(...offered.shape.slice(1)) / 8));
  $("seed").value = view.seed;
  place();
  strip();
  reachable("attribution");
  reachable("attack");
  if (view.cover) for (const name of ["row", "column", "size", "baseline"]) $(`cover-${name}`).value = view.cover[name];
  $("uncover").disabled = !view.cover;
  light(offered.verdicts, "as the run found");
}

function place() {
  $("image").value = view.image;
  $("previous").disabled = view.image <= 0;
  $("next").disabled = view.image >= offered.count - 1;
  for (const button of $("strip").children) button.ariaPressed = String(Number(button.value) === view.image);
}

function strip() {
  const first = Math.max(0, Math.min(view.image - STRIP / 2, offered.count - STRIP));
  const shown = Array.from({ length: Math.min(STRIP, offered.count) }, (_, k) => first + k);
  $("strip").hidden = offered.count < 2;
  $("strip").replaceChildren(
    ...shown.map((index) => {
      const button = element("button", undefined, { type: "button", value: index, ariaLabel: `image ${index}`, ariaPressed: String(index === view.image) });
      button.append(element("img", undefined, { alt: "", loading: "lazy", src: `thumbnail?${new URLSearchParams({ model: view.model, data: view.data, index })}` }));
      button.addEventListener("click", () => go(index));
      return button;
    }),
  );
}

function go(index) {
  const last = view.image;
  view.image = Math.max(0, Math.min(offered.count - 1, Math.round(Number(index)) || 0));
  if (![...$("strip").children].some((each) => Number(each.value) === view.image)) strip();
  if (last !== view.image) stale();
  place();
  refresh();
}

async function start(changes = {}) {
  try {
    offered = await offer({ model: changes.model, data: changes.data, layer: changes.layer });
    const kept = view && changes.model === view.model ? view : null;
    // The same methods on other images; another model may lack some.
    view = kept ? { ...kept, data: offered.data, image: 0, cover: null, layer: offered.layer } : offered.view;
    for (const kind of Object.keys(asked)) {
      delete asked[kind];
      delete seen[kind];
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
    await start({ model: view.model, data: key });
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
  const text = (await json("reproduce", view))[what];
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
  view.cover = { row, column, size, baseline: Number($("cover-baseline").value) || 0 };
  $("cover-row").value = row;
  $("cover-column").value = column;
  $("uncover").disabled = false;
  refresh();
}

function listen() {
  const changed = (id, act) => $(id).addEventListener("change", (event) => { stale(); act(event.target.value); });
  changed("model", (value) => start({ model: value }));
  changed("data", (value) => start({ model: view.model, data: value }));
  changed("layer", (value) => { view.layer = value || null; refresh(); });
  changed("target", (value) => { view.target = /^\d+$/.test(value) ? Number(value) : value; refresh(); });
  changed("reach", (value) => { view.reach = Number(value); refresh(); });
  changed("seed", (value) => { view.seed = Math.max(0, Math.round(Number(value)) || 0); refresh(); });
  for (const which of ["attribution", "attack"]) {
    changed(which, (value) => { view[which] = value; reachable(which); refresh(); });
  }
  $("image").addEventListener("change", (event) => go(event.target.value));
  $("previous").addEventListener("click", () => go(view.image - 1));
  $("next").addEventListener("click", () => go(view.image + 1));
  $("clean-image").addEventListener("click", (event) => cover(...draw.cell(event.target, event)));
  for (const name of ["row", "column", "size", "baseline"]) {
    $(`cover-${name}`).addEventListener("change", () => {
      if ($("cover-row").value !== "" && $("cover-column").value !== "") cover(Number($("cover-row").value), Number($("cover-column").value));
    });
  }
  $("uncover").addEventListener("click", () => {
    view.cover = null;
    $("uncover").disabled = true;
    $("cover-row").value = $("cover-column").value = "";
    refresh();
  });
  for (const id of ["clean-map", "attacked-map", "change-map"]) $(id).addEventListener("pointermove", hover);
  $("check").addEventListener("click", () => press($("check"), $("checked"), async () => {
    const { verdicts, failures } = await json("check", view);
    light(verdicts, "on this image");
    return [$("checked").textContent, ...failures.map((each) => `${each.method} ${each.implementation}: ${each.message}`)].join(". ");
  }));
  $("copy-python").addEventListener("click", () => press($("copy-python"), $("done"), () => copy("python")));
  $("copy-command").addEventListener("click", () => press($("copy-command"), $("done"), () => copy("command")));
  $("save").addEventListener("click", () => press($("save"), $("done"), async () => `saved in ${(await json("save", view)).folder}`));
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
