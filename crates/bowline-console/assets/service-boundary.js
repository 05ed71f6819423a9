// What a service declares that it owns, what was seen of it, and what breaks a rule.

import { html } from './html.js';
import { get, withQuery } from './api.js';
import { policyOf } from './declared.js';
import { ABSENT, count, moment, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { findings, holds, isOperation, resourceOf, unseen } from './observed.js';
import { goQuery, to } from './route.js';
import { TraceLink } from './service-traces.js';
import { pick } from './state.js';
import { Badge, Button, Card, Empty, Loaded, Select, Table } from './ui.js';

const SINCE = [['15m', '15 min'], ['1h', '1 h'], ['6h', '6 h'], ['24h', '24 h']];

export function Boundary({ service, query }) {
  const { name, system, graph } = service;
  const since = SINCE.some(([id]) => id === query.since) ? query.since : '15m';
  // Many traces are read for it: on a wish, not on every span.
  const observed = useLive((signal) => get(withQuery('/v1/observed', { since }), signal), null, [since]);
  const declared = system.data?.services.find((one) => one.name === name);
  return html`
    <${Card} title=${t('Violations')} about=${t('seen and not as declared')} actions=${html`
      <${Select} name=${t('Traces of the last')} value=${since} options=${SINCE} onPick=${(picked) => goQuery({ since: picked })} />
      <${Button} isDisabled=${observed.isLoading} onClick=${observed.reload}>${t('Look again')}<//>`}>
      <${Loaded} of=${observed}>${(seen) => html`<${Violations} seen=${seen} system=${system.data} name=${name} />`}<//>
    <//>
    <${Loaded} of=${system}>${() => (declared
      ? html`<div class="grid-2"><${Owned} declared=${declared} seen=${observed.data} operations=${operationsOf(graph.data, name)} /></div>`
      : html`<${Card} title=${t('Boundary')}><${Empty}>${t('The system declares no service of that name.')}<//><//>`)}<//>`;
}

const operationsOf = (graph, name) => graph && (graph.services.find((service) => service.name === name)?.operations ?? []);

function Violations({ seen, system, name }) {
  const rows = system ? findings(system, seen, name) : [];
  const quiet = system ? unseen(system, seen, name) : [];
  const empty = system?.services.length === 0
    ? t('No system is declared, so that nothing can break a rule.') : t('None: what was seen of it is declared.');
  const columns = [
    { name: t('Rule'), of: ({ rule, severity }) => html`<${Badge} tone=${severity === 'error' ? 'bad' : 'warn'}>${rule}<//>` },
    { name: t('What was seen'), of: ({ text }) => visible(text), class: 'wrap' },
    { name: t('Times'), isNumber: true, of: (one) => (one.count > 0 ? count(one.count) : ABSENT) },
    { name: t('Trace'), of: ({ sample }) => sample && html`<${TraceLink} id=${sample} />` },
  ];
  return html`
    <${Table} label=${t('Violations')} columns=${columns} rows=${rows} keyOf=${({ rule, text }) => rule + text} empty=${empty} />
    ${quiet.length > 0 && html`<p class="quiet below">${t('Declared, and not seen in this time: {calls}', { calls: quiet.join(', ') })}</p>`}
    <p class="quiet below">${reach(seen)} ${t('The whole system is proved by')} <code>bowline check --observed</code></p>`;
}

const GAPS = { unread: 'older ones were not read', deleted: 'older ones are no longer kept', left_out: 'some were left out: there were too many' };

function reach({ traces, spans, whole_since_unix_ms: since, gaps, sample }) {
  const parts = [tn('{n} trace', '{n} traces', traces), tn('{n} span', '{n} spans', spans), t('since {moment}', { moment: moment(since) })];
  if (sample) parts.push(t('of which {share} are kept', { share: sample }));
  return [...parts, ...gaps.map((gap) => t(pick(GAPS, gap, gap)))].join(', ') + t('.');
}

function Owned({ declared: { name, boundary, calls }, seen, operations }) {
  const asked = operations?.filter(({ kind }) => kind === 'server').map((one) => ({ ...split(one.name), count: one.figures.count }));
  const uses = seen?.uses.filter((use) => use.service === name);
  const ofApi = boundary.api.map((operation) => [operation, asked && sum(asked.filter((one) => isOperation(operation, one)))]);
  const used = (own) => {
    const held = uses?.filter((use) => holds(own, use));
    return [own, held && sum(held), tablesOf(held ?? [])];
  };
  const isFree = (one) => one.path.startsWith('/') && !one.path.startsWith(OWN_PATHS) && !boundary.api.some((own) => isOperation(own, one));
  const free = boundary.api.length > 0 ? (asked ?? []).filter(isFree) : [];
  const others = (uses ?? []).filter((use) => ![...boundary.data, ...boundary.state].some((own) => holds(own, use)));
  return html`
    <${Card} title=${t('Operations')} about=${t('that it offers; how often it was asked')}>
      <${List} items=${ofApi} empty=${t('It offers none.')} />
      <${Others} title=${t('Asked for, not declared')} items=${free.map(({ method, path, count: times }) => [`${method} ${path}`, times])} />
    <//>
    <${Card} title=${t('Data')} about=${t('that it alone touches')}><${List} items=${boundary.data.map(used)} empty=${t('It owns none.')} /><//>
    <${Card} title=${t('State')} about=${t('topics and caches of its own')}><${List} items=${boundary.state.map(used)} empty=${t('It owns none.')} />
      <${Others} title=${t('Used, of others')} items=${others.map((use) => [resourceOf(use), use.count])} /><//>
    <${Card} title=${t('Declared calls')} about=${t('and how they are made')}><${DeclaredCalls} calls=${calls} /><//>`;
}

// What Bowline itself asks for.
const OWN_PATHS = '/-/bowline/';

const sum = (seen) => seen.reduce((all, one) => all + one.count, 0);
const tablesOf = (uses) => [...new Set(uses.map(({ table }) => table).filter(Boolean))].join(', ');

function split(operation) {
  const [method, path = ''] = operation.split(' ');
  return { method, path };
}

// `items`: `[[text, times, more?]]`; where `times` is undefined it is not known yet.
const List = ({ items, empty }) => (items.length === 0 ? html`<p class="quiet">${empty}</p>` : html`
  <ul class="plain-list">${items.map(([text, times, more]) => html`<li>
    <code>${visible(text)}</code>${more && html` <span class="quiet">${visible(more)}</span>`}
    <span class="quiet number" title=${t('seen so often')}>${times === undefined ? '' : times > 0 ? count(times) : t('not seen')}</span></li>`)}</ul>`);

const Others = ({ title, items }) => items.length > 0 && html`<h3>${title}</h3><${List} items=${items.slice(0, 100)} />`;

function DeclaredCalls({ calls }) {
  if (calls.length === 0) return html`<p class="quiet">${t('It calls nobody.')}</p>`;
  return html`<ul class="plain-list">${calls.map((call) => html`<li>
    <a href=${to('services', call.service)}>${call.service}</a>
    <details><summary>${t(pick(MODES, call.mode, call.mode))}</summary><pre>${policyOf(call)}</pre></details></li>`)}</ul>`;
}

const MODES = { sync: 'waits', async: 'goes on', message: 'by message' };
