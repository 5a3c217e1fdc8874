// What the page knows: the view (what is looked at), what can be chosen, and the newest answers.

export const state = {
  offered: null,
  view: null,
  seen: {}, // the newest answer of each kind
  asked: {}, // what that answer is of
};

export const $ = (id) => document.getElementById(id);
export const called = (k) => (state.offered.classes.length ? `${state.offered.classes[k]} (${k})` : `class ${k}`);
