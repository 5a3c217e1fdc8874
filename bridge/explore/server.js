// Asking the server: numbered requests, answers in blocks of numbers, and what to do when it is gone.

export class Failed extends Error {}
export class Superseded extends Error {}
export class Gone extends Error {}

const page = crypto.getRandomValues(new Uint32Array(2)).join("-");
let number = 0;

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "omit", ...options });
  } catch {
    throw new Gone();
  }
  if (answer.status === 204) throw new Superseded();
  if (answer.ok) return answer;
  let text = `the server answered ${answer.status}`;
  try {
    text = (await answer.json()).message || text;
  } catch {}
  throw new Failed(text);
}

// The server starts only the newest request of each kind, so the page counts them.
export function post(kind, view) {
  const body = JSON.stringify({ page, number: ++number, view });
  return ask(kind, { method: "POST", body, headers: { "content-type": "application/json" } });
}

export async function json(kind, view) {
  return (await post(kind, view)).json();
}

// A block: four bytes with the length of the header, the header in JSON, then float32 arrays.
export async function block(kind, view) {
  const content = await (await post(kind, view)).arrayBuffer();
  const length = new DataView(content).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, length)));
  let place = 4 + length;
  const arrays = {};
  for (const [name, shape] of Object.entries(header.arrays)) {
    const count = shape.reduce((a, b) => a * b, 1);
    arrays[name] = { shape, values: new Float32Array(content, place, count) };
    place += 4 * count;
  }
  return { facts: header.facts, ...arrays };
}

export async function offer(asked) {
  const given = Object.entries(asked).filter(([, value]) => value);
  return (await ask(`offer?${new URLSearchParams(given)}`)).json();
}

export async function upload(file) {
  const name = encodeURIComponent(file.name);
  const answer = await ask(`upload?name=${name}`, { method: "POST", body: file });
  return (await answer.json()).data;
}

export async function alive() {
  await ask("alive");
}
