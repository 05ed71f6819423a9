// What came of one expression: its graph, its last values, traces of its exemplars; or what is wrong with it, and where.

import { html, useMemo } from './html.js';
import { serverNow } from './api.js';
import { Chart } from './chart.js';
import { clock, count, seconds, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { Badge, Button, Empty, Table, Waiting } from './ui.js';
import { evaluate, exemplars, formatOf, labelsOf, mistakeOf, written } from './metrics-data.js';
import { pick } from './state.js';

// Lines that an eye can follow.
const DRAWN = 20;

export function Panel({ expression, unit, time, onZoom, onPlace }) {
  const key = JSON.stringify([expression, time]);
  const live = useLive((signal) => evaluate(expression, time, signal), time.range ? ['metrics'] : null, [key]);
  const format = formatOf(unit, expression);
  const { data, error } = live;
  if (error && !(data && error.status === 0)) {
    return html`<${Mistake} expression=${expression} error=${error} again=${live.reload} onPlace=${onPlace} />`;
  }
  if (!data) return html`<${Waiting} />`;
  if (data.series.length === 0 && data.last.length === 0) {
    return html`<${Empty}>${t('No series: nothing is called so, or it had no value in this time.')}<//>`;
  }
  return html`
    <${Graph} result=${data} expression=${expression} format=${format} unit=${unit} onZoom=${onZoom} />
    <p class="quiet metrics-about">
      ${tn('{n} series', '{n} series', data.series.length)} · ${t('a point every {step}', { step: seconds(data.step) })} ·${' '}
      ${t('answered in {took}', { took: seconds(data.took / 1000) })}
      ${data.isCut && html` <${Badge} tone="warn">${t('more than are shown: narrow it, or take topk()')}<//>`}
    </p>
    <${Values} last=${data.last} end=${data.end} format=${format} time=${time} />
    <${Exemplars} expression=${expression} time=${time} />`;
}

function Graph({ result, expression, format, unit, onZoom }) {
  const { series, hidden } = useMemo(() => drawn(result.series, expression), [result]);
  return html`
    <${Chart} key=${unit} label=${expression} times=${result.times} series=${series} format=${format} height=${260} onPick=${onZoom} />
    ${hidden > 0 && html`<p class="quiet">
      ${t('The {drawn} highest of {all} series are drawn; the values of all are below.', { drawn: DRAWN, all: count(result.series.length) })}</p>`}`;
}

// A few labels are told by their values alone.
const LABELS = 5;
function shortly(metric, apart) {
  const values = apart.map((name) => pick(metric, name)).filter(Boolean);
  if (values.length > 0 && apart.length <= LABELS) return values.join(' · ');
  return Object.keys(metric).length > 0 ? written(metric) : '';
}

function drawn(all, expression) {
  const { apart } = labelsOf(all.map(({ metric }) => metric));
  const named = all.map(({ metric, values }) => ({
    label: shortly(metric, apart) || expression, values,
    top: values.reduce((most, value) => Math.max(most, value ?? -Infinity), -Infinity),
  }));
  if (named.length <= DRAWN) return { series: named, hidden: 0 };
  return { series: [...named].sort((a, b) => b.top - a.top).slice(0, DRAWN), hidden: named.length - DRAWN };
}

// === values ===

function Values({ last, end, format, time }) {
  const { apart, alike } = useMemo(() => labelsOf(last.map(({ metric }) => metric)), [last]);
  if (last.length === 0) return html`<p class="quiet">${t('No value at the end of this time.')}</p>`;
  const service = ({ metric }) => metric.service ?? metric.callee;
  const columns = [
    ...naming(apart),
    {
      name: t('Value'), sort: ({ value }) => value, isNumber: true,
      of: ({ value }) => html`<span title=${String(value)}>${Number.isFinite(value) ? format(value) : String(value)}</span>`,
    },
  ];
  const traces = (row) => service(row) && html`<a href=${to('traces', { service: service(row), since: since(time) })}>${t('its traces')}</a>`;
  if (last.some(service)) columns.push({ name: t('Traces'), of: traces });
  return html`
    <h3>${time.range ? t('Now') : t('At {time}', { time: clock(end * 1000) })}</h3>
    ${apart.length > 0 && alike.length > 0 && html`<p class="quiet">${t('All have')} <code>${written(Object.fromEntries(alike))}</code></p>`}
    <div class="metrics-values"><${Table} key=${columns.length} label=${t('Values')} columns=${columns} rows=${last}
      keyOf=${({ metric }) => written(metric)} sortBy=${{ name: t('Value'), isDown: true }} /></div>`;
}

// A column for each label that tells the series apart, unless there are too many to look at.
function naming(apart) {
  if (apart.length === 0 || apart.length > LABELS + 1) {
    return [{ name: t('Series'), of: ({ metric }) => html`<code>${visible(written(metric))}</code>`, sort: ({ metric }) => written(metric) }];
  }
  return apart.map((name) => ({
    name, of: ({ metric }) => html`<bdi>${visible(pick(metric, name, '–'))}</bdi>`,
    sort: ({ metric }) => pick(metric, name, ''),
  }));
}

// Traces are searched back from now.
const since = (time) => time.range ?? `${Math.ceil(serverNow() / 1000 - time.from)}s`;

function Exemplars({ expression, time }) {
  const { data } = useLive((signal) => exemplars(expression, time, signal), null, [expression, JSON.stringify(time)]);
  if (!data?.length) return null;
  return html`
    <h3>${t('Traces of single measurements')}</h3>
    <ul class="exemplars">${data.map(({ at, value, trace, name }) => html`
      <li><a href=${to('traces', trace)}>${clock(at)} · ${formatOf('', name)(value)}</a></li>`)}</ul>`;
}

// === mistakes ===

function Mistake({ expression, error, again, onPlace }) {
  const mistake = mistakeOf(expression, error.message);
  if (!mistake) {
    const isMine = error.status >= 400 && error.status < 500;
    return html`<div class="failure" role="alert"><p>${error.message}</p>${!isMine && html`<${Button} onClick=${again}>${t('Try again')}<//>`}</div>`;
  }
  return html`
    <div class="failure" role="alert">
      <p><strong>${t('Line {line}, column {column}:', mistake)}</strong> ${mistake.message}</p>
      <pre class="mono mistake" aria-hidden="true">${mistake.text}${'\n'}${' '.repeat(mistake.at)}^</pre>
      <${Button} onClick=${() => onPlace(mistake.offset)}>${t('Go there')}<//>
    </div>`;
}
