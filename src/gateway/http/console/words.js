// How things are called, and how numbers are written.

// What a device of each dialect can be asked.
export const DIALECTS = {
  aliyun: {
    name: 'Aliyun RRPC',
    about: 'Aliyun RRPC: 8 s at most',
    topic: (product, device) => `/${product}/${device}/user/get`,
    service: true,
  },
  tencent: { name: 'Tencent IoT Hub', about: 'Tencent RRPC of IoT Hub' },
  'tencent-explorer': {
    name: 'Tencent IoT Explorer',
    about: 'Tencent RRPC of IoT Explorer',
    topic: (product, device) => `${product}/${device}/`,
  },
  native: {
    name: 'MQTT 5',
    about: 'MQTT 5 request and response',
    topic: (product, device) => `devices/${product}/${device}/`,
    service: true,
    contentType: true,
  },
};

// Anything may be asked of a device whose dialect is not known.
export const UNKNOWN = { about: '', topic: () => '', service: true, contentType: true };

const OUTCOMES = {
  ok: 'the device answered',
  device_error: 'the device answered with an error',
  offline: 'the device is not connected',
  disabled: 'the device is disabled',
  half_open: 'the device has just lost its connection',
  not_subscribed: 'the device is connected, and does not listen',
  timeout: 'the device did not answer in time',
  too_many: 'too many calls were in flight',
  too_large: 'the payload was too large',
  invalid: 'what was asked is not possible',
  no_such_device: 'there is no such device',
  not_allowed: 'the key may not call it',
  unavailable: 'the gateway or its broker was away',
  lost: 'the connection was lost meanwhile',
  failed: 'the broker refused',
  cancelled: 'the caller hung up',
};

export const meaning = (outcome) => OUTCOMES[outcome] ?? '';

// What follows for who has called.
const ADVICE = {
  offline: 'It was not asked.',
  disabled: 'It was not asked.',
  half_open: 'It may be back in a moment.',
  not_subscribed: 'Its program does not subscribe to the topic of requests.',
  timeout: 'It may have done what it was asked.',
  lost: 'It may have done what it was asked.',
  unreachable: 'It may have done what it was asked.',
  unavailable: 'It was not asked; try again.',
  too_many: 'Try again.',
};

export const advice = (code) => ADVICE[code] ?? '';

export function milliseconds(number) {
  if (number < 10) return `${Number(number.toFixed(1))} ms`;
  if (number < 1000) return `${Math.round(number)} ms`;
  return `${Number((number / 1000).toFixed(number < 10_000 ? 2 : 1))} s`;
}

// How long ago, in the largest unit that fits.
export function age(since, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - since) / 1000));
  const units = [[86_400, 'd'], [3600, 'h'], [60, 'min']];
  const unit = units.find(([length]) => seconds >= length);
  return unit ? `${Math.floor(seconds / unit[0])} ${unit[1]}` : `${seconds} s`;
}

// Of the day, as it is here.
export const clock = (time) => time.toLocaleTimeString('en-GB');

export const plural = (count, word) =>
  `${count.toLocaleString('en')} ${word}${count === 1 ? '' : 's'}`;
