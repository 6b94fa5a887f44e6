// Calls a device, and shows what came of it.

import { Problem, ask } from './api.js';
import { DIALECTS, UNKNOWN, advice, milliseconds, plural } from './words.js';

// Characters of an answer that are shown.
const SHOWN = 100_000;

const element = (id) => document.getElementById(id);

export class Call {
  #dialectOf;
  #changed;
  #failed;
  #calling = null;

  constructor({ dialectOf, changed, failed }) {
    this.#dialectOf = dialectOf;
    this.#changed = changed;
    this.#failed = failed;
    element('call-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    element('call-form').addEventListener('change', () => this.#adapt());
    for (const name of ['product', 'device']) element(name).addEventListener('input', () => this.#adapt());
    element('cancel').addEventListener('click', () => this.#calling?.abort());
    // As in a chat: the payload is sent with one hand.
    element('payload').addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) element('call-form').requestSubmit();
    });
    this.#adapt();
  }

  // Fills in a device, and waits for its payload.
  choose({ product, device }) {
    element('product').value = product;
    element('device').value = device;
    element('topic').value = '';
    this.#adapt();
    element('payload').focus();
  }

  // Forgets what was typed and answered, and a call that is not.
  clear() {
    this.#calling?.abort();
    this.#calling = null;
    this.#busy(false);
    element('call-form').reset();
    show({ kind: '' });
    element('answer').hidden = true;
    this.#adapt();
  }

  get #target() {
    return document.querySelector('[name=target]:checked').value;
  }

  // Offers what the device's dialect has.
  #adapt() {
    const [product, device] = ['product', 'device'].map((name) => element(name).value.trim());
    const dialect = DIALECTS[this.#dialectOf(product)] ?? UNKNOWN;
    element('dialect').textContent = dialect.about;
    element('target').hidden = !dialect.topic && !dialect.service;
    for (const input of document.querySelectorAll('[name=target]')) {
      const possible = input.value === 'device' || Boolean(dialect[input.value]);
      input.closest('label').hidden = !possible;
      if (!possible && input.checked) document.querySelector('[name=target][value=device]').checked = true;
    }
    const target = this.#target;
    for (const name of ['topic', 'service']) {
      element(`${name}-field`).hidden = target !== name;
      element(name).required = target === name;
    }
    if (target === 'topic' && !element('topic').value) {
      element('topic').value = dialect.topic(product, device);
    }
    element('content-type-field').hidden = !dialect.contentType;
    this.#changed(product, device);
  }

  async #send() {
    if (this.#calling) return;
    const payload = read(element('payload').value, element('encoding').value);
    element('payload-error').textContent = payload ? '' : 'In hex a byte is two digits: 0a ff 20';
    if (!payload) return element('payload').focus();
    const { path, headers, of } = this.#request();
    const calling = (this.#calling = new AbortController());
    this.#busy(true);
    const start = performance.now();
    const came = await this.#ask(path, { method: 'POST', body: payload, headers, signal: calling.signal });
    // Nobody waits for it any more: the key was forgotten.
    if (this.#calling !== calling) return;
    this.#calling = null;
    this.#busy(false);
    show({ ...came, took: `of ${of} after ${milliseconds(performance.now() - start)}` });
    if (came.error) this.#failed(came.error);
  }

  // What is to be shown.
  async #ask(path, options) {
    try {
      const response = await ask(path, options);
      if (response.headers.get('status-from') !== 'device') return problem(await Problem.of(response));
      return answer(response, new Uint8Array(await response.arrayBuffer()));
    } catch (error) {
      if (error.name !== 'AbortError') return { ...problem(error), error };
      return problem({ code: 'cancelled', title: 'You gave it up', detail: advice('timeout') });
    }
  }

  #request() {
    const value = (name) => element(name).value.trim();
    // Of a 408 of the device's a browser would ask again by itself.
    const query = new URLSearchParams({ status: 'header' });
    if (value('timeout')) query.set('timeout', `${Math.round(Number(value('timeout')) * 1000)}ms`);
    if (this.#target !== 'device') query.set(this.#target, value(this.#target));
    const [product, device] = [value('product'), value('device')].map(encodeURIComponent);
    const contentType = element('content-type-field').hidden ? '' : value('content-type');
    // Without one a browser adds none to bytes.
    const headers = contentType ? { 'content-type': contentType } : {};
    return { path: `v1/devices/${product}/${device}/call?${query}`, headers, of: value('device') };
  }

  #busy(calling) {
    element('send').textContent = calling ? 'Calling…' : 'Call';
    element('send').setAttribute('aria-disabled', calling);
    if (document.activeElement === element('cancel')) element('send').focus();
    element('cancel').hidden = !calling;
    if (calling) element('answer').classList.add('old');
  }
}

// The bytes of a payload; `null` when it is not hex.
function read(text, encoding) {
  if (encoding === 'text') return new TextEncoder().encode(text);
  const digits = text.replace(/[\s:,]|0x/gi, '');
  if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function answer(response, bytes) {
  const status = response.headers.get('device-status');
  const failed = status >= 400;
  const text = decode(bytes);
  const shown = text ?? dump(bytes.subarray(0, SHOWN / 8));
  return {
    kind: failed ? 'bad' : 'ok',
    badge: status,
    title: failed ? 'The device answered with an error' : 'The device answered',
    detail: decodeURIComponentSafely(response.headers.get('status-message')),
    body: bytes.length ? shown.slice(0, SHOWN) : '',
    note: [
      bytes.length ? plural(bytes.length, 'byte') : 'no payload',
      text === null ? 'not text, so in hex' : null,
      shown.length > SHOWN || (text === null && bytes.length > SHOWN / 8) ? 'only the beginning is shown' : null,
      response.headers.get('content-type'),
      `message id ${response.headers.get('message-id')}`,
    ].filter(Boolean).join(' · '),
  };
}

function problem({ status, code, title, detail }) {
  return {
    kind: 'bad',
    badge: code || 'failed',
    title: sentence(detail ?? 'It did not work.'),
    detail: advice(code),
    note: status ? `${title} (${status}), code ${code}` : title,
  };
}

function show({ kind, badge = '', title = '', took = '', detail = '', body = '', note = '' }) {
  const answer = element('answer');
  answer.className = `answer ${kind}`;
  element('answer-badge').textContent = badge;
  element('answer-title').textContent = title;
  element('answer-took').textContent = took;
  element('answer-detail').textContent = detail;
  element('answer-body').textContent = body;
  element('answer-body').hidden = !body;
  element('answer-note').textContent = note;
  answer.hidden = false;
  answer.scrollIntoView({ block: 'nearest' });
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? '' : '.');

// `null` when it is not text.
function decode(bytes) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

// Eight bytes in a line, as wide as a phone.
function dump(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 8) {
    const part = [...bytes.subarray(at, at + 8)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const plain = part.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(4, '0')}  ${hex.padEnd(23)}  ${plain}`);
  }
  return lines.join('\n');
}

function decodeURIComponentSafely(text) {
  try {
    return decodeURIComponent(text ?? '');
  } catch {
    return text;
  }
}
