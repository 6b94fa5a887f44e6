// The devices that are connected, looked at again every few seconds.

import { get } from './api.js';
import { DIALECTS, age, plural } from './words.js';

const SHOWN = 100;
const AGAIN = 5000;
// Then it counts as failed.
const PATIENCE = 20_000;

const element = (id) => document.getElementById(id);

export class Devices {
  #rows = new Map();
  #timer = 0;
  #asking = null;
  #chosen = '';
  #choose;
  #failed;
  // By product.
  #dialects = new Map();

  constructor({ choose, failed }) {
    this.#choose = choose;
    this.#failed = failed;
    element('filter').addEventListener('input', () => this.refresh());
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.#asking) this.refresh();
    });
  }

  // Of the devices of this product, if one was seen.
  dialect(product) {
    return this.#dialects.get(product);
  }

  // Shows them as they are now. What was asked before is not waited for.
  async refresh() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    const late = setTimeout(() => asking.abort(new DOMException('', 'TimeoutError')), PATIENCE);
    try {
      const query = new URLSearchParams({ limit: SHOWN });
      const text = element('filter').value.trim();
      if (text) query.set('contains', text);
      const response = await get(`v1/devices?${query}`, { signal: asking.signal });
      const left = Number(response.headers.get('devices-left'));
      this.#show(await response.json(), left, text);
      element('devices-error').textContent = '';
    } catch (error) {
      if (error.name === 'AbortError') return;
      element('devices-error').textContent = `The list is not up to date. ${error.detail ?? error.message}`;
      this.#failed(error);
    } finally {
      clearTimeout(late);
      // While nobody sees it, it waits.
      const again = () => !document.hidden && this.refresh();
      if (this.#asking === asking) this.#timer = setTimeout(again, AGAIN);
    }
  }

  stop() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#asking = null;
    this.#rows.forEach((row) => row.element.remove());
    this.#rows.clear();
    this.#dialects.clear();
    element('filter').value = '';
  }

  // Marks the device that the form is about.
  mark(product, device) {
    this.#chosen = `${product}/${device}`;
    for (const [name, { element, button }] of this.#rows) {
      element.classList.toggle('chosen', name === this.#chosen);
      button.setAttribute('aria-pressed', name === this.#chosen);
    }
  }

  #show(devices, left, text) {
    const names = new Set(devices.map(({ product, device }) => `${product}/${device}`));
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      if (document.activeElement === row.button) element('filter').focus();
      row.element.remove();
      this.#rows.delete(name);
    }
    // Both are sorted: a row that stays is never moved, so it keeps the focus.
    let next = element('devices').firstElementChild;
    for (const device of devices) {
      const name = `${device.product}/${device.device}`;
      const known = this.#rows.get(name);
      const row = known ?? this.#row(device);
      row.update(device);
      this.#dialects.set(device.product, device.dialect);
      if (row.element === next) {
        next = next.nextElementSibling;
      } else {
        element('devices').insertBefore(row.element, next);
        this.#rows.set(name, row);
      }
    }
    const all = devices.length + left;
    const matching = text ? ' match' + (all === 1 ? 'es' : '') : '';
    element('devices-count').textContent = all || text ? plural(all, 'device') + matching : 'None is connected';
    element('devices-left').hidden = left === 0;
    element('devices-left').textContent =
      `${plural(left, 'more device')} ${left === 1 ? 'is' : 'are'} not shown. Filter, or type the names into the form.`;
  }

  #row({ product, device, dialect }) {
    const row = document.createElement('tr');
    const cell = (kind, className = '') => {
      const made = document.createElement('td');
      made.className = className;
      row.append(made);
      if (!kind) return made;
      const inner = document.createElement(kind);
      made.append(inner);
      return inner;
    };
    const button = cell('button', 'name');
    button.type = 'button';
    button.className = 'choose';
    const spoken = DIALECTS[dialect]?.name ?? dialect;
    button.append(device, make('small', product, make('span', ` · ${spoken}`, '', 'narrow')));
    button.setAttribute('aria-pressed', this.#chosen === `${product}/${device}`);
    row.classList.toggle('chosen', this.#chosen === `${product}/${device}`);
    button.addEventListener('click', () => this.#choose({ product, device, dialect }));
    cell('', 'roomy').textContent = spoken;
    const since = cell('time');
    const flying = cell('', 'number');
    const update = ({ connected, since: at, in_flight: count }) => {
      const date = at ? new Date(at) : null;
      since.dateTime = at ?? '';
      since.title = date?.toLocaleString() ?? '';
      since.textContent = date ? `for ${age(date)}` : { true: 'yes', false: 'no' }[connected] ?? 'not known';
      flying.textContent = count;
      flying.classList.toggle('busy', count > 0);
    };
    return { element: row, button, update };
  }
}

function make(kind, text, child = '', className = '') {
  const made = document.createElement(kind);
  made.append(text, child);
  made.className = className;
  return made;
}
