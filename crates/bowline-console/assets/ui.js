// What pages are made of: headings, cards, tables, states, questions.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from './html.js';
import { may, serverNow, session } from './api.js';
import { ABSENT, ago, moment, visible } from './format.js';
import { t } from './i18n.js';
import { takeArrival } from './route.js';
import { cell, pick, useCell } from './state.js';

export const classes = (...names) => names.filter(Boolean).join(' ');

// A text of ours or of the server, in which what stands between backticks is code.
export const withCode = (text) => visible(text).split('`').map((part, index, all) => {
  const isClosed = index < all.length - 1;
  if (index % 2 === 0) return part;
  return isClosed ? html`<code>${part}</code>` : `\`${part}`;
});

// A page: its name, what it is about, what can be done. Whoever came over a link is read its name first.
export function Page({ title, about, actions, children }) {
  const heading = useRef();
  useEffect(() => {
    document.title = `${visible(title)} · Bowline`;
  }, [title]);
  useEffect(() => {
    if (takeArrival() && !document.activeElement?.matches('input, textarea, select')) heading.current.focus({ preventScroll: true });
  }, []);
  return html`
    <div class="page">
      <header class="page-head">
        <div><h1 ref=${heading} tabindex="-1">${visible(title)}</h1>${about && html`<p class="about">${about}</p>`}</div>
        ${actions && html`<div class="actions">${actions}</div>`}
      </header>
      ${children}
    </div>`;
}

export function Card({ title, about, actions, children, class: name }) {
  return html`
    <section class=${classes('card', name)}>
      ${title && html`<header class="card-head"><h2>${title}</h2>${about && html`<span class="about">${about}</span>`}
        ${actions && html`<div class="actions">${actions}</div>`}</header>`}
      ${children}
    </section>`;
}

// One figure with its name and unit. `tone` colours it: bad, warn.
export function Figure({ name, value, tone, title }) {
  return html`<div class="figure" title=${title}><dt>${name}</dt><dd class=${tone && `tone-${tone}`}>${value ?? ABSENT}</dd></div>`;
}

export const Figures = ({ children }) => html`<dl class="figures">${children}</dl>`;

// A word about a state. Tones: ok, warn, bad, info, quiet. A shape goes with each, so that colour is not all that tells.
const SHAPES = { ok: '●', warn: '▲', bad: '■', info: '◆', quiet: '○' };
export function Badge({ tone = 'quiet', children, title }) {
  return html`<span class=${`badge tone-${tone}`} title=${title}><span aria-hidden="true">${pick(SHAPES, tone, SHAPES.quiet)}</span> ${children}</span>`;
}

const HEALTH_TONES = { healthy: 'ok', degraded: 'warn', unhealthy: 'bad', draining: 'info', gone: 'quiet', unknown: 'quiet' };
export const healthTone = (state) => pick(HEALTH_TONES, state, 'quiet');
export const Health = ({ state }) => html`<${Badge} tone=${healthTone(state)}>${t(state ?? 'unknown')}<//>`;

// While what a click began is not through, the next one is let be; what goes wrong of it is said. The focus stays.
export function Button({ onClick, tone, isDisabled, title, children, kind = 'button' }) {
  const [isBusy, setBusy] = useState(false);
  const isUnderWay = useRef(false);
  const click = async (event) => {
    if (isUnderWay.current) return;
    const work = onClick(event);
    if (typeof work?.then !== 'function') return;
    isUnderWay.current = true;
    setBusy(true);
    try {
      await work;
    } catch (error) {
      say(error.message);
    }
    isUnderWay.current = false;
    setBusy(false);
  };
  return html`<button type=${kind} class=${classes('button', tone && `button-${tone}`)} disabled=${isDisabled} title=${title}
    aria-disabled=${isBusy ? 'true' : undefined} onClick=${onClick && click}>${children}</button>`;
}

// A button for who may; for others it says why not.
export function RoleButton({ role, ...rest }) {
  const isAllowed = may(role);
  const title = isAllowed ? rest.title : t('This needs the role {role}: sign in with a token that has it.', { role });
  return html`<${Button} ...${rest} isDisabled=${rest.isDisabled || !isAllowed} title=${title} />`;
}

// What is shown of data that is loaded: itself, that it is awaited, that it failed, that there is none.
export function Loaded({ of, empty, isEmpty, children }) {
  const { data, error, isLoading } = of;
  if (data === undefined && error) return html`<${Failure} error=${error} again=${of.reload} />`;
  if (data === undefined) return isLoading ? html`<${Waiting} />` : null;
  return html`
    ${error && html`<${Failure} error=${error} again=${of.reload} isStale />`}
    ${isEmpty?.(data) ? html`<${Empty}>${empty}<//>` : children(data)}`;
}

function told(text) {
  if (Array.isArray(text)) return text.map(told);
  return typeof text === 'string' ? withCode(text) : text;
}

export const Waiting = () => html`<div class="waiting" role="status"><span class="sr">${t('Loading')}</span><i /><i /><i /></div>`;
export const Empty = ({ children }) => html`<p class="empty">${told(children ?? t('Nothing here.'))}</p>`;

export function Failure({ error, again, isStale }) {
  return html`
    <div class="failure" role="alert">
      <p><strong>${isStale ? t('Not up to date:') : t('This could not be loaded:')}</strong> ${withCode(error.message)}</p>
      ${error.traceId && html`<p class="quiet">${t('trace')} <code>${error.traceId}</code></p>`}
      ${again && html`<${Button} onClick=${again}>${t('Try again')}<//>`}
    </div>`;
}

// A moment: how long ago, and on pointing when exactly. `at` in milliseconds, or as RFC 3339.
export function Time({ at }) {
  const when = typeof at === 'string' ? Date.parse(at) : at;
  if (!Number.isFinite(when)) return html`<span class="quiet">${ABSENT}</span>`;
  const now = useNow();
  return html`<time datetime=${new Date(when).toISOString()} title=${moment(when)}>${ago(when, Math.max(now, when > now && when - now < 2000 ? when : now))}</time>`;
}

const tick = cell(serverNow());
// The time now, by the server's clock, as it goes on.
export const useNow = () => useCell(tick);
setInterval(() => document.hidden || tick.set(serverNow()), 1000);

// A table. Columns: `{ name, title?, of(row), sort?(row), isNumber?, class? }`; the first one names the row.
const ROWS_SHOWN = 100;
// `size`: how many rows are shown at first.
export function Table({ label, columns, rows, keyOf, sortBy, empty, onRow, isSelected, size = ROWS_SHOWN }) {
  const [sorted, setSorted] = useState(sortBy ?? null);
  const [more, setMore] = useState(0);
  const shown = size + more;
  const ordered = useMemo(() => order(rows, columns, sorted), [rows, sorted]);
  if (rows.length === 0) return html`<${Empty}>${empty}<//>`;
  return html`
    <div class="table-wrap" tabindex="0" role="region" aria-label=${label}>
      <table>
        <caption class="sr">${label}</caption>
        <thead><tr>${columns.map((column) => html`<${Heading} column=${column} sorted=${sorted} onSort=${setSorted} />`)}</tr></thead>
        <tbody>${ordered.slice(0, shown).map((row) => html`
          <tr key=${keyOf?.(row)} class=${classes(onRow && 'is-link', isSelected?.(row) && 'is-selected')} onClick=${onRow && (() => onRow(row))}>
            ${columns.map((column, index) => cellOf(column, row, index))}
          </tr>`)}</tbody>
      </table>
    </div>
    ${rows.length > shown && html`<p class="more"><${Button} onClick=${() => setMore(more + ROWS_SHOWN)}>
      ${t('Show more')}<//> <span class="quiet">${t('{shown} of {all}', { shown, all: rows.length })}</span></p>`}`;
}

function cellOf(column, row, index) {
  const name = classes(column.isNumber && 'number', column.class);
  return index === 0 ? html`<th scope="row" class=${name}>${column.of(row)}</th>` : html`<td class=${name}>${column.of(row)}</td>`;
}

function Heading({ column, sorted, onSort }) {
  const isSorted = sorted?.name === column.name;
  const direction = isSorted ? (sorted.isDown ? 'descending' : 'ascending') : undefined;
  const flip = () => onSort({ name: column.name, isDown: isSorted ? !sorted.isDown : Boolean(column.isNumber) });
  return html`<th scope="col" class=${column.isNumber && 'number'} aria-sort=${direction} title=${column.title}>
    ${column.sort
      ? html`<button type="button" class="sort" onClick=${flip}>${column.name}<span aria-hidden="true">${isSorted ? (sorted.isDown ? ' ↓' : ' ↑') : ''}</span></button>`
      : column.name}</th>`;
}

function order(rows, columns, sorted) {
  const by = sorted && columns.find((column) => column.name === sorted.name)?.sort;
  if (!by) return rows;
  const compare = (a, b) => (typeof a === 'string' ? a.localeCompare(b) : (a ?? -Infinity) - (b ?? -Infinity));
  return [...rows].sort((a, b) => compare(by(a), by(b)) * (sorted.isDown ? -1 : 1));
}

// Brings what is picked of a row that goes on beyond the edge into sight; the page stays where it is.
export function useInSight(picked, selector) {
  const row = useRef();
  useEffect(() => {
    const item = row.current.querySelector(selector);
    if (!item) return;
    const [around, own] = [row.current, item].map((element) => element.getBoundingClientRect());
    row.current.scrollLeft += own.left + own.width / 2 - around.left - around.width / 2;
  }, [picked]);
  return row;
}

// One of several views. `tabs`: `[{ id, name, count? }]`; what the current one shows are its children.
export function Tabs({ label, tabs, current, onPick, children }) {
  const own = useId('tabs');
  const row = useInSight(current, '[aria-selected=true]');
  const onKey = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const index = tabs.findIndex((tab) => tab.id === current);
    const next = tabs[(index + step + tabs.length) % tabs.length];
    onPick(next.id);
    event.currentTarget.querySelector(`[data-tab="${CSS.escape(next.id)}"]`)?.focus();
    event.preventDefault();
  };
  return html`<div class="tabs" ref=${row} role="tablist" aria-label=${label} onKeyDown=${onKey}>${tabs.map(({ id, name, count }) => html`
    <button type="button" role="tab" data-tab=${id} aria-selected=${id === current} tabindex=${id === current ? 0 : -1}
      id=${id === current ? `${own}-tab` : undefined} aria-controls=${children && id === current ? `${own}-panel` : undefined}
      onClick=${() => onPick(id)}>${name}${count !== undefined && html` <span class="count">${count}</span>`}</button>`)}</div>
    ${children && html`<div class="tab-panel" role="tabpanel" id=${`${own}-panel`} aria-labelledby=${`${own}-tab`}>${children}</div>`}`;
}

const useId = (kind) => useMemo(() => `${kind}-${Math.random().toString(36).slice(2)}`, []);

// A field of a form with its name above it.
export function Field({ name, hint, children }) {
  return html`<label class="field"><span>${name}</span>${children}${hint && html`<small>${hint}</small>`}</label>`;
}

export function Select({ name, value, options, onPick }) {
  return html`<${Field} name=${name}><select value=${value} onChange=${(event) => onPick(event.target.value)}>
    ${options.map(([id, text]) => html`<option value=${id} selected=${id === value}>${text}</option>`)}</select><//>`;
}

// A window over the page. Escape closes it; the browser keeps the focus within.
function Dialog({ title, onClose, children }) {
  const dialog = useRef();
  useLayoutEffect(() => {
    dialog.current.showModal();
    return () => dialog.current?.close();
  }, []);
  const id = useId('dialog');
  // A second Escape closes it in the browser, whatever the first one came to: then it is asked again, and shown if it stays.
  const closed = () => {
    if (!dialog.current) return;
    onClose();
    setTimeout(() => dialog.current?.open === false && dialog.current.showModal());
  };
  return html`<dialog ref=${dialog} aria-labelledby=${id} onClose=${closed}
    onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    <h2 id=${id}>${title}</h2>${children}</dialog>`;
}

// The question before something is changed: what it will touch, and what came of it where that failed.
//
// `ask({ title, touches: [text], act: async () => {}, tone, word })`; resolves to whether it was done. One at a time: what
// is read is what is confirmed, so that none takes the place of another.
const asked = cell(null);
export function ask(question) {
  if (asked.get()) {
    say(t('"{what}" is not asked while another question is open.', { what: question.title }));
    return Promise.resolve(false);
  }
  return new Promise((resolve) => asked.set({ ...question, resolve }));
}

export function Asking() {
  const question = useCell(asked);
  const [state, setState] = useState({});
  // What was begun cannot be called back: it is awaited.
  const isActing = useRef(false);
  useEffect(() => setState({}), [question]);
  if (!question) return null;
  const close = (isDone) => {
    if (isActing.current || asked.get() !== question) return;
    asked.set(null);
    question.resolve(isDone);
  };
  const act = async (event) => {
    event.preventDefault();
    if (isActing.current) return;
    isActing.current = true;
    setState({ isActing: true });
    let error = null;
    try {
      await question.act();
    } catch (wrong) {
      error = wrong;
    }
    isActing.current = false;
    setState({ error });
    if (error) return;
    close(true);
    say(question.done ?? t('Done: {what}', { what: question.title }));
  };
  return html`
    <${Dialog} title=${visible(question.title)} onClose=${() => close(false)}>
      <form onSubmit=${act}>
        ${question.touches?.length > 0 && html`<p>${t('This will touch:')}</p><ul class="touches">${question.touches.map((text) => html`<li>${told(text)}</li>`)}</ul>`}
        ${question.body}
        <p class="quiet">${session.get()?.name ? t('It is recorded in the audit, with your name.')
          : t('It is recorded in the audit, as done by this machine: sign in to have your name there.')}</p>
        ${state.error && html`<p class="failure" role="alert">${withCode(state.error.message)}</p>`}
        <div class="dialog-actions">
          <${Button} onClick=${() => close(false)} isDisabled=${state.isActing}>${t('Cancel')}<//>
          <${Button} kind="submit" tone=${question.tone ?? 'main'} isDisabled=${state.isActing}>${question.word ?? question.title}<//>
        </div>
      </form>
    <//>`;
}

// What was just done, said for a while and read to who cannot see it.
const said = cell(null);
export function say(text) {
  const about = { text };
  said.set(about);
  setTimeout(() => said.get() === about && said.set(null), 5000);
}
export function Saying() {
  const about = useCell(said);
  return html`<div class="saying" role="status" aria-live="polite">${about && html`<p>${withCode(about.text)}</p>`}</div>`;
}
