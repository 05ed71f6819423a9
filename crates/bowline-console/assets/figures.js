// Rate, errors and latency as the service graph tells them: the same columns wherever they stand.

import { html } from './html.js';
import { nanos, percent, rate } from './format.js';
import { t } from './i18n.js';
import { pick } from './state.js';

// How far back the service graph looks.
export const WINDOWS = [['1m', '1 min'], ['5m', '5 min'], ['15m', '15 min'], ['1h', '1 h']];

// How bad an error rate is: from one in a hundred it is looked at, from one in twenty it is a failure.
export const errorTone = (share) => (share >= 0.05 ? 'bad' : share >= 0.01 ? 'warn' : undefined);

// From one second on, somebody waits.
export const SLOW_NANOS = 1e9;

const UNITS = { ns: 1, us: 1e3, 'µs': 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9, d: 86_400e9 };
export const nanosOf = (text = '') => [...text.matchAll(/([\d.]+)\s*(ns|us|µs|ms|s|m|h|d)/g)].reduce((sum, [, n, unit]) => sum + n * pick(UNITS, unit, 0), 0);

// From where on a call that is waited for is slow: what it declares as `slow_call`, or half its timeout, a second at most.
export function slowNanos({ mode, policy = {} }) {
  if (mode !== 'sync') return SLOW_NANOS;
  const { timeout, breaker } = policy;
  return nanosOf(breaker?.slow_call) || Math.min(SLOW_NANOS, nanosOf(timeout) / 2 || SLOW_NANOS);
}

// `slow`: the limit of what these are figures of.
export const isSlow = (figures, slow = SLOW_NANOS) => figures?.p99_nanos >= slow;

export function ErrorShare({ figures }) {
  const tone = errorTone(figures?.error_rate);
  return html`<span class=${tone && `tone-text-${tone}`}>${percent(figures?.error_rate)}</span>`;
}

// What these figures are of, beside the window: others count by metrics, and need not agree.
export const fromSpans = (window) => t('{window}, from spans', { window });

// `figures(row)`: what the graph says of that row; undefined where nothing was seen. `isCalls`: rows are calls, not who answers.
export function figureColumns(figures, names = ['p99'], isCalls = false) {
  const [rates, errors] = isCalls
    ? [t('calls, by the spans of who calls: however many attempts each took'), t('of these calls, those that ended with an error, a timeout, or were never answered')]
    : [t('what it answered, by its spans'), t('of what it answered, what ended with an error; what never reached it only its callers know')];
  const quantile = (name) => ({
    name,
    title: t('{share} of 100 took no longer; wrong by a sixteenth at most', { share: name.slice(1) }),
    isNumber: true,
    of: (row) => nanos(figures(row)?.[`${name}_nanos`]),
    sort: (row) => figures(row)?.[`${name}_nanos`],
  });
  return [
    { name: t('Rate'), title: rates, isNumber: true, of: (row) => rate(figures(row)?.rate), sort: (row) => figures(row)?.rate },
    { name: t('Errors'), title: errors, isNumber: true, of: (row) => html`<${ErrorShare} figures=${figures(row)} />`, sort: (row) => figures(row)?.error_rate },
    ...names.map(quantile),
  ];
}
