// Numbers as people read them: always with their unit, three digits that matter.

import { serverNow } from './api.js';
import { locale, t } from './i18n.js';

export const ABSENT = '–';

// Text that reads as it is: what steers a terminal, turns the direction of writing or cannot be seen, by its code.
const UNSEEN = new RegExp('[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e'
  + '\\u2060-\\u206f\\ufeff\\u{e0000}-\\u{e007f}]', 'gu');
const codeOf = (character) => {
  const code = character.codePointAt(0).toString(16);
  return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, '0')}`;
};
export const visible = (text) => String(text ?? '').replace(UNSEEN, codeOf);

// Who did something: whoever came without a token is on this machine, and is called so in the bar, too.
export const actorName = (name) => (name === 'anonymous' ? t('this machine') : visible(name));

function fractionOf(value) {
  const size = Math.abs(value);
  return size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2;
}

const digits = (value) => new Intl.NumberFormat(locale(), { maximumFractionDigits: fractionOf(value) }).format(value);
// As it is going to be written: 999.7 as 1,000, which is 1 of the next unit.
const rounded = (value) => Number(value.toFixed(fractionOf(value)));

const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);

function scaled(value, base, units, separator) {
  if (!isNumber(value)) return ABSENT;
  let step = 0;
  while (Math.abs(rounded(value)) >= base && step < units.length - 1) {
    value /= base;
    step += 1;
  }
  return digits(value) + (units[step] ? separator + units[step] : '');
}

export const count = (value) => (isNumber(value) ? new Intl.NumberFormat(locale(), { maximumFractionDigits: 0 }).format(value) : ABSENT);
export const short = (value) => scaled(value, 1000, ['', 'k', 'M', 'G', 'T'], ' ');
export const bytes = (value) => scaled(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB'], ' ');
export const number = (value) => (isNumber(value) ? digits(value) : ABSENT);
export const rate = (value) => (isNumber(value) ? `${value > 0 && value < 0.01 ? '< 0.01' : short(value)}/s` : ABSENT);

// A share of one, in percent.
export function percent(share) {
  if (!isNumber(share)) return ABSENT;
  if (share > 0 && share < 0.0001) return '< 0.01%';
  return `${digits(share * 100)}%`;
}

const UNITS = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

// `1m 30s`, as settings say it, in milliseconds.
export function durationOf(text = '') {
  let sum = 0;
  for (const [, amount, unit] of text.matchAll(/([\d.]+)\s*(ns|us|µs|ms|s|m|h|d)/g)) sum += Number(amount) * UNITS[unit];
  return sum;
}

// A length of time, from seconds.
export function seconds(value) {
  if (!isNumber(value)) return ABSENT;
  const size = Math.abs(value);
  if (size === 0) return '0 ms';
  // What would be written as 1,000 of one unit is 1 of the next.
  if (size < 0.9995e-6) return `${digits(value * 1e9)} ns`;
  if (size < 0.9995e-3) return `${digits(value * 1e6)} µs`;
  if (size < 0.9995) return `${digits(value * 1e3)} ms`;
  if (size < 59.95) return `${digits(value)} s`;
  return (value < 0 ? '-' : '') + long(size);
}

export const nanos = (value) => (isNumber(value) ? seconds(value / 1e9) : ABSENT);
export const millis = (value) => (isNumber(value) ? seconds(value / 1e3) : ABSENT);

function long(size) {
  const whole = Math.round(size);
  const parts = [[Math.floor(whole / 86_400), 'd'], [Math.floor(whole / 3600) % 24, 'h'], [Math.floor(whole / 60) % 60, 'min'], [whole % 60, 's']];
  const first = parts.findIndex(([amount]) => amount > 0);
  return parts.slice(first, first + 2).filter(([amount]) => amount > 0).map(([amount, unit]) => `${amount} ${t(unit)}`).join(' ');
}

// How long ago, or how long until, by the server's clock; `at` in milliseconds.
export function ago(at, now = serverNow()) {
  if (!isNumber(at)) return ABSENT;
  const passed = (now - at) / 1000;
  if (Math.abs(passed) < 1.5) return t('now');
  const length = long(Math.abs(passed));
  return passed >= 0 ? t('{length} ago', { length }) : t('in {length}', { length });
}

export const clock = (at) => new Intl.DateTimeFormat(locale(), { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }).format(at);
// With the zone, since the command line tells UTC.
export const moment = (at) => new Intl.DateTimeFormat(locale(), { dateStyle: 'medium', timeStyle: 'long', hour12: false }).format(at);
