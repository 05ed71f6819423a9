// Workloads of the mesh: until when their certificates are good, and which snapshot each instance acts by.

import { html } from './html.js';
import { get, path } from './api.js';
import { ABSENT, count, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Badge, Card, Empty, Loaded, Table, Time } from './ui.js';
import { Aside, Facts, QueryLink } from './aside.js';
import { Expiry } from './mesh-certificates.js';
import { FilterBox, useFilter } from './filter.js';
import { Policy } from './mesh-calls.js';

export const isCurrent = ({ outcome, version: acknowledged }, version) => outcome === 'applied' && acknowledged === version;

const serviceOf = (workload) => (workload.startsWith('service/') ? workload.slice('service/'.length) : undefined);

// The state of a workload's instances: a tone and a word.
function stateOf({ instances, version }) {
  if (instances.some(({ outcome }) => outcome === 'refused')) return ['bad', 'refused'];
  if (instances.some((instance) => !isCurrent(instance, version))) return ['warn', 'stale'];
  return instances.length > 0 ? ['ok', 'acknowledged'] : ['quiet', 'no instance'];
}

function Acknowledged({ workload }) {
  if (workload.version === undefined) return ABSENT;
  const [tone, word] = stateOf(workload);
  const current = workload.instances.filter((instance) => isCurrent(instance, workload.version)).length;
  return html`<${Badge} tone=${tone}>${t(word)}<//> ${workload.instances.length > 0
    && html`<span class="quiet">${t('{some} of {all}', { some: count(current), all: count(workload.instances.length) })}</span>`}`;
}

// Whatever is less than strict and enforced is marked.
function Demand({ value, wanted }) {
  if (value === undefined) return ABSENT;
  return value === wanted ? t(value) : html`<${Badge} tone="warn">${t(value)}<//>`;
}

export function Workloads({ workloads, query }) {
  const [search, box] = useFilter(query.q);
  const shown = workloads.filter(({ workload }) => workload.toLowerCase().includes(search));
  const chosen = workloads.find(({ workload }) => workload === query.at);
  const expires = t('Expires first');
  const columns = [
    { name: t('Workload'), sort: ({ workload }) => workload,
      of: ({ workload }) => html`<${QueryLink} change=${{ at: workload }}>${workload}<//>` },
    { name: expires, class: 'one-line', sort: ({ certificate }) => certificate.at ?? 0,
      of: ({ certificate }) => html`<${Expiry} of=${certificate} />` },
    { name: t('Certificates'), isNumber: true, of: ({ certificates }) => count(certificates), sort: ({ certificates }) => certificates,
      title: t('certificates that are good: one for each instance, and those that were replaced') },
    { name: t('Snapshot'), class: 'one-line', sort: (workload) => stateOf(workload)[1],
      of: (workload) => html`<${Acknowledged} workload=${workload} />` },
    { name: t('Version'), isNumber: true, of: ({ version }) => version ?? ABSENT, sort: ({ version }) => version },
    { name: t('Published'), of: ({ published_unix_ms: at }) => html`<${Time} at=${at} />`, sort: ({ published_unix_ms: at }) => at },
    { name: t('Mode'), of: ({ demands }) => html`<${Demand} value=${demands?.mode} wanted="strict" />` },
    { name: t('Authorization'), of: ({ demands }) => html`<${Demand} value=${demands?.authorization} wanted="enforce" />` },
  ];
  return html`<div class=${chosen ? 'beside' : undefined}>
    <${Card} title=${t('Workloads')} actions=${html`<${FilterBox} of=${box} label=${t('Workload')} />`}
      about=${tn('{n} workload, by the end of its certificates', '{n} workloads, by the end of their certificates', shown.length)}>
      <${Table} label=${t('Workloads')} columns=${columns} rows=${shown} keyOf=${({ workload }) => workload}
        sortBy=${{ name: expires, isDown: false }} empty=${t('Nothing matches.')}
        onRow=${({ workload }) => goQuery({ at: workload })} isSelected=${(workload) => workload === chosen} />
    <//>
    ${chosen && html`<${Workload} of=${chosen} />`}
  </div>`;
}

function Workload({ of: workload }) {
  const { workload: name, version, instances, demands } = workload;
  const service = serviceOf(name);
  return html`
    <${Aside} id=${name} title=${name} onClose=${() => goQuery({ at: undefined })}>
      <${Facts} of=${[
        [t('Service'), service && html`<a href=${to('services', service)}>${service}</a>`],
        [t('Expires first'), html`<${Expiry} of=${workload.certificate} />`],
        [t('Certificates'), count(workload.certificates)],
        [t('Version'), version],
        [t('Published'), workload.published_unix_ms !== undefined && html`<${Time} at=${workload.published_unix_ms} />`],
        [t('Demands'), demands && `${t(demands.mode)}, ${t(demands.authorization)}`],
      ]} />
      ${version !== undefined && html`<h3>${t('Instances')}</h3><${Instances} instances=${instances} version=${version} />`}
      ${version !== undefined && html`<${Snapshot} name=${name} version=${version} />`}
    <//>`;
}

function Instances({ instances, version }) {
  const columns = [
    { name: t('Instance'), of: ({ instance }) => instance, sort: ({ instance }) => instance },
    { name: t('Runs'), isNumber: true, of: ({ runs }) => runs ?? ABSENT, sort: ({ runs }) => runs },
    { name: t('State'), of: (instance) => html`<${InstanceState} instance=${instance} version=${version} />` },
    { name: t('Since'), of: ({ at_unix_ms: at }) => html`<${Time} at=${at} />`, sort: ({ at_unix_ms: at }) => at },
  ];
  return html`<${Table} label=${t('Instances')} columns=${columns} rows=${instances} keyOf=${({ instance }) => instance}
    empty=${t('No instance has acknowledged it.')} />`;
}

function InstanceState({ instance, version }) {
  if (instance.outcome === 'refused') {
    return html`<${Badge} tone="bad">${t('refused {version}', { version: instance.version })}<//>
      <div class="event-why">${visible(instance.reason)}</div>`;
  }
  return isCurrent(instance, version) ? html`<${Badge} tone="ok">${t('acknowledged')}<//>`
    : html`<${Badge} tone="warn">${t('stale: acknowledged {version}', { version: instance.version })}<//>`;
}

// What a workload acts by: whom it lets in for what, and whom it calls.
function Snapshot({ name, version }) {
  const service = serviceOf(name);
  const [namespace, document] = service ? ['bowline.service', service] : ['bowline.mesh', name];
  const load = async (signal) => JSON.parse((await get(path('/v1/config', namespace, document), signal)).document.text);
  const snapshot = useLive(load, null, [name, version]);
  return html`<${Loaded} of=${snapshot}>${({ inbound = [], outbound = [] }) => html`
    <h3>${t('Whom it lets in')}</h3>
    ${inbound.length === 0 ? html`<${Empty}>${t('Nobody.')}<//>` : html`<ul class="mesh-rules">${inbound.map((rule) => html`<li>
      <strong>${rule.caller.replace(/^service\//, '')}</strong> <span class="quiet">${rule.name}</span>
      <ul class="mono">${(rule.operations ?? []).map((operation) => html`<li>${operationOf(operation)}</li>`)}</ul></li>`)}</ul>`}
    <h3>${t('Whom it calls')}</h3>
    ${outbound.length === 0 ? html`<${Empty}>${t('Nobody.')}<//>` : outbound.map(({ target, policy }) => html`
      <details class="call-policy"><summary>${target}</summary><${Policy} policy=${policy} /></details>`)}`}<//>`;
}

function operationOf({ methods = [], path: where }) {
  return `${methods.length > 0 ? methods.join('|') : t('every method')} ${where ?? t('every path')}`;
}
