// The gateway's API, with the key that a person has typed.

const KEY = 'rrpc-gateway-key';

// A tab has its own, and forgets it when it is closed.
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

// Why there is no answer: what the gateway says, or that it says nothing.
export class Problem extends Error {
  constructor({ status = 0, code = '', title = '', detail }) {
    super(detail);
    Object.assign(this, { status, code, title, detail });
  }

  static async of(response) {
    const said = await response.json().catch(() => ({}));
    const text = (value, otherwise) => (typeof value === 'string' ? value : otherwise);
    return new Problem({
      status: response.status,
      code: text(said.code, ''),
      title: text(said.title, response.statusText),
      detail: text(said.detail, 'The gateway does not say why.'),
    });
  }
}

// A response, also one that is a problem; but not that the key is wrong.
export async function ask(path, options = {}) {
  const token = key.get() ?? '';
  // No header can have anything else.
  if (!/^[\x20-\x7e]+$/.test(token)) throw unknown();
  let response;
  try {
    const headers = { ...options.headers, authorization: `Bearer ${token}` };
    response = await fetch(path, { ...options, headers, cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem({ code: 'unreachable', title: 'Nobody there', detail: 'The gateway cannot be reached.' });
  }
  if (response.status === 401) throw unknown();
  return response;
}

const unknown = () =>
  new Problem({ status: 401, code: 'unauthorized', title: 'Unauthorized', detail: 'The gateway does not know this key.' });

// A response that is a success.
export async function get(path, options) {
  const response = await ask(path, options);
  if (!response.ok) throw await Problem.of(response);
  return response;
}
