// The breakers that guard the calls to a service and its own calls, as those who hold them tell; and orders to them, as
// `bowline breakers` gives them: in the document `bowline/traffic`.

import { html, useMemo, useState } from './html.js';
import { get, serverNow, withQuery } from './api.js';
import { changeTraffic } from './fault.js';
import { ABSENT, count, millis, percent, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { pick } from './state.js';
import { Badge, Button, Card, Loaded, RoleButton, Select, Table, ask } from './ui.js';

// In order of how much one has to look: the worst first.
const STATES = {
  open: ['bad', 'open'],
  forced_open: ['bad', 'held open'],
  half_open: ['warn', 'half open'],
  forced_closed: ['info', 'held closed'],
  disabled: ['info', 'switched off'],
  closed: ['ok', 'closed'],
};
const RANKS = Object.keys(STATES);
const WHY = {
  failure_rate: 'too many calls failed',
  slow_rate: 'too many calls were slow',
  consecutive: 'too many failed in a row',
  elapsed: 'its time was over',
  probed: 'probes told',
  ordered: 'by hand',
};
const LASTS = [['60', '1 min'], ['600', '10 min'], ['3600', '1 h'], ['86400', '24 h']];
const RESET_TOLD_MS = 60_000;

export function Breakers({ name }) {
  const against = useBreakersOf({ callee: name });
  const own = useBreakersOf({ caller: name });
  return html`
    <${Part} of=${against} title=${t('Breakers of its callers')} about=${t('who keeps calls from it')} />
    <${Part} of=${own} title=${t('Breakers of its own calls')} about=${t('from whom it keeps calls')} />`;
}

const useBreakersOf = (query) => {
  const address = withQuery('/v1/breakers', query);
  return useLive((signal) => get(address, signal), ['metrics', 'config', 'faults'], [address]);
};

// A row for each call and instance, whoever holds a breaker of it.
function rowsOf({ calls }) {
  const rows = new Map();
  for (const call of calls.filter((one) => one.is_guarded)) {
    for (const breaker of call.breakers ?? []) {
      const caller = call.route === undefined ? call.caller : `route:${call.route}`;
      const key = `${caller}->${call.callee}@${breaker.instance}`;
      if (!rows.has(key)) rows.set(key, { key, caller, callee: call.callee, instance: breaker.instance, held: [] });
      rows.get(key).held.push({ ...breaker, holder: call.holder, orders: call.orders ?? [] });
    }
  }
  return [...rows.values()].map(summed).sort((a, b) => a.rank - b.rank || a.key.localeCompare(b.key));
}

function summed(row) {
  const sum = (field) => row.held.reduce((all, one) => all + one[field], 0);
  const states = new Map();
  for (const { state } of row.held) states.set(state, (states.get(state) ?? 0) + 1);
  const rank = Math.min(...[...states.keys()].map((state) => RANKS.indexOf(state)));
  const last = row.held.flatMap(({ transitions }) => transitions?.slice(0, 1) ?? []).sort((a, b) => a.age_ms - b.age_ms)[0];
  return { ...row, states, rank, last, calls: sum('calls'), failures: sum('failures'), slow: sum('slow') };
}

function Part({ of, title, about }) {
  const rows = useMemo(() => rowsOf(of.data ?? { calls: [] }), [of.data]);
  const share = (row, field) => (row.calls > 0 ? percent(row[field] / row.calls) : ABSENT);
  const columns = [
    { name: t('Caller'), of: (row) => html`<${Caller} of=${row.caller} />`, sort: (row) => row.caller },
    { name: t('Callee'), of: (row) => html`<a href=${to('services', row.callee, { tab: 'instances' })}>${row.callee}</a> <span class="quiet nowrap">${row.instance}</span>`, sort: (row) => `${row.callee} ${row.instance}` },
    { name: t('State'), of: (row) => html`<${States} of=${row} />`, sort: (row) => row.rank },
    { name: t('Calls'), title: t('in its window'), isNumber: true, of: (row) => count(row.calls), sort: (row) => row.calls },
    { name: t('Failed'), isNumber: true, of: (row) => share(row, 'failures'), sort: (row) => row.failures / row.calls },
    { name: t('Slow'), isNumber: true, of: (row) => share(row, 'slow'), sort: (row) => row.slow / row.calls },
    { name: t('Last change'), of: ({ last }) => (last ? html`<${Last} of=${last} />` : ABSENT), class: 'wrap', sort: ({ last }) => last?.age_ms },
    { name: t('Holders'), title: t('processes that have one'), isNumber: true, of: ({ held }) => count(held.length), sort: ({ held }) => held.length },
    { name: t('Acts'), of: (row) => html`<${SteerButton} row=${row} rows=${rows} reload=${of.reload} />` },
  ];
  const missing = of.data?.missing ?? [];
  return html`<${Card} title=${title} about=${about}>
    ${missing.length > 0 && html`<p class="quiet">${tn('{n} process did not say what it has: {names}', '{n} processes did not say what they have: {names}',
      missing.length, { names: missing.slice(0, 5).map(({ holder }) => visible(holder)).join(', ') })}</p>`}
    <${Loaded} of=${of}>${() => html`<${Table} label=${title} columns=${columns} rows=${rows} keyOf=${({ key }) => key}
      empty=${t('There are none.')} />`}<//><//>`;
}

const Caller = ({ of: caller }) => (caller.startsWith('route:')
  ? html`<a href=${to('services', 'gateway')}>gateway</a> <span class="quiet nowrap">${visible(caller)}</span>`
  : html`<a href=${to('services', caller)}>${caller}</a>`);

const States = ({ of: { states, held } }) => [...states].map(([state, number]) => {
  const [tone, word] = pick(STATES, state, ['quiet', state]);
  return html`<${Badge} tone=${tone}>${t(word)}${number < held.length && ` × ${number}`}<//> `;
});

const Last = ({ of: { from, to: became, why, age_ms: age } }) => {
  const word = (state) => t(pick(STATES, state, ['', state])[1]);
  return html`<span>${word(from)} → ${word(became)}</span>${' '}
    <span class="quiet">${t('{time} ago', { time: millis(age) })}: ${t(pick(WHY, why, why))}</span>`;
};

const SteerButton = ({ row, rows, reload }) => html`
  <${RoleButton} role="admin" title=${t('Holds it open or closed, switches it off, or resets it')}
    onClick=${() => steer(row, rows, reload)}>${t('Steer')}<//>`;

// Asks what to order of whom, and does it. What is held is reset where it is held: of less than that, the order would
// hold on.
async function steer(row, rows, reload) {
  const draft = { order: row.rank < RANKS.indexOf('closed') ? 'reset' : 'open', scope: scopeOf(row), lasts: '600' };
  const isDone = await ask({
    title: t('Steer the breakers of {caller} → {callee}', { caller: row.caller, callee: row.callee }),
    body: html`<${Form} draft=${draft} row=${row} rows=${rows} />`,
    word: t('Order it'),
    tone: 'danger',
    act: () => order(draft, row),
    done: t('It is ordered: those who hold these breakers obey within a second or so.'),
  });
  if (isDone) reload();
}

// Of whose breakers an order may be: by whom it is narrowed.
const SCOPES = {
  instance: { isOneCaller: true, isOneInstance: true },
  caller: { isOneCaller: true, isOneInstance: false },
  callers: { isOneCaller: false, isOneInstance: true },
  everybody: { isOneCaller: false, isOneInstance: false },
};

// The orders that hold the breakers of a row, the widest of them at last, as their holders tell.
function holding({ caller, instance, held }) {
  const own = orderedCaller(caller);
  const isGateway = caller.startsWith('route:');
  const isAbout = (one) => [undefined, own, ...(isGateway ? ['gateway'] : [])].includes(one.caller)
    && [undefined, instance].includes(one.instance);
  return held.flatMap(({ orders }) => orders)
    .filter((one) => one.order !== 'reset' && !(one.until_unix_ms <= serverNow()) && isAbout(one));
}

// The narrowest scope that has all that holds a row's breakers.
function scopeOf(row) {
  const orders = holding(row);
  const own = orderedCaller(row.caller);
  const isOneCaller = orders.every((one) => one.caller === own);
  const isOneInstance = orders.every((one) => one.instance === row.instance);
  return Object.keys(SCOPES).find((name) => SCOPES[name].isOneCaller === isOneCaller && SCOPES[name].isOneInstance === isOneInstance);
}

// Whether what is ordered at one scope has all that another one has.
const covers = (wide, narrow) => SCOPES[wide].isOneCaller <= SCOPES[narrow].isOneCaller
  && SCOPES[wide].isOneInstance <= SCOPES[narrow].isOneInstance;

const aboutOf = (draft, row) => ({
  ...(SCOPES[draft.scope].isOneCaller && { caller: orderedCaller(row.caller) }),
  ...(SCOPES[draft.scope].isOneInstance && { instance: row.instance }),
});
const orderedCaller = (caller) => (caller.startsWith('route:') ? `route/${caller.slice('route:'.length)}` : `service/${caller}`);
const DONE = { open: 'held open', closed: 'held closed', disabled: 'switched off', reset: 'reset' };

function english({ caller, instance }, callee, done) {
  const who = caller === undefined ? '' : `${caller.replace(/^service\//, '').replace(/^route\//, 'route:')}->`;
  return `the breakers of ${who}${callee}${instance ? `@${instance}` : ''} are ${DONE[done]}`;
}

function order(draft, row) {
  const about = aboutOf(draft, row);
  const end = draft.order === 'reset' ? serverNow() + RESET_TOLD_MS : draft.lasts && serverNow() + Number(draft.lasts) * 1000;
  const given = { ...about, order: draft.order, ...(end && { until_unix_ms: end }) };
  return changeTraffic(english(about, row.callee, draft.order), (traffic) => {
    const steering = traffic.steering ?? {};
    const own = steering[row.callee] ?? {};
    // What is about these breakers alone makes room; what is wider stays.
    const stays = (one) => !((about.caller === undefined || about.caller === one.caller)
      && (about.instance === undefined || about.instance === one.instance));
    const breakers = [...(own.breakers ?? []).filter(stays), given];
    return { ...traffic, steering: { ...steering, [row.callee]: { ...own, breakers } } };
  });
}

// The breakers that an order is about, of those that are shown.
function concerned(draft, row, rows) {
  return rows.filter((one) => one.callee === row.callee
    && (!SCOPES[draft.scope].isOneCaller || one.caller === row.caller)
    && (!SCOPES[draft.scope].isOneInstance || one.instance === row.instance));
}

// What is to be ordered; it changes `draft`, which is read when the reader says yes.
function Form({ draft, row, rows }) {
  const [, draw] = useState(0);
  const set = (name) => (value) => {
    draft[name] = value;
    draw((number) => number + 1);
  };
  const about = concerned(draft, row, rows);
  const holders = about.reduce((all, { held }) => all + held.length, 0);
  const effects = {
    open: t('nobody is called whom they guard, and callers are told at once'),
    closed: t('everybody is called whatever fails; calls are counted'),
    disabled: t('everybody is called whatever fails; nothing is counted'),
    reset: t('they are closed with nothing counted, and judge for themselves'),
  };
  const { caller, callee, instance } = row;
  const scopes = [
    ['instance', `${caller} → ${instance}`],
    ['caller', t('{caller} → all instances of {callee}', { caller, callee })],
    ['callers', t('all callers → {instance}', { instance })],
    ['everybody', t('all callers → all instances of {callee}', { callee })],
  ];
  const held = scopeOf(row);
  const wordOf = (scope) => scopes.find(([name]) => name === scope)[1];
  return html`
    <p>${t('This will touch:')}</p><ul class="touches">
      <li>${tn('{n} breaker', '{n} breakers', holders)}: ${about.slice(0, 6).map(({ key }) => visible(key)).join(', ')}${about.length > 6 && ' …'}</li>
      <li>${pick(effects, draft.order)}</li>
      ${!SCOPES[draft.scope].isOneCaller && html`<li>${t('whoever else calls {callee}', { callee: row.callee })}</li>`}
      ${!SCOPES[draft.scope].isOneInstance && html`<li>${t('instances that come later, too')}</li>`}
    </ul>
    ${draft.order === 'reset' && !covers(draft.scope, held) && html`<p class="notice">
      <span>${t('They are held by an order of a wider scope, which holds on: {scope}.', { scope: wordOf(held) })}</span>
      <${Button} onClick=${() => set('scope')(held)}>${t('Reset that')}<//></p>`}
    <div class="form-grid">
      <${Select} name=${t('What happens')} value=${draft.order} onPick=${set('order')} options=${[
        ['open', t('hold open')], ['closed', t('hold closed')], ['disabled', t('switch off')], ['reset', t('reset')]]} />
      <${Select} name=${t('Which')} value=${draft.scope} onPick=${set('scope')} options=${scopes} />
      ${draft.order !== 'reset' && html`<${Select} name=${t('Ends by itself after')} value=${draft.lasts} onPick=${set('lasts')}
        options=${[...LASTS, ['', t('not: until they are reset')]]} />`}
    </div>`;
}
