// One service: how it is, whom it needs and who needs it, what it owns, and what it says.

import { html } from './html.js';
import { get, path, withQuery } from './api.js';
import { useSystem } from './declared.js';
import { FaultButton, FaultNotes, useFaults } from './fault.js';
import { visible } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Boundary } from './service-boundary.js';
import { Breakers } from './service-breakers.js';
import { Calls, Operations } from './service-calls.js';
import { Instances } from './service-instances.js';
import { Logs } from './service-logs.js';
import { Now } from './service-now.js';
import { RANGES, Red, useRed } from './service-red.js';
import { ServiceTraces } from './service-traces.js';
import { Because } from './services-list.js';
import { Badge, Health, Page, Select, Tabs } from './ui.js';

const TABS = ['overview', 'instances', 'operations', 'boundary', 'logs'];
// The parts that tell of a time that the reader picks.
const OVER_TIME = ['overview', 'operations'];

// What is known of it, each kept by itself, so that one that fails hides no other.
function useService(name, range) {
  const { window } = RANGES[range];
  return {
    name,
    window,
    // `{ service }`, how it is as a whole: it may have thousands of instances. `null`: it is neither declared nor
    // registered, but a gateway, a database, or somebody outside.
    detail: useLive((signal) => detailOf(name, signal), ['health', 'services'], [name]),
    graph: useLive((signal) => get(withQuery('/v1/service-graph', { window }), signal), ['traces', 'metrics'], [window],
      { isKept: true }),
    system: useSystem(),
    alerts: useLive(async (signal) => (await get('/api/v1/alerts', signal)).data.alerts, ['alerts'], []),
    faults: useFaults(),
  };
}

const IS_SERVICE = /^[a-z0-9-]{1,63}$/;

async function detailOf(name, signal) {
  if (!IS_SERVICE.test(name)) return null;
  const { services } = await get('/v1/health', signal);
  const known = services.find((service) => service.name === name);
  if (known) return { service: known };
  // A call that is refused would stand in the browser's log as an error, each time anew.
  if (name === 'gateway') return null;
  try {
    // One that has no instance any more.
    return await get(path('/v1/health', name), signal);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

export function ServiceView({ name, query }) {
  const range = Object.hasOwn(RANGES, query.range) ? query.range : '15m';
  const tab = TABS.includes(query.tab) ? query.tab : 'overview';
  const service = useService(name, range);
  // Until it is known: what has no health of its own is asked for none, since the browser logs what is refused.
  const isLikely = IS_SERVICE.test(name) && name !== 'gateway';
  const isOwn = service.detail.data === undefined ? isLikely : service.detail.data !== null;
  const names = { overview: t('Overview'), instances: t('Instances'), operations: t('Operations'), boundary: t('Boundary'), logs: t('Logs') };
  const { healthy, unhealthy, draining } = service.detail.data?.service ?? {};
  const counts = { instances: healthy === undefined ? undefined : healthy + unhealthy + draining };
  const shown = TABS.filter((id) => isOwn || id === 'overview' || id === 'operations');
  const current = shown.includes(tab) ? tab : 'overview';
  return html`
    <${Page} title=${name} about=${html`<${Standing} service=${service} />`} actions=${html`
      ${OVER_TIME.includes(current) && html`<${Select} name=${t('Time range')} value=${range} onPick=${(picked) => goQuery({ range: picked })}
        options=${Object.entries(RANGES).map(([id, { name: text }]) => [id, text])} />`}
      ${isOwn && html`<${FaultButton} service=${name} reload=${service.faults.reload} />`}`}>
      <${FaultNotes} of=${service.faults} service=${name} />
      ${service.faults.data?.some((fault) => fault.service === name) && html`<p class="quiet">${t('Requests are delayed or failed on purpose before they reach {service}: its own figures do not show it, those of its callers do.', { service: name })}</p>`}
      <${Firing} alerts=${service.alerts.data ?? []} name=${name} />
      <${Tabs} label=${t('Parts of {service}', { service: name })} current=${current} onPick=${(id) => goQuery({ tab: id === 'overview' ? '' : id })}
        tabs=${shown.map((id) => ({ id, name: names[id], count: counts[id] }))}>
        <${View} tab=${current} service=${service} range=${range} query=${query} />
      <//>
    <//>`;
}

function View({ tab, service, range, query }) {
  if (tab === 'instances') return html`<${Instances} name=${service.name} /><${Breakers} name=${service.name} />`;
  if (tab === 'operations') return html`<${Operations} service=${service} />`;
  if (tab === 'boundary') return html`<${Boundary} service=${service} query=${query} />`;
  if (tab === 'logs') return html`<${Logs} service=${service} query=${query} />`;
  return html`<${Overview} service=${service} range=${range} query=${query} />`;
}

function Overview({ service, range, query }) {
  const red = useRed(service.name, service.detail.data === null, range);
  return html`
    <${Now} service=${service} />
    <${Red} of=${red} range=${range} />
    <${Calls} service=${service} />
    <${ServiceTraces} service=${service} query=${query} />`;
}

function Standing({ service: { detail, graph, name } }) {
  if (detail.data) {
    const { service } = detail.data;
    return html`<${Health} state=${service.rolled_up} /> <${Because} health=${service} />`;
  }
  if (detail.data === undefined) return detail.error ? detail.error.message : null;
  const seen = graph.data?.services.find((service) => service.name === name);
  if (graph.data && !seen) return t('Nothing of that name is declared or registered, and no call to it was seen.');
  if (name === 'gateway') return t('Where requests from outside come in.');
  if (!seen) return null;
  return seen.is_instrumented ? t('Not of this system: it is known by its traces.') : t('Not of this system: it is known by what its callers saw.');
}

function Firing({ alerts, name }) {
  const own = alerts.filter(({ labels, state }) => labels.service === name && state === 'firing');
  if (own.length === 0) return null;
  return html`<section class="note tone-bad" aria-label=${t('Firing alerts')}>
    ${own.slice(0, 5).map(({ labels, annotations }) => html`<p><${Badge} tone="bad">${t('firing')}<//>
      <a href=${to('alerts', { q: labels.alertname })}>${visible(labels.alertname)}</a> ${visible(annotations.summary ?? annotations.description)}</p>`)}
    ${own.length > 5 && html`<p><a href=${to('alerts', { q: name })}>${t('All {n}', { n: own.length })}</a></p>`}
  </section>`;
}
