// What one span says: what Bowline decided, attempts, attributes, events, links.

import { html } from './html.js';
import { policyOf, useSystem } from './declared.js';
import { nanos, percent, visible } from './format.js';
import { t } from './i18n.js';
import { to } from './route.js';
import { pick } from './state.js';
import { Badge, Button } from './ui.js';
import { attemptsOf, attribute, eventAt, isError } from './traces-model.js';
import { decisionsOf, outcome } from './traces-decisions.js';
import { lineOf } from './traces-search.js';

const KINDS = {
  server: 'answers', client: 'calls', producer: 'sends a message', consumer: 'works on a message', internal: 'within the service',
};

export function SpanPanel({ model, row, onPick, onClose }) {
  const { span } = row;
  const onKey = (event) => event.key === 'Escape' && onClose();
  const name = span ? visible(`${span.service} · ${span.name}`) : t('A span that has not come');
  return html`
    <section class="card span-panel" aria-label=${t('The span')} onKeyDown=${onKey}>
      <header class="card-head"><h2><bdi>${name}</bdi></h2><div class="actions">
        <${Button} onClick=${onClose} title=${t('Close (Escape)')}>
          <span aria-hidden="true">×</span><span class="sr">${t('Close')}</span><//></div></header>
      ${span ? html`<${Body} model=${model} row=${row} onPick=${onPick} />`
        : html`<p>${t('Others name it as their caller: it was outside, it was not sampled, or it has not come yet.')} <code>${row.id}</code></p>`}
    </section>`;
}

function Body({ model, row, onPick }) {
  const { span } = row;
  const events = (span.events ?? []).filter(({ name }) => name !== 'attempt');
  return html`
    <${Facts} model=${model} row=${row} onPick=${onPick} />
    <${Decisions} span=${span} />
    <${Attempts} span=${span} />
    <${Attributes} span=${span} />
    ${events.length > 0 && html`<h3>${t('Events')}</h3>${events.map((event) => html`<${Happened} model=${model} event=${event} />`)}`}
    <${Links} span=${span} />
    <details class="raw"><summary>${t('As JSON')}</summary><pre class="mono">${visible(JSON.stringify(span, null, 2))}</pre></details>`;
}

function Facts({ model, row, onPick }) {
  const { span } = row;
  const above = model.rows[row.parent];
  const [top] = model.rows;
  const share = percent(row.own / Math.max(1, top.end - top.start));
  return html`
    <dl class="facts">
      <dt>${t('Status')}</dt><dd><${Status} span=${span} /></dd>
      <dt>${t('Duration')}</dt><dd>${nanos(span.duration_nanos)}</dd>
      <dt>${t('Begins after')}</dt><dd>${nanos(row.start)}</dd>
      <dt>${t('Waited for')}</dt><dd title=${t('In the span itself, not in what it calls.')}>${nanos(row.own)} ${row.own > 0 && html`
        <span class="quiet">${t('{share} of what the caller waited', { share })}</span>`}</dd>
      <dt>${t('Service')}</dt><dd><a href=${to('services', span.service)}><bdi>${visible(span.service)}</bdi></a></dd>
      <dt>${t('Instance')}</dt><dd><bdi>${visible(span.instance)}</bdi></dd>
      <dt>${t('Kind')}</dt><dd>${span.kind} <span class="quiet">${t(pick(KINDS, span.kind, ''))}</span></dd>
      <dt>${t('Span')}</dt><dd class="mono">${span.span_id}</dd>
      ${above && html`<dt>${t('Called by')}</dt><dd><button type="button" class="as-link" onClick=${() => onPick(above.id)}>
        <bdi>${above.span ? visible(`${above.span.service} · ${above.span.name}`) : above.id}</bdi></button></dd>`}
    </dl>`;
}

function Status({ span }) {
  const message = span.status?.message;
  if (isError(span)) return html`<${Badge} tone="bad">${t('error')}<//> <bdi class="tone-text-bad">${visible(message)}</bdi>`;
  if (span.status?.code === 'ok') return html`<${Badge} tone="ok">${t('ok')}<//>`;
  return html`<span class="quiet">${t('no error')}</span>`;
}

function Decisions({ span }) {
  const said = decisionsOf(span);
  if (said.length === 0) return null;
  const callee = attribute(span, 'bowline.backend') ?? attribute(span, 'peer.service');
  return html`
    <h3>${t('What Bowline decided')}</h3>
    <ul class="decisions">${said.map(({ tone, text }) => html`<li class=${`tone-${tone}`}><bdi>${visible(text)}</bdi></li>`)}</ul>
    ${callee && html`<${Picking} caller=${span.service} callee=${callee} />
      <p class="quiet"><a href=${to('services', callee)}>${t('Instances and breakers of {service} now', { service: callee })}</a></p>`}`;
}

// By what an instance is picked, tried again and given up: the policy of the call, as the file has it.
function Picking({ caller, callee }) {
  const { data } = useSystem();
  const call = data?.services.find(({ name }) => name === caller)?.calls.find(({ service }) => service === callee);
  if (!call?.policy) return null;
  const { balance, timeout } = call.policy;
  return html`<details class="policy"><summary>${t('Picked by {balance}, within {timeout}: the policy of this call', { balance, timeout })}</summary>
    <pre class="mono">${policyOf(call)}</pre></details>`;
}

function Attempts({ span }) {
  const attempts = attemptsOf(span);
  if (attempts.length === 0) return null;
  return html`
    <h3>${t('Attempts')}</h3>
    <div class="table-wrap"><table><caption class="sr">${t('Attempts')}</caption>
      <thead><tr><th scope="col">${t('No.')}</th><th scope="col">${t('Instance')}</th>
        <th scope="col">${t('Outcome')}</th><th scope="col" class="number">${t('Duration')}</th></tr></thead>
      <tbody>${attempts.map(({ attributes = {} }) => html`<${AttemptRow} attributes=${attributes} />`)}</tbody></table></div>`;
}

function AttemptRow({ attributes }) {
  const { tone, text, isOk } = outcome(attributes['bowline.outcome']);
  return html`<tr><th scope="row">${attributes['bowline.attempt']}</th>
    <td><bdi>${visible(attributes['bowline.instance'] ?? t('no instance'))}</bdi><br />
      <span class="quiet mono"><bdi>${visible(attributes['bowline.address'])}</bdi></span></td>
    <td class=${`tone-text-${tone}`}>${isOk ? '✓' : '✗'} ${text}</td>
    <td class="number nowrap">${nanos(Number(attributes['bowline.duration_nanos']))}</td></tr>`;
}

// An attribute is a way to all spans of the service that have it.
function Attributes({ span }) {
  const all = Object.entries(span.attributes ?? {});
  if (all.length === 0) return null;
  return html`
    <h3>${t('Attributes')}</h3>
    <dl class="facts trace-facts">${all.map(([name, value]) => html`<dt class="mono"><bdi>${visible(name)}</bdi></dt>
      <dd class="mono"><a title=${t('Traces with this')} href=${to('traces', { service: span.service, attr: lineOf(`${name}=${value}`) })}>
        <bdi>${visible(value)}</bdi></a></dd>`)}</dl>`;
}

function Happened({ model, event }) {
  const all = Object.entries(event.attributes ?? {});
  return html`
    <div class="happened"><p><strong><bdi>${visible(event.name)}</bdi></strong>${' '}
      <span class="quiet">${t('after {length}', { length: nanos(eventAt(model, event)) })}</span></p>
      ${all.length > 0 && html`<dl class="facts trace-facts">${all.map(([name, value]) => html`
        <dt class="mono"><bdi>${visible(name)}</bdi></dt><dd><pre class="mono">${visible(value)}</pre></dd>`)}</dl>`}</div>`;
}

function Links({ span }) {
  const links = span.links ?? [];
  if (links.length === 0) return null;
  return html`
    <h3>${t('Linked spans')}</h3>
    <ul>${links.map((link) => html`
      <li><a class="mono" href=${to('traces', link.trace_id, { span: link.span_id })}>${link.trace_id} / ${link.span_id}</a>
        ${Object.entries(link.attributes ?? {}).map(([name, value]) => html`<br />
          <span class="quiet mono"><bdi>${visible(`${name}=${value}`)}</bdi></span>`)}</li>`)}</ul>`;
}
