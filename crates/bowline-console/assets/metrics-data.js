// What an expression gives: its series over a time and their last values, how they are called, and in which unit.

import { get, queryRange, quoted, serverNow, withQuery } from './api.js';
import { bytes, number, percent, rate, seconds, short } from './format.js';
import { t } from './i18n.js';
import { pick } from './state.js';

export const RANGES = [['15m', 900], ['1h', 3600], ['6h', 21_600], ['24h', 86_400]];
const RANGE = '1h';
// The most expressions at once.
export const EXPRESSIONS_MAX = 8;

const POINTS = 240;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400];
const SERIES = 200;
const VALUES = 1000;

// === time ===

// What the address says: a length back from now, or from when until when, in seconds since 1970.
export function timeOf({ range, from, to }) {
  const [start, end] = [Number(from), Number(to)];
  if (Number.isFinite(start) && end > start && start > 0) return { from: start, to: end };
  return { range: RANGES.some(([id]) => id === range) ? range : RANGE };
}

// The points that are asked for; in even steps, so that the picture does not tremble as time goes on.
export function stepsOf({ range, from, to }) {
  const length = range ? RANGES.find(([id]) => id === range)[1] : to - from;
  const step = STEPS.find((size) => length / size <= POINTS) ?? Math.ceil(length / POINTS);
  const end = Math.floor((range ? serverNow() / 1000 : to) / step) * step;
  const begin = range ? end - length : from;
  return { start: Math.floor(begin / step) * step, end, step };
}

// === values ===

export async function evaluate(expression, time, signal) {
  const steps = stepsOf(time);
  const began = performance.now();
  const [over, last] = await Promise.all([
    queryRange(expression, { ...steps, limit: SERIES, signal }),
    instant(expression, time.range ? undefined : steps.end, signal),
  ]);
  const isCut = over.series.length >= SERIES || last.length >= VALUES;
  return { ...over, ...steps, last, took: performance.now() - began, isCut };
}

async function instant(expression, time, signal) {
  const { data } = await get(withQuery('/api/v1/query', { query: expression, time, limit: VALUES }), signal);
  if (data.resultType === 'scalar') return [{ metric: {}, value: Number(data.result[1]) }];
  return data.result.map(({ metric, value, values }) => ({ metric, value: Number((value ?? values.at(-1))[1]) }));
}

// Single measurements that were kept with the trace they are from: `[{ name, at, value, trace }]`, the newest first.
const EXEMPLARS = 20;
export async function exemplars(expression, time, signal) {
  const { start, end } = stepsOf(time);
  const { data } = await get(withQuery('/api/v1/query_exemplars', { query: expression, start, end }), signal);
  const all = data.flatMap(({ seriesLabels, exemplars: some }) => some.map(({ labels, value, timestamp }) => (
    { name: seriesLabels.__name__ ?? '', at: timestamp * 1000, value: Number(value), trace: labels.trace_id ?? labels.traceID })));
  return all.filter(({ trace }) => /^[0-9a-f]{32}$/.test(trace ?? '')).sort((a, b) => b.at - a.at).slice(0, EXEMPLARS);
}

// === names ===

// The labels that tell the series apart, and those that all have alike.
export function labelsOf(metrics) {
  // The name of the metric first.
  const rank = (name) => (name === '__name__' ? '' : name);
  const names = [...new Set(metrics.flatMap(Object.keys))].sort((a, b) => rank(a).localeCompare(rank(b)));
  const isSame = (name) => metrics.every((metric) => pick(metric, name) === pick(metrics[0], name));
  return { apart: names.filter((name) => !isSame(name)), alike: names.filter(isSame).map((name) => [name, pick(metrics[0], name)]) };
}

// A series as PromQL writes it.
export function written({ __name__: name = '', ...labels }) {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}=${quoted(value)}`);
  return pairs.length > 0 ? `${name}{${pairs.join(', ')}}` : name || '{}';
}

// === units ===

const EXACT = (value) => (Number.isFinite(value) ? number(value) : String(value));
export const UNITS = {
  plain: ['number', short], seconds: ['duration', seconds], bytes: ['bytes', bytes],
  share: ['share', percent], rate: ['per second', rate], exact: ['as it is', EXACT],
};

// The unit that a value most likely has, by the names in its expression.
function guessed(expression) {
  const plain = expression.replace(/"[^"]*"|'[^']*'/g, '');
  const isRate = /\b(rate|irate)\s*\(/.test(plain);
  if (/histogram_quantile|_seconds_sum[^/]*\/|- *time\(\)/s.test(plain)) return 'seconds';
  if (/_seconds(_bucket|_sum)?\b/.test(plain) && !isRate) return 'seconds';
  if (/_bytes\b/.test(plain)) return 'bytes';
  if (/\/(?![^(]*_count)/.test(plain) && isRate) return 'share';
  return isRate ? 'rate' : 'plain';
}

export const formatOf = (unit, expression) => pick(UNITS, unit, UNITS[guessed(expression)])[1];
export const unitOptions = (expression) => [
  ['', t('by name: {unit}', { unit: t(UNITS[guessed(expression)][0]) })],
  ...Object.entries(UNITS).map(([id, [name]]) => [id, t(name)]),
];

// === mistakes ===

// Where in an expression a mistake is: `{ line, column, message, text, at, offset }`; null where it is not told.
const AROUND = 48;
export function mistakeOf(expression, message) {
  const found = /(\d+):(\d+): parse error: ([\s\S]*)$/.exec(message);
  if (!found) return null;
  const [line, column] = [Number(found[1]), Number(found[2])];
  const lines = expression.split('\n');
  const before = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  const within = [...(lines[line - 1] ?? '')].slice(0, column - 1).join('').length;
  // Of a long line what is around the mistake.
  const start = Math.max(0, column - AROUND);
  const text = [...(lines[line - 1] ?? '')].slice(start, column + AROUND).join('');
  return { line, column, message: found[3], text, at: column - 1 - start, offset: before + within };
}
