// How long calls took: one mark for each, by the time when it ended.

import { clock, milliseconds } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 220;
const MARGIN = { top: 10, right: 10, bottom: 26, left: 52 };
// The time axis is no shorter, so that a few calls do not fill it.
const SPAN = 60_000;
const FASTEST = 0.1;

export function draw(svg, calls) {
  const width = Math.max(240, svg.clientWidth);
  svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
  const title = make('title', { id: 'picture-title' }, svg.dataset.summary);
  const last = calls.at(-1).time.getTime();
  const first = Math.min(calls[0].time.getTime(), last - SPAN);
  // No mark is cut off.
  const x = scale(first, last, MARGIN.left + 6, width - MARGIN.right - 6);
  const { y, grid } = vertical(calls);
  const lines = grid.flatMap((value) => [
    make('line', { class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
    make('text', { class: 'axis', x: MARGIN.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, milliseconds(value)),
  ]);
  const below = HEIGHT - 8;
  const times = [
    make('text', { class: 'axis', x: MARGIN.left, y: below }, clock(new Date(first))),
    make('text', { class: 'axis', x: width - MARGIN.right, y: below, 'text-anchor': 'end' }, clock(new Date(last))),
  ];
  const marks = calls.map((call) => mark(call, x(call.time.getTime()), y(call.milliseconds)));
  svg.replaceChildren(title, ...lines, ...times, ...marks);
}

// By powers of ten, as far as calls go.
function vertical(calls) {
  const power = (value) => Math.log10(Math.max(value, FASTEST));
  const powers = calls.map((call) => power(call.milliseconds));
  const low = Math.floor(Math.min(...powers));
  const high = Math.max(Math.ceil(Math.max(...powers)), low + 1);
  const place = scale(low, high, HEIGHT - MARGIN.bottom, MARGIN.top);
  const grid = Array.from({ length: high - low + 1 }, (_, step) => 10 ** (low + step));
  return { y: (value) => place(power(value)), grid };
}

const scale = (from, to, start, end) => (value) => start + ((value - from) / (to - from)) * (end - start);

// A failure has another colour, and another form.
function mark({ outcome, device, milliseconds: took }, x, y) {
  const about = make('title', {}, `${device}: ${outcome}, ${milliseconds(took)}`);
  const made = outcome === 'ok'
    ? make('circle', { class: 'ok', cx: x, cy: y, r: 3.5 })
    : make('path', { class: 'bad', d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8` });
  made.append(about);
  return made;
}

function make(kind, attributes, text = '') {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}
