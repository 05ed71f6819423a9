// A rollout: where it is, what it waits for, what was measured, what became of it.

import { html, useEffect, useState } from './html.js';
import { serverNow } from './api.js';
import { Orders } from './deployments-acts.js';
import {
  bakeOf, bakeText, conditionOf, distinct, isBack, measuredOf, reasonText, stepsOf, stepText, toneOf,
} from './deployments-model.js';
import { clock, count, millis, percent } from './format.js';
import { t, tn } from './i18n.js';
import { Badge, Card, Figure, Figures, Table, Time, withCode } from './ui.js';

export const Phase = ({ of: deployment }) => html`<${Badge} tone=${toneOf(deployment)}>${t(deployment.phase)}<//>`;

export const Release = ({ from, to }) => html`<span class="release"><code>${from}</code> → <code>${to}</code></span>`;

export function Rollout({ deployment, reload }) {
  const { from, to, is_live: isLive, phase, share, service, strategy } = deployment;
  const { begun_unix_ms: begun, why, waits_for: waits } = deployment;
  const title = html`${isLive ? t('Under way') : t('Rollout {id}', { id: deployment.id })} · <${Release} from=${from}
    to=${to} />`;
  return html`
    <${Card} title=${title} about=${html`${t(strategy)}, ${t('begun')} <${Time} at=${begun} />`}
      actions=${html`<${Orders} deployment=${deployment} reload=${reload} />`}>
      <p class="rollout-state"><${Phase}
        of=${deployment} /> ${stepText(deployment)}
        ${isLive && html`<span>· ${t('{share} of the requests to {service} go to {to}', { share, service, to })}</span>`}</p>
      ${why && html`<p class=${isBack(deployment) ? 'failure' : 'quiet'}>${withCode(reasonText(why))}</p>`}
      <${Steps} deployment=${deployment} />
      <${Bake} deployment=${deployment} />
      ${waits && html`<p class="notice"><span>${t('It waits:')} ${withCode(reasonText(waits))}</span></p>`}
      ${isLive && phase !== 'promoting' ? html`<${Measured} deployment=${deployment} />` : html`<${Condition}
        of=${deployment.abort_when} />`}
    <//>`;
}

const STATES = { done: 'done', now: 'under way', ahead: 'ahead', back: 'taken back' };
const MARKS = { done: '✓', now: '●', ahead: '○', back: '✕' };

// The steps as bars side by side, each filled as far as it came.
function Steps({ deployment }) {
  const steps = stepsOf(deployment);
  return html`<ol class="steps" aria-label=${t('Steps')}>${steps.map(({ number, share, state }) => html`
    <li class=${`step step-${state}`} aria-current=${state === 'now' ? 'step' : undefined}>
      <div class="step-bar"><${StepFill} state=${state} deployment=${deployment} /></div>
      <span><span aria-hidden="true">${MARKS[state]}</span>
        ${' '}${share ?? t('step {n}', { n: number })}${number === steps.length && html` ${t('promoted')}`}
        <span class="sr">${t(STATES[state])}</span></span>
    </li>`)}</ol>`;
}

function StepFill({ state, deployment }) {
  const bake = bakeOf(deployment);
  const now = useNow(state === 'now' && bake);
  const baked = bake ? Math.min(1, (now - bake.from) / (bake.until - bake.from)) : 0;
  const part = { done: 1, back: 1, ahead: 0, now: baked }[state];
  return html`<i style=${{ width: `${Math.max(0, part) * 100}%` }} />`;
}

// The time, each second while it is needed.
function useNow(isNeeded) {
  const [now, setNow] = useState(serverNow());
  useEffect(() => {
    if (!isNeeded) return undefined;
    setNow(serverNow());
    const timer = setInterval(() => setNow(serverNow()), 1000);
    return () => clearInterval(timer);
  }, [Boolean(isNeeded)]);
  return now;
}

function Bake({ deployment }) {
  const bake = bakeOf(deployment);
  const now = useNow(bake);
  if (!bake) return null;
  const left = millis(Math.ceil((bake.until - now) / 1000) * 1000);
  return html`<p class="rollout-bake">${bake.until > now
    ? t('It bakes for {bake}: {left} are left.', { bake: bakeText(deployment), left })
    : t('The bake of {bake} is over.', { bake: bakeText(deployment) })}</p>`;
}

// What decides: each comparison of the condition with what was measured of the new release.
function Measured({ deployment }) {
  const { measured, min_requests: least, abort_when: condition, to } = deployment;
  const requests = measured?.requests ?? 0;
  return html`
    <h3>${t('What was measured of {to} since the step began', { to })}</h3>
    <${Figures}>
      <${Figure} name=${t('Requests')}
        value=${t('{n} of at least {least}', { n: count(requests), least: count(least) })}
        tone=${requests < least && 'warn'} />
      ${figuresOf(conditionOf(condition), measured).map(({ name, value, bound, isAbove }) => html`
        <${Figure} name=${name} value=${html`${value} <small>${t('ends above {bound}', { bound })}</small>`}
          tone=${isAbove ? 'bad' : undefined} />`)}
    <//>
    <${Condition} of=${condition} />`;
}

const Condition = ({ of: condition }) => html`<p class="quiet">${condition
  ? html`${t('It is ended when')} <code>${condition}</code>`
  : t('Nothing that is measured ends it.')}</p>`;

const shown = (what, value) => (what === 'error_rate' ? percent(value) : millis(value));

function figuresOf(condition, measured) {
  return condition.flat().map(({ what, bound }) => {
    const value = measuredOf(what, measured);
    const name = what === 'error_rate' ? t('Failed') : what;
    return { name, value: shown(what, value), bound: shown(what, bound), isAbove: value > bound };
  });
}

// Each change of a rollout, the newest first.
export function Transitions({ deployment }) {
  const { transitions, step_count: steps } = deployment;
  const rows = distinct(transitions).reverse();
  const columns = [
    { name: t('When'), of: ({ at_unix_ms: at }) => html`${clock(at)} <span class="quiet"><${Time} at=${at} /></span>` },
    { name: t('Phase'), of: (row) => html`<${Phase} of=${row} />` },
    { name: t('Step'), isNumber: true, of: ({ step }) => (step > 0 && step <= steps ? `${step} / ${steps}` : '') },
    { name: t('Share'), isNumber: true, of: ({ share }) => share },
    { name: t('Why'), class: 'rollout-why', of: ({ why }) => withCode(reasonText(why)) },
  ];
  return html`
    <${Card} title=${t('Transitions')} about=${tn('{n} change', '{n} changes', rows.length)}>
      <div class="folds"><${Table} label=${t('Transitions')} columns=${columns} rows=${rows} keyOf=${({ number }) => number} /></div>
    <//>`;
}

// How long a rollout took that has ended.
export function tookOf({ begun_unix_ms: begun, transitions }) {
  const last = transitions.at(-1);
  return last && millis(last.at_unix_ms - begun);
}

export const howOf = ({ strategy, replicas, ...plan }) =>
  [t(strategy), t('bake {bake}', { bake: bakeText(plan) }), tn('{n} instance', '{n} instances', replicas)].join(', ');
