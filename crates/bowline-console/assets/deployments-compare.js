// The old and the new release side by side: who runs, and what was measured of both.

import { html, useEffect, useState } from './html.js';
import { queryRange, quoted, serverNow } from './api.js';
import { Chart } from './chart.js';
import { instancesOf } from './deployments-acts.js';
import { conditionOf, endOf } from './deployments-model.js';
import { clock, percent, rate, seconds } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { Badge, Card, Health, Loaded, Table, Time } from './ui.js';

const AROUND_MS = 60_000;
const LONGEST_MS = 3 * 3_600_000;
const POINTS = 120;
const STEP_MIN_S = 5;

export function Releases({ service, deployment, version }) {
  const live = useLive((signal) => instancesOf(service, signal), ['services', 'deployments'], [service]);
  const columns = [
    { name: t('Release'), of: (row) => html`${nameOf(row.version)} ${standing(row.version, deployment, version)}` },
    { name: t('Instances'), isNumber: true, of: ({ instances }) => instances.length },
    { name: t('Health'), of: ({ instances }) => healths(instances).map(([state, n]) => html`<${Health}
      state=${state} />${instances.length > 1 && html` <span class="quiet">${n}</span>`} `) },
  ];
  const link = html`<a href=${to('services', service)}>${t('The service')}</a>`;
  return html`
    <${Card} title=${t('Releases that run')} actions=${link}>
      <${Loaded} of=${live}>${(instances) => html`<${Table} label=${t('Releases that run')} columns=${columns}
        rows=${byVersion(instances)}
        keyOf=${(row) => row.version} empty=${t('No instance runs.')} />`}<//>
    <//>`;
}

const nameOf = (version) => (version ? html`<code>${version}</code>` : t('no version'));

function byVersion(instances) {
  const rows = new Map();
  for (const instance of instances) {
    const version = instance.version ?? '';
    if (!rows.has(version)) rows.set(version, []);
    rows.get(version).push(instance);
  }
  return [...rows].map(([version, all]) => ({ version, instances: all }));
}

function healths(instances) {
  const counts = new Map();
  for (const { health } of instances) counts.set(health, (counts.get(health) ?? 0) + 1);
  return [...counts];
}

function standing(release, deployment, version) {
  if (deployment?.is_live && release === deployment.to) return html`<${Badge} tone="info">${t('new')}<//>`;
  return release === version && release !== '' ? html`<${Badge} tone="ok">${t('in force')}<//>` : null;
}

// The time that a rollout took, with a little before and after.
function rangeOf({ begun_unix_ms: begun, is_live: isLive, transitions }) {
  const end = isLive ? serverNow() : Math.min(serverNow(), (transitions.at(-1)?.at_unix_ms ?? begun) + AROUND_MS);
  const start = Math.max(begun - AROUND_MS, end - LONGEST_MS);
  const step = Math.max(STEP_MIN_S, Math.ceil((end - start) / 1000 / POINTS));
  return { start: Math.floor(start / 1000 / step) * step, end: Math.floor(end / 1000), step };
}

function expressionsOf(service) {
  const of = (more = '') => `{service=${quoted(service)}, reporter="server", version!=""${more}}[1m]`;
  const all = `sum by (version) (rate(bowline_requests_total${of()}))`;
  const failed = `sum by (version) (rate(bowline_requests_total${of(', code=~"5.."')}))`;
  return {
    requests: all,
    errors: `(${failed} or ${all} * 0) / ${all}`,
    p99: `histogram_quantile(0.99, sum by (version, le) (rate(bowline_request_duration_seconds_bucket${of()})))`,
  };
}

export function Compare({ deployment }) {
  const { service, id } = deployment;
  const load = async (signal) => {
    const range = { ...rangeOf(deployment), signal };
    const asked = Object.values(expressionsOf(service)).map((expression) => queryRange(expression, range));
    const [requests, errors, p99] = await Promise.all(asked);
    return { requests, errors, p99 };
  };
  const ended = endOf(deployment);
  const isFollowed = useBefore(ended === null ? Infinity : ended + AROUND_MS);
  const kinds = isFollowed ? ['metrics', 'deployments'] : null;
  const live = useLive(load, kinds, [service, id, deployment.is_live, isFollowed], { isKept: true });
  return html`
    <${Card} title=${t('Both releases')} about=${t('what their instances report, over a minute each')}>
      ${ended !== null && html`<p class="notice"><span>${t('It ended at {clock}.', { clock: clock(ended) })}${' '}
        ${isFollowed ? t('The charts go on for a minute.') : t('The charts stop a minute later.')}${' '}
        <span class="quiet"><${Time} at=${ended} /></span></span></p>`}
      <${Loaded} of=${live}>${({ requests, errors, p99 }) => html`
        <div class="grid">
          <${Lines} name=${t('Requests')} of=${requests} deployment=${deployment} format=${rate} />
          <${Lines} name=${t('Failed')} of=${errors} deployment=${deployment} format=${percent}
            bound=${boundOf(deployment, 'error_rate')} />
          <${Lines} name=${t('p99 latency')} of=${p99} deployment=${deployment} format=${seconds}
            bound=${boundOf(deployment, 'p99') / 1000} />
        </div>`}<//>
    <//>`;
}

// Whether that moment is still to come; it is drawn anew when it does.
function useBefore(at) {
  const [, draw] = useState(0);
  const left = at - serverNow();
  useEffect(() => {
    if (!Number.isFinite(at) || left <= 0) return undefined;
    const timer = setTimeout(() => draw((number) => number + 1), left + 50);
    return () => clearTimeout(timer);
  }, [at]);
  return left > 0;
}

const boundOf = ({ abort_when: condition }, what) =>
  conditionOf(condition).flat().find((one) => one.what === what)?.bound;

// A line for each release, and the bound where they come near it.
function Lines({ name, of: { times, series }, deployment: { from, to: next }, format, bound }) {
  const versions = from === next ? [next] : [from, next];
  const lines = versions.map((version) => {
    const found = series.find(({ metric }) => metric.version === version);
    return { label: version, values: found?.values ?? times.map(() => null) };
  });
  const most = Math.max(0, ...lines.flatMap(({ values }) => values));
  if (bound > 0 && most > bound / 4) lines.push({ label: t('ends above'), values: times.map(() => bound), tone: 'bad' });
  return html`<div><h3>${name}</h3><${Chart} label=${name} times=${times} series=${lines} format=${format}
    height=${150} /></div>`;
}
