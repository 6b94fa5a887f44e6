// Calls as they end: a stream of server-sent events, which `EventSource` cannot ask for with a key.

import { get } from './api.js';
import { draw } from './picture.js';
import { clock, meaning, milliseconds, plural } from './words.js';

// Calls that are remembered here, and those of them that the table has.
const KEPT = 500;
const SHOWN = 50;
// The gateway sends something every 15 s.
const SILENCE = 40_000;
const LONGEST_PAUSE = 30_000;
// Drawing more often helps nobody.
const FRAME = 250;

const element = (id) => document.getElementById(id);

export class Live {
  #calls = [];
  #missed = 0;
  #drawing = 0;
  #stop = new AbortController();
  #failed;

  constructor({ failed }) {
    this.#failed = failed;
    element('pause').addEventListener('click', () => {
      const held = element('pause').getAttribute('aria-pressed') !== 'true';
      element('pause').setAttribute('aria-pressed', held);
      if (!held) this.#draw();
    });
    new ResizeObserver(() => this.#later()).observe(element('picture'));
  }

  stop() {
    this.#stop.abort();
    this.#calls = [];
    this.#missed = 0;
    element('pause').setAttribute('aria-pressed', false);
    for (const id of ['calls', 'numbers', 'reasons', 'picture']) element(id).replaceChildren();
    this.#draw();
  }

  // Until it is stopped. When the stream ends, another one is tried after a pause.
  async run() {
    this.#stop.abort();
    const { signal } = (this.#stop = new AbortController());
    let pause = 0;
    while (!signal.aborted) {
      if (!pause) say('wait', 'Connecting…');
      let why;
      try {
        await this.#follow(signal, () => (pause = 0));
        why = 'The gateway has ended it';
      } catch (error) {
        if (error.status === 401) return this.#failed(error);
        why = error.detail ?? 'The connection was lost';
      }
      if (signal.aborted) return;
      pause = Math.min(LONGEST_PAUSE, Math.max(1000, pause * 2));
      const jitter = pause * (0.75 + Math.random() / 2);
      say('bad', 'Not live', `${why.replace(/\.$/, '')}. It is tried again in ${Math.ceil(jitter / 1000)} s.`);
      await sleep(jitter, signal);
    }
  }

  async #follow(signal, alive) {
    const silent = new AbortController();
    const give = () => silent.abort();
    let timer = setTimeout(give, SILENCE);
    try {
      const response = await get('v1/calls', { signal: AbortSignal.any([signal, silent.signal]) });
      say('ok', 'Live');
      for await (const block of blocks(response.body)) {
        clearTimeout(timer);
        timer = setTimeout(give, SILENCE);
        alive();
        this.#take(block);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #take(block) {
    const lines = block.split('\n');
    const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    const [event, data] = [field('event'), field('data')];
    if (event === 'missed') this.#missed += JSON.parse(data).count;
    if (event === 'call') {
      const call = JSON.parse(data);
      this.#calls.push({ ...call, time: new Date(call.time) });
      if (this.#calls.length > KEPT) this.#calls.splice(0, this.#calls.length - KEPT);
    }
    if (event) this.#later();
  }

  #later() {
    const held = element('pause').getAttribute('aria-pressed') === 'true';
    if (!held) this.#drawing ||= setTimeout(() => this.#draw(), FRAME);
  }

  #draw() {
    clearTimeout(this.#drawing);
    this.#drawing = 0;
    const calls = this.#calls;
    element('live').hidden = calls.length === 0;
    element('live-note').hidden = calls.length > 0;
    element('live-missed').textContent = this.#missed
      ? `Up to ${plural(this.#missed, 'call')} ended faster than this page could take, and are not here.`
      : '';
    if (!calls.length) return;
    const failures = calls.filter(({ outcome }) => outcome !== 'ok');
    numbers(calls, failures);
    reasons(failures);
    element('calls').replaceChildren(...calls.slice(-SHOWN).reverse().map(row));
    draw(element('picture'), calls);
  }
}

function numbers(calls, failures) {
  const sorted = calls.map((call) => call.milliseconds).sort((a, b) => a - b);
  // By nearest rank.
  const at = (share) => milliseconds(sorted[Math.ceil(sorted.length * share) - 1]);
  const share = Math.round((failures.length / calls.length) * 1000) / 10;
  const last = calls.length === KEPT ? `Last ${KEPT} calls` : 'Calls';
  const all = [
    [last, calls.length.toLocaleString('en')],
    ['Failed', failures.length ? `${failures.length} (${share} %)` : '0', failures.length > 0],
    ['Median', at(0.5)],
    ['95 % within', at(0.95)],
    ['Slowest', milliseconds(sorted.at(-1))],
  ];
  element('numbers').replaceChildren(...all.map(([name, value, bad]) => {
    const pair = document.createElement('div');
    pair.append(make('dt', name), make('dd', value, bad ? 'bad' : ''));
    return pair;
  }));
  // The picture in words.
  element('picture').dataset.summary = all.map(([name, value]) => `${name}: ${value}`).join('. ');
}

function reasons(failures) {
  const counts = new Map();
  for (const { outcome } of failures) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const items = sorted.map(([outcome, count]) => {
    const item = document.createElement('li');
    const bar = make('span', '', 'bar');
    bar.append(make('span', ''));
    bar.firstChild.style.inlineSize = `${(count / failures.length) * 100}%`;
    item.append(make('code', outcome), make('strong', String(count)), make('span', meaning(outcome), 'note'), bar);
    return item;
  });
  element('reasons').replaceChildren(...(items.length ? items : [make('li', 'None has.', 'note')]));
}

function row({ time, product, device, api, outcome, milliseconds: took }) {
  const made = document.createElement('tr');
  const name = make('td', device, 'name');
  name.append(make('small', product));
  const badge = make('span', outcome, outcome === 'ok' ? 'ok' : 'bad');
  badge.title = meaning(outcome);
  const ended = make('td', '', 'ended');
  ended.append(badge);
  made.append(make('td', clock(time), 'ended'), name, make('td', api, 'roomy'), ended, make('td', milliseconds(took), 'number'));
  return made;
}

function make(kind, text, className = '') {
  const made = document.createElement(kind);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(kind, text, more = '') {
  const state = element('live-state');
  state.className = `pill ${kind}`;
  state.textContent = text;
  state.title = more;
  element('live-error').textContent = more;
}

// What stands between empty lines.
async function* blocks(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n\n');
    rest = parts.pop();
    yield* parts;
  }
}

// Less when the network is back or the signal is given.
function sleep(pause, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      window.removeEventListener('online', end);
      resolve();
    };
    const timer = setTimeout(end, pause);
    signal.addEventListener('abort', end);
    window.addEventListener('online', end);
  });
}
