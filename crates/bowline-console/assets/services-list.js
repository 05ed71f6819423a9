// All services, the worst first.

import { html, useMemo } from './html.js';
import { get, withQuery } from './api.js';
import { told, useFaults } from './fault.js';
import { WINDOWS, figureColumns, fromSpans } from './figures.js';
import { FilterBox, useFilter } from './filter.js';
import { count, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { pick } from './state.js';
import { Badge, Card, Health, Loaded, Page, Select, Table } from './ui.js';

const RANKS = { unhealthy: 0, degraded: 1, healthy: 2 };
const BECAUSE_SHOWN = 2;

export function ServiceList({ query }) {
  const window = WINDOWS.some(([id]) => id === query.window) ? query.window : '5m';
  const live = useLive(async (signal) => {
    const seen = get(withQuery('/v1/service-graph', { window }), signal);
    const [health, graph] = await Promise.all([get('/v1/health', signal), seen]);
    return rowsOf(health.services, graph.services);
  }, ['health', 'services', 'traces', 'metrics'], [window], { isKept: true });
  const faults = useFaults();
  const [filter, box] = useFilter(query.q);
  return html`
    <${Page} title=${t('Services')} actions=${html`<${FilterBox} of=${box} label=${t('Filter by name')} />
      <${Select} name=${t('Figures of the last')} value=${window} options=${WINDOWS} onPick=${(picked) => goQuery({ window: picked })} />`}>
      <${Loaded} of=${live}>${(rows) => html`<${Lists} rows=${rows} filter=${filter} faults=${faults.data ?? []}
        window=${fromSpans(t('the last {range}', { range: WINDOWS.find(([id]) => id === window)[1] }))} />`}<//>
    <//>`;
}

// Those of the system with what was seen of them, and what else was seen.
function rowsOf(services, seen) {
  const figures = new Map(seen.map((service) => [service.name, service.figures]));
  const own = services.map((health) => ({ name: health.name, health, figures: figures.get(health.name) }));
  const known = new Set(services.map(({ name }) => name));
  const others = seen.filter(({ name }) => !known.has(name));
  return { own: own.sort(worstFirst), others: others.sort(worstFirst) };
}

function worstFirst(a, b) {
  const rank = (row) => pick(RANKS, row.health?.rolled_up, RANKS.healthy);
  const errors = (row) => row.figures?.error_rate ?? 0;
  const slow = (row) => row.figures?.p99_nanos ?? 0;
  return rank(a) - rank(b) || errors(b) - errors(a) || slow(b) - slow(a) || a.name.localeCompare(b.name);
}

function Lists({ rows: { own, others }, filter, faults, window }) {
  const has = ({ name }) => name.toLowerCase().includes(filter);
  const shown = useMemo(() => own.filter(has), [own, filter]);
  const beside = useMemo(() => others.filter(has), [others, filter]);
  const empty = own.length === 0 ? t('No service is declared, and none is registered.') : t('No service has that in its name.');
  return html`
    <${Card} title=${t('Of the system')} about=${`${tally(own)} · ${t('figures: {window}', { window })}`}>
      <${Table} label=${t('Services')} columns=${columns(faults)} rows=${shown} keyOf=${({ name }) => name} empty=${empty} />
    <//>
    ${beside.length > 0 && html`<${Card} title=${t('Around it')} about=${`${t('seen by traces: the gateway, databases, who calls from outside')} · ${window}`}>
      <${Table} label=${t('Around the system')} rows=${beside} keyOf=${({ name }) => name}
        columns=${[nameColumn([]), ...figureColumns(({ figures }) => figures)]} />
    <//>`}`;
}

function tally(own) {
  const bad = own.filter(({ health }) => health.rolled_up === 'unhealthy').length;
  const meek = own.filter(({ health }) => health.rolled_up === 'degraded').length;
  const parts = [tn('{n} service', '{n} services', own.length)];
  if (bad > 0) parts.push(tn('{n} unhealthy', '{n} unhealthy', bad));
  if (meek > 0) parts.push(tn('{n} degraded', '{n} degraded', meek));
  return parts.join(' · ');
}

const nameColumn = (faults) => ({
  name: t('Service'),
  of: ({ name }) => {
    const done = faults.filter(({ service }) => service === name);
    return html`<a href=${to('services', name)}>${visible(name)}</a>
      ${done.length > 0 && html` <${Badge} tone="info" title=${done.map(told).join('; ')}>${t('fault')}<//>`}`;
  },
  sort: ({ name }) => name,
});

const columns = (faults) => [
  nameColumn(faults),
  {
    name: t('Health'),
    of: ({ health }) => html`<${Health} state=${health.rolled_up} /> <${Because} health=${health} />`,
    sort: ({ health }) => RANKS[health.rolled_up],
  },
  {
    name: t('Instances'),
    title: t('healthy of all'),
    isNumber: true,
    of: ({ health }) => html`<${InstanceTally} health=${health} />`,
    sort: ({ health }) => health.healthy,
  },
  ...figureColumns(({ figures }) => figures),
];

export function InstanceTally({ health: { healthy, unhealthy, draining } }) {
  const all = healthy + unhealthy + draining;
  const title = [t('{n} healthy', { n: healthy }), t('{n} unhealthy', { n: unhealthy }), t('{n} draining', { n: draining })].join(', ');
  return html`<span class=${all === 0 || unhealthy > 0 ? 'tone-text-bad' : undefined} title=${title}>${count(healthy)} / ${count(all)}</span>`;
}

// Why a service is not well: its own instances, or the way to whom it needs.
export function Because({ health }) {
  const { because, own } = health;
  const link = (name) => html`<a href=${to('services', name)}>${name}</a>`;
  const ways = because.slice(0, BECAUSE_SHOWN).map((way) => html`<span class="way">${between(' → ', way.map(link))}</span>`);
  const more = because.length - ways.length;
  const parts = [
    own !== 'all_healthy' && html`<span>${t(pick(OWN, own, own))}</span>`,
    ways.length > 0 && html`<span>${t('because of')} ${between(', ', ways)}${more > 0 && ` ${tn('and {n} more', 'and {n} more', more)}`}</span>`,
  ].filter(Boolean);
  return parts.length > 0 && html`<span class="quiet because">${between(' · ', parts)}</span>`;
}

const between = (sign, parts) => parts.map((part, index) => html`${index > 0 && sign}${part}`);

const OWN = {
  all_healthy: 'all instances are healthy',
  some_unhealthy: 'some instances are unhealthy',
  none_healthy: 'no instance is healthy',
  no_instance: 'there is no instance',
};
