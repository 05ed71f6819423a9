// Who calls a service and whom it calls: what was seen, and whether it is declared; and what it is asked for.

import { html } from './html.js';
import { query as promql, quoted } from './api.js';
import { declaration } from './declared.js';
import { figureColumns, fromSpans } from './figures.js';
import { visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { TraceLink } from './service-traces.js';
import { pick } from './state.js';
import { Badge, Card, Loaded, Table } from './ui.js';

export function Calls({ service }) {
  const { name, graph, system, detail } = service;
  const isOwn = detail.data !== null;
  const against = useBreakers(`sum by (job, reporter, state) (bowline_breakers{service=${quoted(name)},reporter!="sidecar"}) > 0`);
  const own = useBreakers(`sum by (service, state) (bowline_breakers{job=${quoted(name)},reporter="client"}) > 0`);
  const of = (edges, side) => ({ edges, name, side, system: system.data, window: service.window });
  return html`<${Loaded} of=${graph}>${({ edges }) => html`
    <div class="grid-2">
      <${Edges} ...${of(edges, 'caller')} title=${t('Callers')} breakers=${against} empty=${t('Nobody called it.')} />
      ${(isOwn || edges.some(({ caller }) => caller === name)) && html`
        <${Edges} ...${of(edges, 'callee')} title=${t('Calls to others')} breakers=${own} empty=${t('It called nobody.')} />`}
    </div>`}<//>`;
}

// The breakers that are not closed, as an expression tells them.
export const useBreakers = (expression) => useLive((signal) => promql(expression, { signal }), ['metrics'], [expression]).data ?? [];

const WINDOW_NAMES = { '15m': '15 min', '1h': '1 h' };

// The edges on one side: those that were seen, and those that are declared and were not.
function Edges({ title, edges, name, side, system, breakers, empty, window }) {
  const other = side === 'caller' ? 'callee' : 'caller';
  const seen = edges.filter((edge) => edge[other] === name).map((edge) => ({ ...edge, name: edge[side] }));
  const has = new Set(seen.map((edge) => edge.name));
  const unseen = declaredOf(system, name, side).filter((call) => !has.has(call.name));
  const hasFailures = seen.some(({ failures }) => failures.length > 0);
  const statesOf = (edge) => breakers.filter((one) => isOf(one, edge.name, side));
  const rows = [...seen.sort((a, b) => b.figures.error_rate - a.figures.error_rate || b.figures.p99_nanos - a.figures.p99_nanos), ...unseen];
  const columns = [
    { name: t('Service'), of: (edge) => html`<${Other} edge=${edge} />`, sort: (edge) => edge.name },
    ...figureColumns(({ figures }) => figures, ['p99'], true),
    ...(hasFailures ? [{ name: t('Failures'), of: (edge) => html`<${Failures} edge=${edge} />` }] : []),
    { name: t('Declared'), of: (edge) => html`<${Declared} how=${declaration(system, edge.caller, edge.callee)} isSeen=${Boolean(edge.figures)} />` },
    ...(breakers.length > 0 ? [{ name: t('Breaker'), of: (edge) => html`<${Breaker} states=${statesOf(edge)} />` }] : []),
    { name: t('Trace'), of: (edge) => edge.sample_trace_id && html`<${TraceLink} id=${edge.sample_trace_id} />` },
  ];
  return html`<${Card} title=${title} about=${fromSpans(t('the last {range}', { range: WINDOW_NAMES[window] }))}>
    <${Table} label=${title} columns=${columns} rows=${rows} keyOf=${(edge) => `${edge.name} ${edge.mode}`} empty=${empty} /><//>`;
}

const Other = ({ edge: { name, mode } }) => html`<a href=${to('services', name)}>${visible(name)}</a>
  ${mode !== 'sync' && html` <span class="quiet one">${t('by message')}</span>`}`;

function declaredOf(system, name, side) {
  const services = system?.services ?? [];
  const calls = services.flatMap((service) => service.calls.map((call) => ({ caller: service.name, callee: call.service, mode: call.mode })));
  const other = side === 'caller' ? 'callee' : 'caller';
  return calls.filter((call) => call[other] === name).map((call) => ({ ...call, name: call[side] }));
}

// Of a caller's breakers, the gateway's are Bowline's own.
function isOf({ metric }, name, side) {
  if (side === 'callee') return metric.service === name;
  return metric.reporter === 'gateway' ? name === 'gateway' : metric.job === name;
}

function Failures({ edge }) {
  const failures = edge.failures ?? [];
  if (failures.length === 0) return null;
  const first = failures.slice(0, 3).map(({ status, count }) => html`<span class="one">${status} × ${count}</span> `);
  return html`<span class="tone-text-bad">${first}${failures.length > 3 && '…'}</span>`;
}

function Declared({ how, isSeen }) {
  if (how === null) return null;
  if (!how.isDeclared) return html`<${Badge} tone="bad" title=${how.why}>${t('not declared')}<//>`;
  return isSeen ? html`<span title=${how.why}>${t('declared')}</span>` : html`<${Badge} title=${how.why}>${t('not seen')}<//>`;
}

const STATES = {
  open: ['bad', 'open'],
  forced_open: ['bad', 'held open'],
  half_open: ['warn', 'half open'],
  forced_closed: ['info', 'held closed'],
  disabled: ['info', 'switched off'],
};

export function Breaker({ states }) {
  return states.filter(({ metric }) => Object.hasOwn(STATES, metric.state)).map(({ metric, value }) => {
    const [tone, word] = STATES[metric.state];
    return html`<${Badge} tone=${tone} title=${tn('{n} breaker', '{n} breakers', value)}>${t(word)}${value > 1 && ` × ${value}`}<//> `;
  });
}

export function Operations({ service: { name, graph, window } }) {
  const traces = (operation) => to('traces', { service: name, operation });
  const rowsOf = ({ services }) => services.find((service) => service.name === name)?.operations ?? [];
  const columns = [
    { name: t('Operation'), of: (one) => html`<a href=${traces(one.name)}><code>${visible(one.name)}</code></a>`, sort: (one) => one.name },
    { name: t('Kind'), of: (one) => t(pick(KINDS, one.kind, one.kind)), sort: (one) => one.kind },
    ...figureColumns(({ figures }) => figures, ['p50', 'p95', 'p99']),
  ];
  return html`<${Card} title=${t('Operations')} about=${fromSpans(t('what it answered in the last {range}', { range: WINDOW_NAMES[window] }))}>
    <${Loaded} of=${graph}>${(seen) => html`<${Table} label=${t('Operations')} columns=${columns} rows=${rowsOf(seen)}
      keyOf=${(one) => one.kind + one.name} sortBy=${{ name: t('Rate'), isDown: true }} empty=${t('It answered nothing.')} />`}<//><//>`;
}

const KINDS = { server: 'request', consumer: 'message' };
