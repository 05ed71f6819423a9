// Sagas: changes over several services, how far each is, and which are stuck.

import { html, useEffect } from './html.js';
import { get, query as promql, withQuery } from './api.js';
import { ABSENT, count, millis, rate, visible } from './format.js';
import { t, tn } from './i18n.js';
import { isPaused, useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Badge, Card, Figure, Figures, Loaded, Select, Table, Time } from './ui.js';
import { FilterBox, useFilter } from './filter.js';
import { pick } from './state.js';

const LIMIT = 200;
// An instance of every service is asked: no sooner than so long after the last time, whatever happens meanwhile.
const AGAIN_MS = 10_000;
// What has not ended is asked for by itself: of all, the youngest would be told, most of them done.
const OPEN = ['stuck', 'undoing', 'acting'];
const PHASES = [...OPEN, 'done', 'compensated'];

const TONES = { acting: 'info', undoing: 'warn', stuck: 'bad', done: 'ok', compensated: 'quiet' };
export const Phase = ({ phase }) => html`<${Badge} tone=${pick(TONES, phase, 'quiet')}>${t(phase)}<//>`;
export const hasEnded = ({ phase }) => phase === 'done' || phase === 'compensated';

async function load({ service, name, phase }, signal) {
  const phases = phase === undefined ? OPEN : [phase === 'all' ? undefined : phase];
  const answers = [];
  // One after the other, so that no service is asked for several at once.
  for (const one of phases) answers.push(await get(withQuery('/v1/sagas', { service, name, phase: one, limit: LIMIT }), signal));
  return {
    sagas: answers.flatMap(({ sagas }) => sagas),
    missing: [...new Set(answers.flatMap(({ missing = [] }) => missing))],
    isCut: answers.some(({ sagas }) => sagas.length >= LIMIT),
  };
}

export function Sagas({ query }) {
  const { service, phase, name } = query;
  const [search, box] = useFilter(query.q);
  const sagas = useLive((signal) => load({ service, name, phase }, signal), null, [service, name, phase]);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || isPaused.get() || sagas.reload(), AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  return html`
    <${Summary} />
    <${Card} title=${t('Sagas')} about=${t('changes over several services, which are done as a whole or undone')}>
      <${Filters} query=${query} box=${box} />
      <${Loaded} of=${sagas}>${({ sagas: all, missing, isCut }) => html`
        ${missing.length > 0 && html`<p class="warning" role="status">
          ${t('No instance said what it has: {services}', { services: missing.join(', ') })}</p>`}
        <${Table} label=${t('Sagas')} columns=${columns()} rows=${matching(all, search)} keyOf=${(saga) => `${saga.service} ${saga.id}`}
          empty=${phase === undefined ? t('No saga is under way.') : t('There are no such sagas.')}
          onRow=${(saga) => goQuery({ of: saga.service, id: saga.id }, {})} />
        ${isCut && html`<p class="quiet">
          ${t('There may be older ones: at most {n} are asked for of a service and phase.', { n: LIMIT })}</p>`}
      `}<//>
    <//>`;
}

function matching(sagas, search) {
  const has = (text) => text?.toLowerCase().includes(search);
  return search === '' ? sagas : sagas.filter(({ id, step, reason }) => has(id) || has(step) || has(reason));
}

function Filters({ query, box }) {
  const { data } = useLive((signal) => get('/v1/services', signal), ['services']);
  const services = [['', t('every service')], ...(data?.services ?? []).map(({ name }) => [name, name])];
  const phases = [['', t('not ended')], ...PHASES.map((phase) => [phase, t(phase)]), ['all', t('all, the youngest')]];
  const choose = (name) => (value) => goQuery({ [name]: value || undefined });
  return html`<div class="filters above">
    <${Select} name=${t('Service')} value=${query.service ?? ''} options=${services} onPick=${choose('service')} />
    <${Select} name=${t('Phase')} value=${query.phase ?? ''} options=${phases} onPick=${choose('phase')} />
    <${FilterBox} of=${box} label=${t('Id, step or reason')} />
  </div>`;
}

function columns() {
  return [
    { name: t('Id'), class: 'cut', of: (saga) => html`<a href=${to('messages', { tab: 'sagas', of: saga.service, id: saga.id })}
      onClick=${(event) => event.stopPropagation()}><code>${visible(saga.id)}</code></a>` },
    { name: t('Service'), of: ({ service }) => service, sort: ({ service }) => service },
    { name: t('Saga'), of: ({ name }) => visible(name), sort: ({ name }) => name },
    { name: t('Phase'), of: (saga) => html`<${Phase} phase=${saga.phase} />`, sort: ({ phase }) => phase },
    { name: t('Step'), of: ({ step }) => (step === undefined ? ABSENT : visible(step)), sort: ({ step }) => step ?? '' },
    { name: t('Failed tries'), isNumber: true, of: ({ attempts }) => count(attempts), sort: ({ attempts }) => attempts },
    { name: t('Began'), of: (saga) => html`<${Time} at=${saga.begun_ms} />`, sort: (saga) => saga.begun_ms },
    { name: t('Took'), isNumber: true, of: (saga) => (saga.ended_ms === undefined ? ABSENT : millis(saga.ended_ms - saga.begun_ms)),
      sort: (saga) => (saga.ended_ms === undefined ? undefined : saga.ended_ms - saga.begun_ms) },
    { name: t('Why undone'), class: 'why', of: ({ reason }) => (reason === undefined ? ABSENT : visible(reason)) },
  ];
}

// Replicas of a service share its database: each measures the same sagas, but ends its own.
const MEASURES = {
  running: 'sum(max by (job, saga) (bowline_sagas_running))',
  stuck: 'sum(max by (job, saga) (bowline_sagas_stuck))',
  oldest: 'max(bowline_sagas_oldest_age_seconds)',
  done: 'sum(rate(bowline_sagas_ended_total{outcome="done"}[1m]))',
  compensated: 'sum(rate(bowline_sagas_ended_total{outcome="compensated"}[1m]))',
};

async function measure(signal) {
  const values = await Promise.all(Object.values(MEASURES).map((expression) => promql(expression, { signal })));
  return Object.fromEntries(Object.keys(MEASURES).map((name, index) => [name, values[index][0]?.value]));
}

function Summary() {
  const { data = {} } = useLive(measure, ['metrics']);
  const { running, stuck, oldest, done, compensated } = data;
  return html`<${Card}><${Figures}>
    <${Figure} name=${t('Under way')} value=${count(running)} />
    <${Figure} name=${t('Stuck')} value=${count(stuck)} tone=${stuck > 0 ? 'bad' : undefined}
      title=${t('of which a step could not be undone so far')} />
    <${Figure} name=${t('Oldest under way')} value=${running > 0 ? millis(oldest * 1000) : ABSENT} />
    <${Figure} name=${t('Done')} value=${rate(done)} />
    <${Figure} name=${t('Undone')} value=${rate(compensated)} tone=${compensated > 0 ? 'warn' : undefined} />
  <//><//>`;
}

export const failedTries = (n) => tn('{n} failed try', '{n} failed tries', n);
