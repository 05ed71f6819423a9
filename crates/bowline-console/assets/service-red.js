// Rate, errors and duration of a service over time.
//
// Who counts differs: a service that Bowline serves counts itself, others are known by their spans, databases by those
// of their callers. What is done of messages nobody waits for, so that it stands apart.

import { html } from './html.js';
import { queryRange, quoted, serverNow } from './api.js';
import { Chart } from './chart.js';
import { percent, rate, seconds } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { pick } from './state.js';
import { Card, Empty, Loaded } from './ui.js';

// How far back, in steps of how long; and the window of the service graph that comes closest.
export const RANGES = {
  '15m': { name: '15 min', seconds: 900, step: 10, window: '15m' },
  '1h': { name: '1 h', seconds: 3600, step: 30, window: '1h' },
  '6h': { name: '6 h', seconds: 21_600, step: 180, window: '1h' },
  '24h': { name: '24 h', seconds: 86_400, step: 600, window: '1h' },
};

const RATE_MIN_S = 60;
const QUANTILES = [0.5, 0.95, 0.99];

const requests = (selector, source = 'own') => ({
  source, total: 'bowline_requests_total', buckets: 'bowline_request_duration_seconds_bucket', by: 'code', selector,
});
export const spansOf = (name, kind) => ({
  source: 'spans',
  total: 'bowline_span_requests_total',
  buckets: 'bowline_span_duration_seconds_bucket',
  by: 'status',
  selector: `service=${quoted(name)},kind="${kind}"`,
});
export const edgesOf = (name) => ({
  source: 'callers',
  total: 'bowline_edge_requests_total',
  buckets: 'bowline_edge_duration_seconds_bucket',
  by: 'status',
  selector: `callee=${quoted(name)},mode="sync"`,
});

// The same requests as callers count them: with what happens on the way, such as retries, open breakers and faults.
export const ofCallers = (name) => requests(`reporter=~"client|gateway",service=${quoted(name)}`);

// Who counted what is shown, in words: figures of different sources need not agree.
const SOURCES = {
  own: () => t('Counted by the service itself.'),
  gateway: () => t('Counted by the gateway.'),
  spans: () => t('Counted by its spans.'),
  callers: () => t('Counted by the spans of its callers.'),
};
export const sourceOf = ({ source }) => SOURCES[source]();

// Who counts the requests: the first that did counts.
export function counters(name, isForeign) {
  if (isForeign && name === 'gateway') return [requests('reporter="gateway"', 'gateway'), spansOf(name, 'server')];
  if (isForeign) return [spansOf(name, 'server'), edgesOf(name)];
  return [requests(`reporter="server",service=${quoted(name)}`), spansOf(name, 'server'), edgesOf(name)];
}

export const useRed = (name, isForeign, range) => useLive(async (signal) => {
  const { seconds: length, step } = RANGES[range];
  const end = Math.floor(serverNow() / 1000 / step) * step;
  const over = { start: end - length, end, step, signal };
  const [own, messages, callers] = await Promise.all([
    firstOf(counters(name, isForeign), over),
    group(spansOf(name, 'consumer'), over),
    isForeign ? null : group(ofCallers(name), over, [0.99]),
  ]);
  return { requests: own, messages, callers };
}, ['metrics'], [name, isForeign, range], { isKept: true });

async function firstOf(candidates, over) {
  for (const candidate of candidates) {
    const found = await group(candidate, over);
    if (found) return found;
  }
  return null;
}

// The lines of one kind of requests; none where nobody counted any.
async function group({ source, total, buckets, by, selector }, over, shares = QUANTILES) {
  const window = `[${Math.max(RATE_MIN_S, over.step)}s]`;
  const counted = await queryRange(`sum by (${by}) (rate(${total}{${selector}}${window}))`, over);
  if (!counted.series.some(({ values }) => values.some((value) => value > 0))) return null;
  const quantiles = await Promise.all(shares.map(async (share) => {
    const { series } = await queryRange(`histogram_quantile(${share}, sum by (le) (rate(${buckets}{${selector}}${window})))`, over);
    return { label: `p${share * 100}`, values: series[0]?.values ?? counted.times.map(() => null) };
  }));
  const classes = classed(counted.series, by);
  return { source, window: Math.max(RATE_MIN_S, over.step), times: counted.times, classes, share: shareOf(classes, counted.times.length), quantiles };
}

const CLASSES = { 2: { label: '2xx' }, 3: { label: '3xx' }, 4: { label: '4xx', tone: 'warn' }, 5: { label: '5xx', tone: 'bad', isFailure: true } };
const STATUSES = { ok: { label: 'ok' }, error: { label: 'error', tone: 'bad', isFailure: true } };

// One line for each class of answers, the failures last, so that they lie above the others.
export function classed(series, by) {
  const lines = new Map();
  for (const { metric, values } of series) {
    const kind = by === 'code' ? pick(CLASSES, metric.code?.[0]) : pick(STATUSES, metric.status);
    const { label } = kind ?? { label: t('other') };
    const line = lines.get(label);
    if (line) line.values = line.values.map((value, index) => added(value, values[index]));
    else lines.set(label, { ...kind, label, values });
  }
  return [...lines.values()].sort((a, b) => a.label.localeCompare(b.label, 'en')).sort((a, b) => Boolean(a.isFailure) - Boolean(b.isFailure));
}

const added = (a, b) => (a === null ? b : b === null ? a : a + b);

function shareOf(classes, length) {
  return Array.from({ length }, (_, index) => {
    const sum = (lines) => lines.reduce((all, { values }) => all + (values[index] ?? 0), 0);
    const all = sum(classes);
    return all > 0 ? sum(classes.filter(({ isFailure }) => isFailure)) / all : null;
  });
}

export function Red({ of, range }) {
  return html`<${Loaded} of=${of}>${({ requests: own, messages, callers }) => html`
    ${own && html`<${Charts} group=${own} callers=${callers} names=${[t('Requests'), t('Errors'), t('Duration')]} range=${range} />`}
    ${messages && html`<${Charts} group=${messages} names=${[t('Messages'), t('Messages that failed'), t('Work on a message')]} range=${range} />`}
    ${!own && !messages && html`<${Card}><${Empty}>${t('No requests in the last {range}.', { range: RANGES[range].name })}<//><//>`}`}<//>`;
}

function Charts({ group: { source, window, times, classes, share, quantiles }, callers, names: [rates, errors, duration], range }) {
  const shares = [{ label: callers ? t('its own') : t('share'), values: share, tone: 'bad' }];
  if (callers) shares.push({ label: t('of callers'), values: callers.share });
  const durations = [...quantiles];
  for (const { label, values } of callers?.quantiles ?? []) durations.push({ label: t('{quantile} of callers', { quantile: label }), values });
  const about = t('the last {range}', { range: RANGES[range].name });
  return html`<div class="grid">
    <${Card} title=${rates} about=${about}><${Chart} label=${rates} times=${times} series=${classes} format=${rate} /><//>
    <${Card} title=${errors} about=${about}><${Chart} label=${errors} times=${times} series=${shares} format=${percent} /><//>
    <${Card} title=${duration} about=${about}><${Chart} label=${duration} times=${times} series=${durations} format=${seconds} /><//>
  </div>
  <p class="quiet figures-about">${sourceOf({ source })} ${callers && t('Of callers: counted by those who call it, also where no answer came.')}
    ${' '}${t('Each point covers {length}.', { length: seconds(window) })}</p>`;
}
