// Failures on purpose, as `bowline fault` makes them: faults in the document `bowline/traffic`, each with its end.
//
// Whatever else the document holds stays as it is, also what others change meanwhile.

import { html, useState } from './html.js';
import { Problem, get, put, serverNow, withQuery } from './api.js';
import { rate, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { Badge, Field, Loaded, RoleButton, Select, Table, Time, ask } from './ui.js';

const DOCUMENT = '/v1/config/bowline/traffic';
const FAULTS_MAX = 100;
const TRIES = 5;
const LASTS = [[60, '1 min'], [300, '5 min'], [900, '15 min'], [3600, '1 h'], [14_400, '4 h'], [86_400, '24 h']];
const DELAY_MS_MAX = 300_000;

// What is published: `{ number, traffic }`; number 0: nothing is.
async function published(signal) {
  const { documents } = await get('/v1/config?namespace=bowline', signal);
  if (!documents.some(({ key }) => key === 'bowline/traffic')) return { number: 0, traffic: { faults: [] } };
  const version = await get(DOCUMENT, signal);
  const traffic = read(version);
  return { number: version.number, traffic: { ...traffic, faults: traffic.faults ?? [] } };
}

const refused = (detail) => new Problem(0, { detail });

function read({ number, document }) {
  if (document.format !== 'json') {
    const { format } = document;
    throw refused(t('Version {number} of bowline/traffic is written in {format}: `bowline fault` reads and changes it.', { number, format }));
  }
  return JSON.parse(document.text);
}

// Changes the faults on top of whatever others change meanwhile; `why` is for the history.
const change = (why, edit) => changeTraffic(why, (traffic) => ({ ...traffic, faults: edit(traffic.faults) }));

// The same of all that the document holds.
export async function changeTraffic(why, edit) {
  for (let left = TRIES; ; left -= 1) {
    const { number, traffic } = await published();
    const text = JSON.stringify(edit(traffic), null, 2);
    try {
      return await put(DOCUMENT, { format: 'json', text, expect: number, comment: why });
    } catch (error) {
      if (error.status !== 409 || left <= 1) throw error;
    }
  }
}

// The faults in force; `data` is a list. Those that have ended are not shown; the server takes them out of the document.
export const useFaults = () => useLive(async (signal) => {
  const { traffic } = await published(signal);
  return traffic.faults.filter(({ until_unix_ms: end }) => end > serverNow());
}, ['faults', 'config']);

// What a fault does, in words.
export function told({ share, delay, abort }) {
  if (delay && abort) return t('{share} of the requests wait {delay} and are answered {abort}', { share, delay, abort });
  if (delay) return t('{share} of the requests wait {delay}', { share, delay });
  return t('{share} of the requests are answered {abort}', { share, abort });
}

const caller = (from) => from?.replace(/^service\//, '');
const english = ({ service, from, share, delay, abort }) => {
  const done = [delay && `wait ${delay}`, abort && `are answered ${abort}`].filter(Boolean).join(' and ');
  return `${share} of the requests to ${service}${from ? ` from ${caller(from)}` : ''} ${done}`;
};

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(3));
  return `f${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

// Asks what to do to whom, and does it. `service`: whose requests; without it the reader picks one of `services`.
async function addFault({ service, services = [], reload }) {
  const seen = await callsOf().catch((error) => ({ error }));
  const usual = { effect: 'delay', delay: '2', unit: 's', abort: '503', percent: '100', from: '', lasts: '300' };
  const draft = { service: service ?? services[0], ...usual };
  const isDone = await ask({
    title: service ? t('Make {service} slow or fail', { service }) : t('Make a service slow or fail'),
    body: html`<${Form} draft=${draft} services=${service ? [] : services} seen=${seen} />`,
    word: t('Begin'),
    tone: 'danger',
    act: () => begin(draft),
    done: t('The fault is in force.'),
  });
  if (isDone) reload?.();
  return isDone;
}

function begin(draft) {
  const hasDelay = draft.effect !== 'abort';
  const hasAbort = draft.effect !== 'delay';
  const delayMs = Math.round(Number(draft.delay) * (draft.unit === 's' ? 1000 : 1));
  if (hasDelay && !(delayMs >= 1 && delayMs <= DELAY_MS_MAX)) {
    throw refused(t('The delay is above zero, and at most 5 minutes.'));
  }
  const fault = {
    id: newId(),
    service: draft.service,
    ...(draft.from && { from: draft.from }),
    share: `${Number(draft.percent)}%`,
    ...(hasDelay && { delay: `${delayMs}ms` }),
    ...(hasAbort && { abort: Number(draft.abort) }),
    until_unix_ms: serverNow() + Number(draft.lasts) * 1000,
  };
  return change(`fault ${fault.id} is added: ${english(fault)}`, (faults) => {
    if (faults.length >= FAULTS_MAX) throw refused(t('There are {max} faults already: remove some.', { max: FAULTS_MAX }));
    return [...faults, fault];
  });
}

// Who called whom of late.
const callsOf = () => get(withQuery('/v1/service-graph', { window: '5m' }));

// Whom a fault of a service concerns: who calls it, and who waits for these.
function touches(service, { error, services, edges }) {
  if (error) return { texts: [t('whom it touches could not be found out: {why}', { why: error.message })], callers: [] };
  const figures = services.find(({ name }) => name === service)?.figures;
  const waiting = Map.groupBy(edges.filter(({ mode }) => mode === 'sync'), ({ callee }) => callee);
  const callersOf = (name) => (waiting.get(name) ?? []).map((edge) => edge.caller);
  const callers = callersOf(service);
  const beyond = new Set();
  for (const queue = [...callers]; queue.length > 0;) {
    for (const name of callersOf(queue.pop())) {
      if (name === service || callers.includes(name) || beyond.has(name)) continue;
      beyond.add(name);
      queue.push(name);
    }
  }
  const texts = [t('the requests to {service}: {rate} in the last 5 minutes', { service, rate: rate(figures?.rate ?? 0) })];
  if (callers.length > 0) texts.push(t('who calls it: {names}', { names: few(callers) }));
  if (beyond.size > 0) texts.push(t('who waits for these: {names}', { names: few([...beyond]) }));
  return { texts, callers };
}

const few = (names) => names.slice(0, 8).map(visible).join(', ') + (names.length > 8 ? ` ${tn('and {n} more', 'and {n} more', names.length - 8)}` : '');

// What is to be done; it changes `draft`, which is read when the reader says yes.
function Form({ draft, services, seen }) {
  const [, draw] = useState(0);
  const set = (name) => (value) => {
    draft[name] = value;
    draw((count) => count + 1);
  };
  const { texts, callers } = touches(draft.service, seen);
  // Who calls one service may call no other.
  const setService = (name) => {
    draft.from = '';
    set('service')(name);
  };
  const input = (name, rest) => html`
    <input value=${draft[name]} onInput=${(event) => set(name)(event.target.value)} required ...${rest} />`;
  const named = (names) => names.map((name) => [name, name]);
  const isSeconds = draft.unit === 's';
  const lasts = LASTS.map(([length, name]) => [String(length), name]);
  const froms = [['', t('everybody')], ...callers.map((name) => [name === 'gateway' ? name : `service/${name}`, name])];
  return html`
    <p>${t('This will touch:')}</p><ul class="touches">${texts.map((text) => html`<li>${text}</li>`)}</ul>
    <div class="form-grid">
      ${services.length > 0 && html`
        <${Select} name=${t('Service')} value=${draft.service} options=${named(services)} onPick=${setService} />`}
      <${Select} name=${t('What happens')} value=${draft.effect} onPick=${set('effect')}
        options=${[['delay', t('they wait')], ['abort', t('they are answered with an error')], ['both', t('both')]]} />
      ${draft.effect !== 'abort' && html`<div class="field-pair">
        <${Field} name=${t('How long')}>
          ${input('delay', { type: 'number', min: isSeconds ? 0.001 : 1, max: isSeconds ? 300 : DELAY_MS_MAX, step: 'any' })}<//>
        <${Select} name=${t('Unit')} value=${draft.unit} options=${named(['ms', 's'])} onPick=${set('unit')} /></div>`}
      ${draft.effect !== 'delay' && html`<${Field} name=${t('HTTP status, 400 to 599')}>
        ${input('abort', { type: 'number', min: 400, max: 599, step: 1 })}<//>`}
      <${Field} name=${t('Share of the requests, in %')}>${input('percent', { type: 'number', min: '0.0001', max: 100, step: 'any' })}<//>
      <${Select} name=${t('Requests of')} value=${draft.from} options=${froms} onPick=${set('from')} />
      <${Select} name=${t('Ends by itself after')} value=${draft.lasts} options=${lasts} onPick=${set('lasts')} />
    </div>`;
}

// Asks, and ends a fault now.
async function removeFault(fault, reload) {
  const isDone = await ask({
    title: t('Remove fault {id}', { id: fault.id }),
    touches: [`${fault.service}: ${told(fault)}`],
    word: t('Remove'),
    act: () => change(`fault ${fault.id} is removed`, (faults) => without(faults, fault)),
    done: t('The fault is removed.'),
  });
  if (isDone) reload?.();
}

function without(faults, fault) {
  const left = faults.filter(({ id }) => id !== fault.id);
  if (left.length === faults.length) throw refused(t('The fault is gone already: nothing was changed.'));
  return left;
}

export function FaultButton({ service, services, reload }) {
  return html`<${RoleButton} role="admin" title=${t('Delays or fails requests on purpose, for a while')}
    onClick=${() => addFault({ service, services, reload })}>${t('Make it slow or fail')}<//>`;
}

const RemoveButton = ({ fault, reload }) => html`
  <${RoleButton} role="admin" tone="main" onClick=${() => removeFault(fault, reload)}>${t('Remove fault')}<//>`;

// What is done to one service on purpose, above all else that is told of it: nobody shall look for another reason.
export function FaultNotes({ of, service }) {
  if (of.error) return html`<${Loaded} of=${of}>${() => null}<//>`;
  const faults = (of.data ?? []).filter((fault) => fault.service === service);
  return faults.map((fault) => html`
    <section key=${fault.id} class="note tone-info" aria-label=${t('Fault in force')}>
      <p><${Badge} tone="info">${t('Fault in force')}<//> ${told(fault)}
        ${fault.from && ` · ${t('from {caller}', { caller: caller(fault.from) })}`}
        <span class="quiet"> · <code>${fault.id}</code> · ${t('ends')} <${Time} at=${fault.until_unix_ms} /></span></p>
      <${RemoveButton} fault=${fault} reload=${of.reload} />
    </section>`);
}

// All faults in force, as a table.
export function FaultTable({ of }) {
  const columns = [
    { name: t('Service'), of: (fault) => html`<a href=${to('services', fault.service)}>${fault.service}</a>`, sort: (fault) => fault.service },
    { name: t('What happens'), of: told },
    { name: t('Requests of'), of: (fault) => (fault.from ? caller(fault.from) : t('everybody')) },
    { name: t('Ends'), of: (fault) => html`<${Time} at=${fault.until_unix_ms} />`, sort: (fault) => fault.until_unix_ms },
    { name: t('Fault'), of: (fault) => html`<code>${fault.id}</code>` },
    { name: t('Acts'), of: (fault) => html`<${RemoveButton} fault=${fault} reload=${of.reload} />` },
  ];
  return html`<${Loaded} of=${of}>${(faults) => html`<${Table} label=${t('Faults in force')} columns=${columns} rows=${faults}
    keyOf=${({ id }) => id} empty=${t('No request is delayed or failed on purpose.')} />`}<//>`;
}
