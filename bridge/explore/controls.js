// Controls of a method, made from what the server says of its parameters. All text is text.

export function element(tag, text, properties = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return Object.assign(made, properties);
}

export function options(select, listed, chosen) {
  select.replaceChildren(
    ...listed.map(({ value, text, why }) =>
      element("option", why ? `${text} (cannot run here)` : text, {
        value,
        disabled: Boolean(why),
        title: why || "",
        selected: String(value) === String(chosen),
      }),
    ),
  );
}

// A method's controls into a box; `change(name, value)` is told what was moved.
export function build(box, method, given, change) {
  box.replaceChildren(
    ...method.controls.map((control) => {
      const value = control.name in given ? given[control.name] : control.default;
      const make = { switch: tick, choice: choose, number: slide }[control.kind];
      return make(control, value, (moved) => change(control.name, moved));
    }),
  );
}

function tick(control, value, change) {
  const label = element("label", undefined, { className: "check", title: control.words });
  const input = element("input", undefined, { type: "checkbox", checked: value, name: control.name });
  input.addEventListener("change", () => change(input.checked));
  label.append(input, control.name);
  return label;
}

function choose(control, value, change) {
  const label = element("label", control.name, { title: control.words });
  const select = element("select", undefined, { name: control.name });
  options(select, control.choices.map((each, k) => ({ value: k, text: String(each) })), control.choices.indexOf(value));
  select.addEventListener("change", () => change(control.choices[select.value]));
  label.append(select);
  return label;
}

function slide(control, value, change) {
  const box = element("div", undefined, { className: "slide", title: control.words });
  const head = element("div", undefined, { className: "name" });
  const said = element("b");
  const range = element("input", undefined, {
    type: "range", min: control.low, max: control.high, step: control.step, name: control.name, ariaLabel: control.name,
  });
  const typed = element("input", undefined, { type: "number", step: "any", ariaLabel: `${control.name}, exactly` });
  const own = element("input", undefined, { type: "checkbox", ariaLabel: `${control.name}: left to the method` });
  head.append(element("span", control.name), said);
  box.append(head, range, typed);
  if (control.optional) {
    const label = element("label", undefined, { className: "check" });
    label.append(own, "left to the method");
    box.append(label);
  }

  function show(now) {
    const none = now === null;
    own.checked = none;
    range.disabled = typed.disabled = none;
    said.textContent = none ? "" : levels(now);
    if (none) return;
    range.value = now;
    typed.value = +now.toPrecision(6);
  }

  // 8/255 as a person reads it.
  function levels(now) {
    if (!control.levels) return "";
    const count = now * control.levels;
    return `${+count.toFixed(2)}/${control.levels}`;
  }

  function exact(text) {
    let now = Number(text);
    if (control.whole) now = Math.round(now);
    if (control.levels && Math.abs(now * control.levels - Math.round(now * control.levels)) < 1e-6) {
      now = Math.round(now * control.levels) / control.levels;
    }
    return now;
  }

  range.addEventListener("input", () => {
    const now = exact(range.value);
    typed.value = +now.toPrecision(6);
    said.textContent = levels(now);
    change(now);
  });
  typed.addEventListener("change", () => {
    if (typed.value === "" || !Number.isFinite(Number(typed.value))) return show(value);
    const now = exact(typed.value);
    show(now);
    change(now);
  });
  own.addEventListener("change", () => {
    const now = own.checked ? null : exact(range.value);
    show(now);
    change(now);
  });
  show(value);
  return box;
}
