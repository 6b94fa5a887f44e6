// The page: asks for a key, and then shows what the parts have.

import { get, key } from './api.js';
import { Call } from './call.js';
import { Devices } from './devices.js';
import { Live } from './live.js';

const element = (id) => document.getElementById(id);

// Wherever it was seen that the key is not good any more.
const failed = (error) => {
  if (error.status === 401 && !element('console').hidden) leave(error.detail);
};

const devices = new Devices({ choose: (device) => call.choose(device), failed });
const call = new Call({
  dialectOf: (product) => devices.dialect(product),
  changed: (product, device) => devices.mark(product, device),
  failed,
});
const live = new Live({ failed });

function enter() {
  element('sign-in').hidden = true;
  for (const name of ['console', 'session', 'skip']) element(name).hidden = false;
  devices.refresh();
  live.run();
}

function leave(why) {
  key.forget();
  devices.stop();
  live.stop();
  call.clear();
  for (const name of ['console', 'session', 'skip']) element(name).hidden = true;
  element('sign-in').hidden = false;
  element('key-error').textContent = why;
  element('key').focus();
}

let signingIn = false;
element('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  if (signingIn) return;
  signingIn = true;
  key.set(element('key').value.trim());
  element('key-error').textContent = '';
  try {
    await get('v1/devices?limit=1');
    element('key').value = '';
    enter();
    element('filter').focus();
  } catch (error) {
    key.forget();
    element('key-error').textContent = error.detail ?? error.message;
    element('key').select();
  } finally {
    signingIn = false;
  }
});
element('forget').addEventListener('click', () => leave(''));

if (key.get()) enter();
else leave('');
