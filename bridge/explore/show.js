// What is on the screen: pictures, classes and sentences, of the newest answers.
import * as draw from "./draw.js";
import { element } from "./controls.js";
import { $, called, state } from "./state.js";

const percent = (p) => `${(100 * p).toFixed(p < 0.0995 || p > 0.9994 ? 2 : 1)} %`;

// What is on the screen, of the newest answers: whatever rests on the one that came. They come in
// any order, and for a moment some may be of another image than the others.
export function show(kind) {
  $("stage").classList.toggle("alone", !state.view.attack);
  const { image, clean, attacked } = state.seen;
  const covered = state.view.cover && state.seen.covered;
  const rests = (...kinds) => kinds.includes(kind);
  if (image && rests("image", "covered")) {
    draw.image($("clean-image"), covered ? covered.x : image.x, state.offered.bounds);
    $("clean-head").textContent = covered ? "image, covered" : "image";
  }
  if (clean && rests("clean", "covered")) classes("clean-says", clean.facts, covered);
  if (image && attacked && draw.alike(image.x, attacked.adversarial) && rests("image", "attacked")) {
    draw.image($("attacked-image"), attacked.adversarial, state.offered.bounds);
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
  const { clean, attacked } = state.seen;
  const limit = state.view.attack && attacked ? Math.max(attacked.facts.limit, clean.facts.limit) : clean.facts.limit;
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
  const expected = state.seen.clean.facts.label;
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
  const predicted = (kind) => called(state.seen[kind].facts.classes.predicted);
  const became = facts.fooled ? `The prediction went from ${predicted("clean")} to ${predicted("attacked")}. ` : `The prediction stayed ${predicted("attacked")}. `;
  $("why").textContent = `${became}The maps before and after, of the same class: rank correlation ${shown(spearman)}, overlap of the top tenth of the pixels ${shown(overlap)}, structural similarity ${shown(ssim)} (1 is the same map).`;
}

function remarks() {
  const kinds = ["clean", "attacked"].filter((kind) => state.seen[kind]);
  const texts = new Set(kinds.flatMap((kind) => state.seen[kind].facts.remarks));
  $("remarks").replaceChildren(...[...texts].map((text) => element("li", text)));
  $("cost").textContent = kinds
    .map((kind) => `${kind === "clean" ? "map" : "attack and its map"}: ${state.seen[kind].facts.passes[0]} forward and ${state.seen[kind].facts.passes[1]} backward passes, ${(1000 * state.seen[kind].facts.seconds).toFixed(0)} ms (${state.seen[kind].facts.implementation})`)
    .join("; ");
}

// The value under the mouse, in all maps at once.
export function hover(event) {
  const { clean, attacked } = state.seen;
  if (!clean) return;
  const [row, column] = draw.cell(event.target, event);
  const at = ({ shape, values }) => values[row * shape[1] + column];
  let text = `row ${row}, column ${column}: map ${draw.number(at(clean.map))}`;
  if (state.view.attack && attacked && draw.alike(attacked.map, clean.map)) {
    text += `, attacked ${draw.number(at(attacked.map))}, moved by ${draw.number(at(attacked.map) - at(clean.map))}`;
  }
  $("value").textContent = text;
}
