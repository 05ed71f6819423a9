// One trace: what it was, what its time went into, its waterfall, and the span that was picked.

import { html, useEffect, useMemo, useRef, useState } from './html.js';
import { getResponse, path, serverNow } from './api.js';
import { count, moment, nanos, percent, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Badge, Button, Card, Figure, Figures, Loaded, Page } from './ui.js';
import { Compare } from './traces-compare.js';
import { attribute, criticalOf, exactly, isError, modelOf, rootOf, summaryOf } from './traces-model.js';
import { Gap, Outcome, gapOf } from './traces-outcome.js';
import { SpanPanel } from './traces-span.js';
import { Waterfall } from './traces-waterfall.js';

// How often a trace that may still grow is looked at, and how often at most: the clocks of the reader and of the services
// may differ.
const AGAIN_MS = 1000;
const LOOKS_MAX = 15;

async function load(id, signal) {
  const response = await getResponse(path('/v1/traces', id), signal);
  return modelOf(exactly(await response.text()).spans);
}

// Whether spans may still be on their way: the reader may have the id of a request that was answered this moment.
function mayCome({ data, error }) {
  if (!data) return error?.status === 404;
  return gapOf(summaryOf(data), serverNow()) === 'coming';
}

export function Trace({ id, query }) {
  const live = useLive((signal) => load(id, signal), null, [id]);
  const looks = useRef(0);
  useEffect(() => {
    if (!mayCome(live) || (looks.current += 1) > LOOKS_MAX) return undefined;
    const timer = setTimeout(live.reload, AGAIN_MS);
    return () => clearTimeout(timer);
  }, [live.data, live.error]);
  const root = live.data && rootOf(live.data);
  const about = html`<span class="mono">${id}</span>${root && html` · ${moment(Number(root.start_unix_nanos) / 1e6)}`}`;
  const actions = html`<a class="button" href=${to('traces')}>${t('All traces')}</a>
    <${Button} onClick=${live.reload}>${t('Load again')}<//>`;
  return html`
    <${Page} title=${root ? visible(`${root.service} · ${root.name}`) : t('Trace')} about=${about} actions=${actions}>
      <${Loaded} of=${live}>${(model) => html`<${Shown} id=${id} model=${model} query=${query} />`}<//>
    <//>`;
}

function Shown({ id, model, query }) {
  const [lit, setLit] = useState(null);
  const picked = model.rows.find((row) => row.id === query.span) ?? null;
  const pick = (span) => goQuery({ span });
  return html`
    <${Card} title=${t('In short')}><div class="trace-short"><${Summary} model=${model} /><${Critical} model=${model} /></div><//>
    <div class=${picked ? 'trace-split' : 'stack'}>
      <${Card} title=${t('Waterfall')} class="waterfall-card">
        <${Legend} model=${model} lit=${lit} onLight=${setLit} />
        <${Waterfall} model=${model} picked=${picked} onPick=${pick} lit=${lit} />
      <//>
      ${picked && html`<${SpanPanel} key=${picked.id} model=${model} row=${picked} onPick=${pick} onClose=${() => pick(undefined)} />`}
    </div>
    <${Compare} id=${id} model=${model} other=${query.with} load=${load} />`;
}

function Summary({ model }) {
  const { rows, total, services } = model;
  const spans = rows.filter(({ span }) => span);
  const errors = spans.filter(({ span }) => isError(span)).length;
  const again = spans.reduce((sum, { span }) => sum + Math.max(0, Number(attribute(span, 'bowline.attempts') ?? 1) - 1), 0);
  const trace = summaryOf(model);
  const { missing } = trace;
  return html`
    <div><p class="trace-standing"><${Outcome} trace=${trace} isLong /></p><p class="trace-standing"><${Gap} trace=${trace} isLong /></p>
    <${Figures}>
      <${Figure} name=${t('Duration')} value=${nanos(total)} title=${t('From the first begin to the last end.')} />
      <${Figure} name=${t('Spans')} value=${count(spans.length)} />
      <${Figure} name=${t('Services')} value=${count(services.size)} />
      <${Figure} name=${t('Spans with an error')} value=${count(errors)} tone=${errors > 0 ? 'bad' : undefined} />
      <${Figure} name=${t('Repeated attempts')} value=${count(again)} tone=${again > 0 ? 'warn' : undefined} />
      ${missing > 0 && html`<${Figure} name=${t('Spans that have not come')} value=${count(missing)} tone="warn"
        title=${t('The caller was outside, or its span has not come yet.')} />`}
    <//></div>`;
}

// What whoever asked waited for, the longest first.
const PARTS = 6;
function Critical({ model }) {
  const parts = useMemo(() => criticalOf(model), [model]);
  const whole = parts.reduce((sum, { length }) => sum + length, 0);
  if (whole === 0) return null;
  const rest = parts.slice(PARTS);
  const left = rest.reduce((sum, { length }) => sum + length, 0);
  return html`
    <div><h3>${t('What its time went into')}</h3>
    <ul class="trace-parts">${parts.slice(0, PARTS).map((part) => html`
      <${Part} part=${part} whole=${whole} colour=${model.services.get(part.service).colour} />`)}</ul>
    ${rest.length > 0 && html`<p class="quiet">
      ${tn('and {n} more, {share} together', 'and {n} others, {share} together', rest.length, { share: percent(left / whole) })}</p>`}</div>`;
}

function Part({ part, whole, colour }) {
  const share = part.length / whole;
  return html`<li>
    <span class="trace-part-name"><bdi>${visible(`${part.service} · ${part.name}`)}</bdi>
      ${part.spans > 1 && html` <span class="quiet">× ${count(part.spans)}</span>`}
      ${part.faults > 0 && html` <${Badge} tone="info" title=${t('A fault was injected on purpose.')}>${t('fault')}<//>`}</span>
    <span class="trace-part-bar" aria-hidden="true"><i style=${{ width: `${share * 100}%`, background: colour }} /></span>
    <span class="number">${nanos(part.length)}</span><span class="number quiet">${percent(share)}</span>
  </li>`;
}

// Which colour is which service; pressing one makes its spans stand out.
function Legend({ model, lit, onLight }) {
  return html`
    <div class="wf-legend" role="group" aria-label=${t('Services')}>
      ${[...model.services.values()].map(({ name, colour, spans, errors }) => html`
        <button type="button" key=${name} class="chip" aria-pressed=${name === lit} onClick=${() => onLight(name === lit ? null : name)}>
          <i class="swatch" style=${{ background: colour }} /> <bdi>${visible(name)}</bdi> <span class="quiet">${count(spans)}</span>
          ${errors > 0 && html`<${Badge} tone="bad" title=${t('Spans with an error')}>${count(errors)}<//>`}</button>`)}
      <span class="quiet wf-key"><i class="wf-key-critical" /> ${t('waited for')}</span>
      <span class="quiet wf-key"><i class="wf-key-attempt" /> ${t('attempt')}</span>
      <span class="quiet wf-key"><span class="tone-text-bad">✗</span> ${t('error')}</span>
    </div>`;
}
