// Where a query comes from: those that are asked of every system, those that were run here before, all metrics there are.

import { html, useMemo, useState } from './html.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { Field, Loaded, Table } from './ui.js';
import { aboutOf, metricAbout, metricNames } from './metrics-complete.js';
import { QUERIES } from './metrics-queries.js';
import { keep, kept } from './state.js';

const KEPT = 'bowline.queries';
const KEPT_MAX = 20;

// What was run in this browser, the last one first.
export function earlier() {
  try {
    const list = JSON.parse(kept(KEPT) ?? '[]');
    return Array.isArray(list) ? list.filter((one) => typeof one === 'string').slice(0, KEPT_MAX) : [];
  } catch {
    return [];
  }
}

export function remember(expressions) {
  keep(KEPT, JSON.stringify([...new Set([...expressions, ...earlier()])].slice(0, KEPT_MAX)));
}

export function Starts({ isOpen, onPick }) {
  return html`
    <details class="card" open=${isOpen}><summary>${t('Queries to begin with')}</summary>
      <div class="starts">${QUERIES.map(([group, queries]) => html`
        <section key=${group}><h2>${t(group)}</h2><ul>${queries.map(([name, expression]) => html`
          <li><button type="button" class="as-link" title=${expression} onClick=${() => onPick(expression)}>${t(name)}</button></li>`)}
        </ul></section>`)}</div>
    </details>`;
}

export function Earlier({ expressions, onPick }) {
  if (expressions.length === 0) return null;
  return html`
    <details class="card"><summary>${t('Run before in this browser')}</summary>
      <ul class="earlier">${expressions.map((expression) => html`
        <li><button type="button" class="as-link mono" onClick=${() => onPick(expression)}>${expression}</button></li>`)}</ul>
    </details>`;
}

export function Metrics({ onPick }) {
  const [isOpen, setIsOpen] = useState(false);
  return html`<details class="card" onToggle=${(event) => setIsOpen(event.currentTarget.open)}><summary>${t('All metrics there are')}</summary>
    ${isOpen && html`<${All} onPick=${onPick} />`}</details>`;
}

function All({ onPick }) {
  const live = useLive(async () => ({ names: await metricNames(), about: await metricAbout() }), null);
  return html`<${Loaded} of=${live}>${({ names, about }) => html`<${List} names=${names} about=${about} onPick=${onPick} />`}<//>`;
}

function List({ names, about, onPick }) {
  const [text, setText] = useState('');
  const rows = useMemo(() => names.map((name) => ({ name, ...aboutOf(about, name) })), [names, about]);
  const wanted = text.trim().toLowerCase();
  const shown = useMemo(() => rows.filter(({ name, help }) => `${name} ${help}`.toLowerCase().includes(wanted)), [rows, wanted]);
  const press = ({ name }) => html`<button type="button" class="as-link mono" onClick=${() => onPick(name)}>${name}</button>`;
  const columns = [
    { name: t('Metric'), of: press, sort: ({ name }) => name },
    { name: t('Kind'), of: ({ type }) => type ?? '–', sort: ({ type }) => type ?? '' },
    { name: t('What it tells'), of: ({ help }) => html`<span class="quiet">${help}</span>` },
  ];
  return html`
    <${Field} name=${t('Filter')}><input type="search" value=${text} autocomplete="off" spellcheck=${false}
      onInput=${(event) => setText(event.target.value)} /><//>
    <${Table} label=${t('All metrics there are')} columns=${columns} rows=${shown} keyOf=${({ name }) => name}
      empty=${t('No metric is called so.')} />`;
}
