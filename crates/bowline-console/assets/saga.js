// One saga: how far it is, and what happened to each of its steps, try by try.

import { html, useMemo } from './html.js';
import { get, path, post } from './api.js';
import { ABSENT, clock, count, millis, visible } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { Card, Empty, Loaded, Page, RoleButton, Time, ask } from './ui.js';
import { Facts } from './aside.js';
import { Phase, failedTries, hasEnded } from './sagas.js';
import { pick } from './state.js';

// What is told of a step, with the mark and the tone of it.
const EVENTS = {
  acted: ['●', 'ok', 'done'],
  failed: ['▲', 'warn', 'failed'],
  refused: ['■', 'bad', 'refused'],
  gave_up: ['■', 'bad', 'given up'],
  undone: ['↩', 'info', 'undone'],
  not_undone: ['▲', 'bad', 'not undone'],
};
const eventOf = (what) => pick(EVENTS, what, ['○', 'quiet', visible(what)]);

export function Saga({ service, id }) {
  const saga = useLive((signal) => get(path('/v1/sagas', service, id), signal), ['sagas', 'metrics'], [service, id]);
  const about = html`<a href=${to('messages', { tab: 'sagas' })}>${t('Sagas')}</a> · ${t('Service')}
    ${' '}<a href=${to('services', service)}>${service}</a>`;
  const onRetry = () => retry(saga.data, saga.reload);
  const actions = saga.data && !hasEnded(saga.data)
    && html`<${RoleButton} role="editor" tone="main" onClick=${onRetry}>${t('Try now')}<//>`;
  return html`
    <${Page} title=${visible(id)} about=${about} actions=${actions}>
      <${Loaded} of=${saga}>${(data) => html`
        <${State} saga=${data} />
        <${Steps} saga=${data} />
        <${History} saga=${data} />`}<//>
    <//>`;
}

async function retry(saga, reload) {
  const { service, id, name, step, phase, attempts } = saga;
  const isDone = await ask({
    title: t('Try the saga now'),
    word: t('Try now'),
    tone: 'main',
    done: t('It is tried now.'),
    touches: [
      t('saga {id} ({name}) of {service}', { id: visible(id), name, service }),
      phase === 'acting' ? t('step {step} is done, after {tries}', { step: step ?? ABSENT, tries: failedTries(attempts) })
        : t('step {step} is undone, after {tries}', { step: step ?? ABSENT, tries: failedTries(attempts) }),
    ],
    act: async () => {
      const { is_tried: isTried } = await post(path('/v1/sagas', service, id, 'retry'));
      if (!isTried) throw new Error(t('There is nothing to do: it has ended, or is worked on now.'));
    },
  });
  if (isDone) reload();
}

function State({ saga }) {
  const { phase, step, attempts, reason, trace_id: trace } = saga;
  const what = phase === 'acting' ? t('to be done') : t('to be undone');
  return html`<${Card} title=${t('State')}><${Facts} of=${[
    [t('Phase'), html`<${Phase} phase=${phase} />`],
    [t('Saga'), visible(saga.name)],
    [t('Step'), step !== undefined && html`<strong>${visible(step)}</strong> ${what}`],
    [t('Failed tries'), attempts > 0 && count(attempts)],
    [t('Next try'), !hasEnded(saga) && attempts > 0 && html`<${Time} at=${saga.due_ms} />`],
    [t('Why undone'), reason !== undefined && visible(reason)],
    [t('Began'), html`<${Time} at=${saga.begun_ms} />`],
    [t('Ended'), saga.ended_ms !== undefined && html`<${Time} at=${saga.ended_ms} />
      ${' · '}${t('after {length}', { length: millis(saga.ended_ms - saga.begun_ms) })}`],
    [t('Trace'), trace && html`<a href=${to('traces', trace)}><code>${trace}</code></a>`],
  ]} /><//>`;
}

// A line a step, a mark an event, from when the saga began until its last event.
function Steps({ saga }) {
  const { history, begun_ms: begun } = saga;
  const steps = useMemo(() => [...Map.groupBy(history, ({ step }) => step)], [history]);
  if (history.length === 0) return html`<${Card} title=${t('Steps')}><${Empty}>${t('Nothing has happened to it yet.')}<//><//>`;
  const length = Math.max(1, history.at(-1).at_ms - begun);
  const used = new Set(history.map(({ what }) => what));
  return html`
    <${Card} title=${t('Steps')} about=${t('{length} in all', { length: millis(length) })}>
      <div class="saga-steps">${steps.map(([step, events]) => html`
        <div class="step-name">${visible(step)}</div>
        <div class="step-line">${events.map((event) => html`<${Mark} event=${event} begun=${begun} length=${length} />`)}</div>`)}
        <div></div>
        <div class="step-axis" aria-hidden="true"><span>0</span><span>${millis(length / 2)}</span><span>${millis(length)}</span></div>
      </div>
      <p class="legend">${Object.entries(EVENTS).filter(([what]) => used.has(what)).map(([, [mark, tone, word]]) => html`
        <span><span class=${`mark-${tone}`} aria-hidden="true">${mark}</span> ${t(word)}</span>`)}</p>
    <//>`;
}

function Mark({ event, begun, length }) {
  const [mark, tone, word] = eventOf(event.what);
  const passed = event.at_ms - begun;
  const title = `${t(word)}, ${millis(passed)}${event.failure ? `: ${visible(event.failure)}` : ''}`;
  const left = `${Math.min(100, Math.max(0, (passed / length) * 100))}%`;
  return html`<span class=${`step-mark mark-${tone}`} style=${{ left }} title=${title} aria-hidden="true">${mark}</span>`;
}

// What happened to a step the same way, one after the other, is told once, with how often each failure was.
function runs(history) {
  const told = [];
  for (const { step, what, at_ms: at, failure } of history) {
    let run = told.at(-1);
    if (run?.step !== step || run?.what !== what) {
      run = { step, what, from: at, count: 0, failures: new Map() };
      told.push(run);
    }
    run.count += 1;
    run.until = at;
    if (failure) run.failures.set(failure, (run.failures.get(failure) ?? 0) + 1);
  }
  return told;
}

const EVENTS_KEPT = 64;

function History({ saga }) {
  const { history, begun_ms: begun } = saga;
  if (history.length === 0) return null;
  const about = history.length >= EVENTS_KEPT ? t('the last {n} events', { n: EVENTS_KEPT }) : undefined;
  return html`
    <${Card} title=${t('What happened')} about=${about}>
      <ol class="saga-events">${runs(history).map((run) => html`<${Run} run=${run} begun=${begun} />`)}</ol>
    <//>`;
}

function Run({ run: { step, what, from, until, count: times, failures }, begun }) {
  const [mark, tone, word] = eventOf(what);
  return html`<li>
    <span class=${`event-mark mark-${tone}`} aria-hidden="true">${mark}</span>
    <time datetime=${new Date(from).toISOString()} title=${t('after {length}', { length: millis(from - begun) })}>${clock(from)}</time>
    <div><strong>${visible(step)}</strong> ${t(word)}
      ${times > 1 && html` <span class="quiet">${t('{n} times, last at {time}', { n: times, time: clock(until) })}</span>`}
      ${[...failures].map(([failure, often]) => html`
        <div class="event-why">${failures.size > 1 && `${often} × `}${visible(failure)}</div>`)}</div>
  </li>`;
}
