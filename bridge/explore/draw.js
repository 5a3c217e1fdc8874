// Pictures on canvases, one number a cell; colours are made here, so that the numbers stay exact.

// From blue over white to red: told apart with every kind of colour vision (ColorBrewer's RdBu).
const STOPS = [
  [5, 48, 97], [33, 102, 172], [67, 147, 195], [146, 197, 222], [209, 229, 240], [247, 247, 247],
  [253, 219, 199], [244, 165, 130], [214, 96, 77], [178, 24, 43], [103, 0, 31],
];
const SHADES = 512;
const TABLE = Array.from({ length: SHADES + 1 }, (_, k) => {
  const place = (k / SHADES) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((a, i) => Math.round(a + (STOPS[low + 1][i] - a) * (place - low)));
});

function paint(canvas, height, width, colour) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  canvas.style.aspectRatio = `${width} / ${height}`;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const { data } = picture;
  for (let k = 0, at = 0; k < height * width; k += 1, at += 4) {
    const rgb = colour(k);
    data[at] = rgb[0];
    data[at + 1] = rgb[1];
    data[at + 2] = rgb[2];
    data[at + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

export function image(canvas, { shape, values }, [low, high]) {
  const [channels, height, width] = shape;
  const size = height * width;
  const level = (v) => Math.max(0, Math.min(255, Math.round((255 * (v - low)) / (high - low))));
  paint(canvas, height, width, (k) => {
    if (channels === 3) return [level(values[k]), level(values[size + k]), level(values[2 * size + k])];
    let sum = 0;
    for (let c = 0; c < channels; c += 1) sum += values[c * size + k];
    const gray = level(sum / channels);
    return [gray, gray, gray];
  });
}

export function map(canvas, { shape, values }, limit) {
  const [height, width] = shape;
  paint(canvas, height, width, (k) => shade(values[k], limit));
}

function shade(value, limit) {
  const share = Math.max(-1, Math.min(1, value / limit)) || 0;
  return TABLE[Math.round(((share + 1) / 2) * SHADES)];
}

export function bar(canvas) {
  paint(canvas, 1, canvas.width, (k) => shade(k / (canvas.width - 1) - 0.5, 0.5));
  canvas.style.aspectRatio = "auto";
}

export function alike(a, b) {
  return String(a.shape) === String(b.shape);
}

// a - b, of a picture the mean over its channels.
export function difference(a, b) {
  const [height, width] = a.shape.slice(-2);
  const channels = a.shape.length === 3 ? a.shape[0] : 1;
  const values = new Float32Array(height * width);
  for (let c = 0; c < channels; c += 1) {
    for (let k = 0; k < values.length; k += 1) {
      values[k] += (a.values[c * values.length + k] - b.values[c * values.length + k]) / channels;
    }
  }
  return { shape: [height, width], values };
}

export function largest({ values }) {
  return values.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;
}

// The cell of a canvas under the mouse; the picture fills it.
export function cell(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const at = (place, start, length, count) =>
    Math.max(0, Math.min(count - 1, Math.floor(((place - start) / length) * count)));
  return [at(event.clientY, box.top, box.height, canvas.height), at(event.clientX, box.left, box.width, canvas.width)];
}

export function number(value) {
  if (value === 0) return "0";
  return Math.abs(value) >= 1e-3 && Math.abs(value) < 1e4 ? String(+value.toPrecision(5)) : value.toExponential(3);
}
