// The whole system at a glance: its map, what is wrong, what changed.

import { html, useMemo, useState } from './html.js';
import { get, query, withQuery } from './api.js';
import { useSystem } from './declared.js';
import { told, useFaults } from './fault.js';
import { SLOW_NANOS, errorTone, figureColumns, fromSpans, isSlow, slowNanos } from './figures.js';
import { FilterBox, useFilter } from './filter.js';
import { count, nanos, percent, rate, seconds, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { ServiceMap } from './map.js';
import { edgeKey } from './map-layout.js';
import { Changes } from './overview-changes.js';
import { goQuery, to } from './route.js';
import { pick } from './state.js';
import { Badge, Card, Empty, Figure, Figures, Health, Loaded, Page, Select, Table, Time, withCode } from './ui.js';

const WINDOWS = [['1m', 'last minute'], ['5m', 'last 5 minutes'], ['15m', 'last 15 minutes'], ['1h', 'last hour']];
const WINDOW_NAMES = Object.fromEntries(WINDOWS);

export default function Overview({ query: { window = '5m', find = '', kind = '', of: about = '' } }) {
  const graph = useLive((signal) => get(withQuery('/v1/service-graph', { window }), signal), ['traces', 'metrics'],
    [window], { isKept: true });
  const health = useLive((signal) => get('/v1/health', signal), ['health', 'services']);
  const system = useSystem();
  const alerts = useLive((signal) => get('/api/v1/alerts', signal), ['alerts']);
  const faults = useFaults();
  const seen = useMemo(() => joined(graph.data, health.data, system.data, alerts.data, faults.data),
    [graph.data, health.data, system.data, alerts.data, faults.data]);
  const actions = html`<${Select} name=${t('Figures of the')} value=${window} options=${WINDOWS.map(([id, name]) => [id, t(name)])}
    onPick=${(id) => goQuery({ window: id })} />`;
  return html`
    <${Page} title=${t('Overview')} actions=${actions}>
      <${Summary} seen=${seen} health=${health.data} alerts=${alerts.data} window=${window} />
      <${Mapped} seen=${seen} of=${graph} find=${find} window=${window} />
      <div class="grid-2">
        <${Worst} seen=${seen} of=${health} window=${window} />
        <${Firing} seen=${seen} of=${alerts} />
      </div>
      <${Changes} kind=${kind} about=${about} services=${seen.services} />
    <//>`;
}

// What a service owns is named by its kind, `sqlite:order.db`.
const kindOf = (name) => (name.includes(':') ? 'resource' : 'service');

// One whose instances all leave on purpose is not ill.
const healthOf = ({ rolled_up: state, healthy, unhealthy, draining }) => (draining > 0 && healthy + unhealthy === 0 ? 'draining' : state);

// Services and edges, as they are seen and as they are declared.
function joined(graph, health, system, alerts, faults) {
  const services = new Map();
  const service = (name) => {
    if (!services.has(name)) services.set(name, { name, kind: kindOf(name), health: null, figures: null, alerts: [], faults: [], slow: SLOW_NANOS, isDeclared: false });
    return services.get(name);
  };
  for (const { name, figures } of graph?.services ?? []) Object.assign(service(name), { figures: figures.count > 0 ? figures : null });
  for (const one of health?.services ?? []) Object.assign(service(one.name), { health: healthOf(one), standing: one });
  for (const { labels, state } of alerts?.data.alerts ?? []) {
    if (labels.service) services.get(labels.service)?.alerts.push({ name: labels.alertname, state });
  }
  for (const fault of faults ?? []) service(fault.service).faults.push(told(fault));
  const declared = new Map();
  for (const { name, calls } of system?.services ?? []) {
    service(name).isDeclared = true;
    for (const call of calls) declared.set(edgeKey(name, call.service), { caller: name, callee: call.service, mode: call.mode, figures: null, slow: slowNanos(call), isDeclared: true });
  }
  // Who calls from outside has no declaration to be held against.
  const isInside = (name) => services.get(name)?.isDeclared;
  const edges = new Map(declared);
  for (const edge of graph?.edges ?? []) {
    service(edge.caller);
    service(edge.callee);
    const key = edgeKey(edge.caller, edge.callee);
    const isDeclared = !isInside(edge.caller) || !isInside(edge.callee) || declared.has(key);
    const others = edges.get(key)?.figures ? edges.get(key) : null;
    // Two modes between the same two are one line: that of the larger.
    if (!others || others.figures.count < edge.figures.count) edges.set(key, { ...edge, slow: declared.get(key)?.slow ?? SLOW_NANOS, isDeclared });
  }
  // A service is slow when it is for the most patient of its callers.
  const waiting = Map.groupBy([...edges.values()].filter(({ mode }) => mode === 'sync'), ({ callee }) => callee);
  for (const [name, calls] of waiting) service(name).slow = Math.max(...calls.map(({ slow }) => slow));
  const byName = (a, b) => a.name.localeCompare(b.name);
  return { services: [...services.values()].sort(byName), edges: [...edges.values()].sort((a, b) => edgeKey(a.caller, a.callee).localeCompare(edgeKey(b.caller, b.callee))) };
}

// What comes in: through the gateway, as it counts it.
function useIncoming(window) {
  return useLive(async (signal) => {
    const of = async (expression) => (await query(expression, { signal }))[0]?.value ?? null;
    const rateOf = (metric, more = '') => `rate(${metric}{reporter="gateway"${more}}[${window}])`;
    const [requests, failures, p99] = await Promise.all([
      of(`sum(${rateOf('bowline_requests_total')})`),
      of(`sum(${rateOf('bowline_requests_total', ',code=~"5.."')})`),
      of(`histogram_quantile(0.99, sum by (le) (${rateOf('bowline_request_duration_seconds_bucket')}))`),
    ]);
    return { requests, share: requests > 0 ? (failures ?? 0) / requests : null, p99 };
  }, ['metrics'], [window], { isKept: true });
}

// What is not known yet is no 0.
function Summary({ seen, health: known, alerts, window }) {
  const { data } = useIncoming(window);
  const all = known && seen.services.filter(({ standing }) => standing);
  const [ill, degraded, draining] = ['unhealthy', 'degraded', 'draining'].map((state) => all?.filter(({ health }) => health === state).length);
  const firing = alerts?.data.alerts.filter(({ state }) => state === 'firing').length;
  const undeclared = seen.edges.filter(({ isDeclared }) => isDeclared === false).length;
  return html`
    <${Card}><${Figures}>
      <${Figure} name=${t('Requests')} value=${rate(data?.requests)} title=${t('What comes in through the gateway')} />
      <${Figure} name=${t('Server errors')} value=${percent(data?.share)} tone=${errorTone(data?.share)} />
      <${Figure} name=${t('p99 latency')} value=${seconds(data?.p99)} />
      <${Figure} name=${t('Services')} value=${count(all?.length)}
        title=${t('Of the system. On the map there are others, too: the gateway, databases, who calls from outside.')} />
      <${Figure} name=${t('Unhealthy')} value=${count(ill)} tone=${ill > 0 && 'bad'} />
      <${Figure} name=${t('Degraded')} value=${count(degraded)} tone=${degraded > 0 && 'warn'} />
      ${draining > 0 && html`<${Figure} name=${t('Draining')} value=${count(draining)} title=${t('Their instances leave on purpose.')} />`}
      <${Figure} name=${t('Firing alerts')} value=${count(firing)} tone=${firing > 0 && 'bad'} />
      ${undeclared > 0 && html`<${Figure} name=${t('Undeclared calls')} value=${count(undeclared)} tone="warn" />`}
    <//>
    <p class="quiet figures-about">${t('Requests, errors and latency at the gateway, as it counts them: {window}.', { window: windowName(window) })}</p><//>`;
}

const windowName = (window) => t(pick(WINDOW_NAMES, window, window));

function Mapped({ seen, of, find, window }) {
  const [chosen, setChosen] = useState(null);
  const [text, box] = useFilter(find, 'find');
  const shown = useMemo(() => found(seen, text), [seen, text]);
  const edge = chosen && seen.edges.find((one) => edgeKey(one.caller, one.callee) === chosen);
  const actions = html`<${FilterBox} of=${box} label=${t('Find a service')} />`;
  const own = shown.services.filter(({ standing }) => standing).length;
  const around = shown.services.length - own;
  const services = own === 0 ? t('{n} seen', { n: around })
    : [tn('{n} service', '{n} services', own), around > 0 && t('{n} around them', { n: around })].filter(Boolean).join(' + ');
  return html`
    <${Card} title=${t('Service map')} about=${html`${of.data && html`<span title=${t('Around them: the gateway, databases, who calls from outside.')}>${services}</span> · `}${fromSpans(windowName(window))}`} actions=${actions} class="map-card">
      <${Loaded} of=${of}>${() => (shown.services.length === 0
        ? html`<${Empty}>${text ? t('No service is called like that.') : t('No service runs yet: `bowline up` starts those of a folder.')}<//>`
        : html`<${ServiceMap} services=${shown.services} edges=${shown.edges} chosen=${chosen}
            onEdge=${(one) => setChosen(edgeKey(one.caller, one.callee))} />
          ${edge && html`<${EdgeDetail} edge=${edge} window=${window} onClose=${() => setChosen(null)} />`}
          <${Legend} />`)}
      <//>
    <//>`;
}

// Those whose names hold the text, and whom they are tied to.
function found({ services, edges }, text) {
  if (!text) return { services, edges };
  const hit = new Set(services.filter(({ name }) => name.toLowerCase().includes(text)).map(({ name }) => name));
  const near = edges.filter(({ caller, callee }) => hit.has(caller) || hit.has(callee));
  const names = new Set([...hit, ...near.flatMap(({ caller, callee }) => [caller, callee])]);
  return { services: services.filter(({ name }) => names.has(name)), edges: near };
}

const Legend = () => html`
  <p class="map-legend">
    <span><i class="key key-sync" />${t('call')}</span><span><i class="key key-message" />${t('message')}</span>
    <span><i class="key key-unseen" />${t('declared, not seen')}</span><span><i class="key key-warn" />${t('not declared, 1% errors, or slow')}</span>
    <span><i class="key key-bad" />${t('5% errors and more')}</span>
    <span>■ ▲ ${t('alert')}</span><span>◆ ${t('fault on purpose')}</span>
    <span class="quiet">${t('On a service: requests, errors, p99 latency. Ctrl and the wheel zoom.')}
      ${' '}${withCode(t('Slow is a p99 of the declared `slow_call` and more; without one, of half the timeout, 1 s at most.'))}</span>
  </p>`;

function EdgeDetail({ edge, window, onClose }) {
  const { caller, callee, mode, figures, slow, failures = [], sample_trace_id: sample, isDeclared } = edge;
  return html`
    <section class="edge-detail" aria-label=${`${caller} → ${callee}`}>
      <header class="card-head">
        <h3><a href=${to('services', caller)}>${caller}</a> → <a href=${to('services', callee)}>${callee}</a></h3>
        <${Badge}>${t(mode)}<//>
        ${isDeclared === false && html`<${Badge} tone="warn">${t('not declared')}<//>`}
        <div class="actions"><button type="button" class="plain" onClick=${onClose}>${t('Close')}</button></div>
      </header>
      ${figures ? html`<${Figures}>
        <${Figure} name=${t('Requests')} value=${rate(figures.rate)} />
        <${Figure} name=${t('Errors')} value=${percent(figures.error_rate)} tone=${errorTone(figures.error_rate)} />
        <${Figure} name="p50" value=${nanos(figures.p50_nanos)} /><${Figure} name="p95" value=${nanos(figures.p95_nanos)} />
        <${Figure} name="p99" value=${nanos(figures.p99_nanos)} tone=${isSlow(figures, slow) && 'warn'} title=${t('slow: {limit} and more', { limit: nanos(slow) })} />
      <//><p class="quiet figures-about">${t('As the caller saw it: {window}.', { window: fromSpans(windowName(window)) })}</p>`
        : html`<p class="quiet">${t('It is declared, and nobody was seen to call so far.')}</p>`}
      ${failures.length > 0 && html`<p>${failures.map(({ status, count: times }) => html`<${Badge} tone="bad">${status} ×${count(times)}<//> `)}</p>`}
      ${sample && html`<p><a href=${to('traces', sample)}>${t('A trace of it')}</a></p>`}
    </section>`;
}

const WEIGHT = { unhealthy: 2, degraded: 1 };
const WORST_SHOWN = 8;
const JUST_ABOVE = 1e-6;

const waitedOf = ({ edges }) => Map.groupBy(edges.filter(({ mode, figures }) => mode === 'sync' && figures), ({ caller }) => caller);

// The first one is where to look: what a service only passes on of those whom it waits for counts there, not here, and
// whoever it comes from stands before it.
function worst(seen) {
  const waited = waitedOf(seen);
  const rows = seen.services.filter(({ standing }) => standing);
  const bad = new Map(rows.map((service) => [service.name, badness(service, waited.get(service.name) ?? [])]));
  for (const service of rows) {
    const root = cause(service, seen, waited).findLast((name) => bad.has(name));
    if (root !== undefined) bad.set(root, Math.max(bad.get(root), bad.get(service.name) + JUST_ABOVE));
  }
  return rows.sort((a, b) => bad.get(b.name) - bad.get(a.name)).slice(0, WORST_SHOWN);
}

// From whom a service has what is wrong with it, the nearest first; nobody, where it is its own.
function cause(service, seen, waited = waitedOf(seen), known = new Set()) {
  if (service.standing?.because[0]) return service.standing.because[0];
  known.add(service.name);
  const edge = (waited.get(service.name) ?? []).filter((one) => !known.has(one.callee) && isPassedOn(service, one))
    .reduce((a, b) => (a && a.figures.p99_nanos >= b.figures.p99_nanos ? a : b), null);
  if (!edge) return [];
  const callee = seen.services.find(({ name }) => name === edge.callee);
  return [edge.callee, ...cause(callee, seen, waited, known)];
}

// Whether a call makes up most of what fails, or of the time, of its caller.
function isPassedOn({ figures, slow }, call) {
  const fails = errorTone(figures?.error_rate) && call.figures.errors >= figures.errors / 2;
  const waits = isSlow(figures, slow) && call.figures.p99_nanos >= figures.p99_nanos / 2;
  return Boolean(fails || waits);
}

function badness({ health, standing, alerts, figures }, waited) {
  const own = (of) => Math.max(0, (figures?.[of] ?? 0) - Math.max(0, ...waited.map((edge) => edge.figures[of])));
  const weight = pick(WEIGHT, health, 0) * (standing.own === 'all_healthy' ? 0.5 : 1);
  return weight * 1000 + Math.min(alerts.length, 9) * 100 + own('error_rate') * 100 + Math.min(99, own('p99_nanos') / 1e9);
}

const Fault = ({ faults }) => faults?.length > 0 && html` <${Badge} tone="info" title=${faults.join('; ')}>${t('fault')}<//>`;

// `← payment ← bank`: where one has to look; `hasFaults`: with what is done to them on purpose.
function Causes({ names, seen, hasFaults }) {
  const of = (name) => seen.services.find((service) => service.name === name);
  return names.map((name) => html` <span class="one"><span class="quiet">←</span> ${of(name)?.kind === 'resource' ? visible(name)
    : html`<a href=${to('services', name)}>${visible(name)}</a>`}</span>${hasFaults && html`<${Fault} faults=${of(name)?.faults} />`}`);
}

function Worst({ seen, of, window }) {
  const rows = useMemo(() => worst(seen), [seen]);
  const columns = [
    { name: t('Service'), of: ({ name, faults }) => html`<a href=${to('services', name)}>${name}</a><${Fault} faults=${faults} />` },
    { name: t('Health'), of: (service) => html`<${Health} state=${service.health} />
      ${service.alerts[0] && html` <${Badge} tone=${service.alerts[0].state === 'firing' ? 'bad' : 'warn'}>${visible(service.alerts[0].name)}<//>`}
      <${Causes} names=${cause(service, seen)} seen=${seen} />` },
    ...figureColumns(({ figures }) => figures),
  ];
  return html`
    <${Card} title=${t('Worst first')} about=${fromSpans(windowName(window))} actions=${html`<a href=${to('services')}>${t('All services')}</a>`}>
      <${Loaded} of=${of}>${() => html`<${Table} label=${t('Services, worst first')} columns=${columns} rows=${rows} keyOf=${({ name }) => name}
        empty=${t('No service runs.')} />`}<//>
    <//>`;
}

function Firing({ seen, of }) {
  return html`
    <${Card} title=${t('Alerts')} actions=${html`<a href=${to('alerts')}>${t('All alerts')}</a>`}>
      <${Loaded} of=${of} isEmpty=${(data) => data.data.alerts.length === 0} empty=${t('No alert is pending or fires.')}>
        ${({ data }) => html`<ul class="plain-list">${data.alerts.slice(0, 10).map(({ labels, annotations, state, activeAt }) => html`
          <li><${Badge} tone=${state === 'firing' ? 'bad' : 'warn'}>${t(state)}<//> <strong>${visible(labels.alertname)}</strong>
            <${Concerned} name=${labels.service} seen=${seen} />
            ${' '}${visible(annotations.summary)} <span class="quiet"><${Time} at=${activeAt} /></span></li>`)}</ul>`}
      <//>
    <//>`;
}

// The service of an alert, and from whom it has what is wrong with it.
function Concerned({ name, seen }) {
  const service = seen.services.find((one) => one.name === name);
  return name && html` <a href=${to('services', name)}>${visible(name)}</a><${Fault} faults=${service?.faults} />
    ${service && html`<${Causes} names=${cause(service, seen)} seen=${seen} hasFaults />`}`;
}
