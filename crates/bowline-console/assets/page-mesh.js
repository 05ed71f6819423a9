// The mesh: who may call whom, whose certificates are good until when, and what each workload acts by.

import { html, useMemo } from './html.js';
import { get, query as promql } from './api.js';
import { ABSENT, count } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery } from './route.js';
import { Card, Empty, Figure, Figures, Loaded, Page, Tabs, Time } from './ui.js';
import { useFaults } from './fault.js';
import { Calls } from './mesh-calls.js';
import { first, useCertificates } from './mesh-certificates.js';
import { edgesOf } from './mesh-edges.js';
import { Traffic } from './mesh-traffic.js';
import { Trust } from './mesh-trust.js';
import { Workloads, isCurrent } from './mesh-workloads.js';
import { useSystem } from './declared.js';

const WINDOW = '15m';
// What Bowline itself asks is no call of the system's.
const DECISIONS = 'sum by (service, caller, rule, decision) (bowline_mesh_decisions_total{caller!="bowline"})';
// What came since five minutes ago, or all of what was not there then: the first refusal of a pair is the one that
// matters, and an increase does not see a series' first sample.
const REFUSALS = 'bowline_mesh_decisions_total{decision!="allowed"}';
const REFUSED = `sum by (service, caller) ((${REFUSALS} - (${REFUSALS} offset 5m)) >= 0 or ${REFUSALS}) > 0`;

export default function Mesh({ query }) {
  const status = useLive((signal) => get('/v1/mesh/status', signal), ['mesh']);
  const title = t('Mesh');
  // A system without a mesh is refused with what to do about it.
  if (status.error?.status === 400) {
    return html`<${Page} title=${title}><${Empty}>${status.error.message}<//><//>`;
  }
  return html`<${Page} title=${title} about=${t('Who may call whom, under which identity, and what each workload acts by.')}>
    <${Loaded} of=${status}>${(data) => html`<${Known} status=${data} query=${query} />`}<//>
  <//>`;
}

function Known({ status, query }) {
  const system = useSystem();
  const graph = useLive((signal) => get(`/v1/service-graph?window=${WINDOW}`, signal), ['traces', 'metrics']);
  const decisions = useLive((signal) => promql(DECISIONS, { signal }), ['metrics']);
  const refused = useLive((signal) => promql(REFUSED, { signal }), ['metrics']);
  const faults = useFaults();
  const workloads = useCertificates(status.workloads);
  const edges = useMemo(() => edgesOf({ system: system.data, graph: graph.data, decisions: decisions.data, refused: refused.data }),
    [system.data, graph.data, decisions.data, refused.data]);
  const tabs = [
    { id: 'calls', name: t('Calls'), count: count(edges.length) },
    { id: 'workloads', name: t('Workloads'), count: count(workloads.length) },
    { id: 'traffic', name: t('Faults and traffic'), count: faults.data && count(faults.data.length) },
    { id: 'trust', name: t('Trust') },
  ];
  const current = tabs.some(({ id }) => id === query.tab) ? query.tab : 'calls';
  const pick = (tab) => goQuery({ tab: tab === 'calls' ? undefined : tab, at: undefined, q: undefined });
  const views = {
    calls: () => html`<${Calls} edges=${edges} sources=${[system, graph, decisions, refused]} query=${query} />`,
    workloads: () => html`<${Workloads} workloads=${workloads} query=${query} />`,
    traffic: () => html`<${Traffic} faults=${faults} services=${(system.data?.services ?? []).map(({ name }) => name)} />`,
    trust: () => html`<${Trust} />`,
  };
  return html`
    <${Summary} workloads=${workloads} refused=${refused.data} faults=${faults.data} />
    <${Tabs} label=${t('Mesh')} tabs=${tabs} current=${current} onPick=${pick}>${views[current]()}<//>`;
}

// One value where all agree, else all there are.
const agreed = (values) => [...new Set(values)].map((value) => t(value)).join(', ') || ABSENT;

function Summary({ workloads, refused, faults }) {
  const demands = workloads.map((workload) => workload.demands).filter(Boolean);
  const instances = workloads.flatMap(({ instances: all, version }) => all.map((instance) => isCurrent(instance, version)));
  const current = instances.filter(Boolean).length;
  const isRefused = workloads.some(({ instances: all }) => all.some(({ outcome }) => outcome === 'refused'));
  const { at, tone } = first(workloads);
  const isWeak = demands.some(({ mode, authorization }) => mode !== 'strict' || authorization !== 'enforce');
  const weak = isWeak ? 'warn' : undefined;
  const lately = refused?.reduce((sum, { value }) => sum + value, 0);
  return html`<${Card}><${Figures}>
    <${Figure} name=${t('Mode')} value=${agreed(demands.map(({ mode }) => mode))} tone=${weak}
      title=${t('strict: whoever shows no certificate is refused; permissive: plain requests are let in')} />
    <${Figure} name=${t('Authorization')} value=${agreed(demands.map(({ authorization }) => authorization))} tone=${weak}
      title=${t('enforce: what is not declared is refused; dry-run: it is counted and let pass; off: nobody asks')} />
    <${Figure} name=${t('Workloads')} value=${count(workloads.length)}
      title=${t('Services, and the gateway: whoever has an identity in the mesh.')} />
    <${Figure} name=${t('Snapshots acknowledged')} value=${t('{some} of {all}', { some: count(current), all: count(instances.length) })}
      tone=${isRefused ? 'bad' : current < instances.length ? 'warn' : undefined}
      title=${t('Instances whose sidecar acts by the newest snapshot of rules, of all instances of the mesh.')} />
    <${Figure} name=${t('First certificate expires')} value=${at === undefined ? ABSENT : html`<${Time} at=${at} />`} tone=${tone} />
    <${Figure} name=${t('Refused, last 5 min')} value=${count(lately)} tone=${lately > 0 ? 'bad' : undefined}
      title=${t('calls that are not declared, and that sidecars refused or would have')} />
    <${Figure} name=${t('Faults in force')} value=${count(faults?.length)} tone=${faults?.length > 0 ? 'warn' : undefined} />
  <//><//>`;
}
