// The waterfall: a line a span, its attempts below it. Only the lines in sight are drawn, so that a trace of 20,000
// spans scrolls like one of ten. A tree for the keyboard: up and down, left and right fold, Enter opens.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from './html.js';
import { nanos, visible } from './format.js';
import { t, tn } from './i18n.js';
import { Badge, Button, Field, classes } from './ui.js';
import { attribute, criticalPieces, faultsOf, isError, linesOf } from './traces-model.js';
import { outcome } from './traces-decisions.js';

const INDENT = 14;
const INDENTS_MAX = 14;
// Lines that are drawn beyond those in sight.
const BEYOND = 8;
const narrow = matchMedia('(max-width: 860px)');

function useNarrow() {
  const [is, set] = useState(narrow.matches);
  useEffect(() => {
    const tell = () => set(narrow.matches);
    narrow.addEventListener('change', tell);
    return () => narrow.removeEventListener('change', tell);
  }, []);
  return is;
}

export function Waterfall({ model, picked, onPick, lit }) {
  const [folded, setFolded] = useState(() => new Set());
  const [cursor, setCursor] = useState(() => picked?.id ?? model.rows[0]?.id);
  const [found, setFound] = useState('');
  const [view, setView] = useState(null);
  const lines = useMemo(() => linesOf(model, folded), [model, folded]);
  const window = useWindow(lines, useNarrow() ? 46 : 28);
  const fold = (id, isFolded) => setFolded((before) => {
    const next = new Set(before);
    if (isFolded) next.add(id);
    else next.delete(id);
    return next;
  });
  const move = (id) => {
    setCursor(id);
    window.show(lines.findIndex(({ row, attempt }) => row.id === id && !attempt));
  };
  const open = (id) => {
    setCursor(id);
    onPick(id);
  };
  useEffect(() => {
    if (!picked) return undefined;
    move(unfolded(model, picked, folded, setFolded));
    const frame = requestAnimationFrame(() => uncover(picked.id));
    return () => cancelAnimationFrame(frame);
  }, [picked?.id]);
  const [from, to] = view ?? [0, model.total];
  const active = lines.some(({ row }) => row.id === cursor) ? domId(cursor) : undefined;
  return html`
    <${Tools} model=${model} found=${found} onFind=${setFound} onGo=${open} cursor=${cursor} folded=${folded} setFolded=${setFolded}
      picked=${picked} view=${view} setView=${setView} />
    <div class="waterfall" role="tree" tabindex="0" aria-label=${t('Spans of the trace')} aria-activedescendant=${active}
      ref=${window.place} onScroll=${window.onScroll}
      onKeyDown=${(event) => onKey(event, { lines, cursor, folded, fold, move, open, onPick })}>
      <${Ruler} from=${from} to=${to} />
      <div class="wf-lines" role="presentation" style=${{ height: `${lines.length * window.size}px` }}>
        ${lines.slice(window.first, window.last).map((line, index) => html`
          <${Line} key=${line.row.id + (line.attempt ? `/${line.attempt.number}` : '')} line=${line} model=${model}
            top=${(window.first + index) * window.size} size=${window.size} from=${from} to=${to} isCursor=${line.row.id === cursor}
            isPicked=${line.row.id === picked?.id} isFolded=${folded.has(line.row.id)}
            isDim=${(lit && line.row.span?.service !== lit) || (found && !matches(line.row, found))} onFold=${fold} onOpen=${open} />`)}
      </div>
    </div>`;
}

const domId = (id) => `span-${id}`;

// On a small page the picked span is told at its foot: the line moves up from under it.
const sheet = matchMedia('(max-width: 1180px)');
function uncover(id) {
  const line = sheet.matches && document.getElementById(domId(id));
  const over = line ? line.getBoundingClientRect().bottom - innerHeight * 0.5 : 0;
  if (over > 0) scrollBy({ top: over });
}

// Unfolds what is above a row that was picked from elsewhere.
function unfolded(model, picked, folded, setFolded) {
  const above = [];
  for (let row = model.rows[picked.parent]; row; row = model.rows[row.parent]) above.push(row.id);
  if (above.some((id) => folded.has(id))) setFolded(new Set([...folded].filter((id) => !above.includes(id))));
  return picked.id;
}

// Which lines are in sight.
function useWindow(lines, size) {
  const place = useRef();
  const [sight, setSight] = useState({ top: 0, height: 800 });
  const look = () => place.current && setSight({ top: place.current.scrollTop, height: place.current.clientHeight });
  useLayoutEffect(() => {
    const sized = new ResizeObserver(look);
    sized.observe(place.current);
    return () => sized.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(sight.top / size) - BEYOND);
  const last = Math.min(lines.length, Math.ceil((sight.top + sight.height) / size) + BEYOND);
  const show = (at) => {
    const { current } = place;
    if (at < 0 || !current) return;
    const head = current.firstElementChild.offsetHeight;
    const [top, bottom] = [at * size, (at + 1) * size + head];
    if (top < current.scrollTop) current.scrollTop = top;
    else if (bottom > current.scrollTop + current.clientHeight) current.scrollTop = bottom - current.clientHeight;
  };
  return { place, size, first, last, show, onScroll: look };
}

const PAGE_LINES = 12;
function onKey(event, { lines, cursor, folded, fold, move, open, onPick }) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const spans = lines.filter(({ attempt }) => !attempt);
  const at = Math.max(0, spans.findIndex(({ row }) => row.id === cursor));
  const { row } = spans[at];
  const to = (index) => move(spans[Math.min(spans.length - 1, Math.max(0, index))].row.id);
  const above = spans.findIndex((line) => line.at === row.parent);
  const acts = {
    ArrowDown: () => to(at + 1),
    ArrowUp: () => to(at - 1),
    PageDown: () => to(at + PAGE_LINES),
    PageUp: () => to(at - PAGE_LINES),
    Home: () => to(0),
    End: () => to(spans.length - 1),
    ArrowRight: () => (folded.has(row.id) ? fold(row.id, false) : row.children > 0 && to(at + 1)),
    ArrowLeft: () => (row.children > 0 && !folded.has(row.id) ? fold(row.id, true) : above >= 0 && to(above)),
    Enter: () => open(row.id),
    ' ': () => open(row.id),
    Escape: () => onPick(undefined),
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}

// === what is done with it ===

const texts = new WeakMap();
function matches({ span }, wanted) {
  if (!span) return false;
  if (!texts.has(span)) texts.set(span, JSON.stringify([span.service, span.name, span.instance, span.attributes]).toLowerCase());
  return texts.get(span).includes(wanted.toLowerCase());
}

function Tools({ model, found, onFind, onGo, cursor, folded, setFolded, picked, view, setView }) {
  const hits = useMemo(() => (found ? model.rows.filter((row) => matches(row, found)) : []), [model, found]);
  const failed = useMemo(() => model.rows.filter(({ span }) => span && isError(span)), [model]);
  const after = (rows) => {
    const at = model.rows.findIndex(({ id }) => id === cursor);
    return rows.find((row) => row.at > at) ?? rows[0];
  };
  const next = (event) => {
    event.preventDefault();
    if (hits.length > 0) onGo(after(hits).id);
  };
  const parents = model.rows.filter(({ children, depth }) => children > 0 && depth > 0).map(({ id }) => id);
  const isFolded = folded.size > 0;
  return html`
    <form class="filters waterfall-tools" role="search" onSubmit=${next}>
      <${Field} name=${t('Find in this trace')}><input type="search" value=${found} placeholder=${t('name, attribute, value')}
        onInput=${(event) => onFind(event.target.value.trim())} /><//>
      ${found && html`<span class="quiet" role="status">${tn('{n} span', '{n} spans', hits.length)}</span>
        <${Button} kind="submit" isDisabled=${hits.length === 0}>${t('Next')}<//>`}
      <span class="space" />
      ${failed.length > 0 && html`<${Button} onClick=${() => onGo(after(failed).id)}>${t('Next error')}<//>`}
      ${picked?.span && html`<${Button} onClick=${() => setView([picked.start, Math.max(picked.end, picked.start + 1)])}>
        ${t('Zoom to the span')}<//>`}
      ${view && html`<${Button} onClick=${() => setView(null)}>${t('Whole time')}<//>`}
      ${parents.length > 0 && html`<${Button} onClick=${() => setFolded(new Set(isFolded ? [] : parents))}>
        ${isFolded ? t('Unfold all') : t('Fold all')}<//>`}
    </form>`;
}

function Ruler({ from, to }) {
  const steps = [0, 0.25, 0.5, 0.75, 1];
  return html`<div class="wf-ruler" aria-hidden="true"><span class="wf-ruler-name">${t('Service · name')}</span><span class="wf-ruler-time">
    ${steps.map((step) => html`<span style=${{ left: `${step * 100}%` }}>${nanos(from + (to - from) * step)}</span>`)}</span></div>`;
}

// === a line ===

function Line({ line, top, size, isDim, isCursor, isPicked, ...rest }) {
  const { row, attempt } = line;
  const style = { transform: `translateY(${top}px)`, height: `${size}px` };
  const name = classes('wf-line', isDim && 'is-dim', !attempt && isCursor && 'is-cursor', isPicked && 'is-selected');
  const open = () => rest.onOpen(row.id);
  if (attempt) {
    return html`<div class=${name} role="presentation" style=${style} onClick=${open}><${Attempt} row=${row} attempt=${attempt} ...${rest} /></div>`;
  }
  return html`<div class=${name} style=${style} id=${domId(row.id)} role="treeitem" aria-level=${row.depth + 1}
    aria-selected=${isPicked ? 'true' : 'false'} aria-expanded=${row.children > 0 ? String(!rest.isFolded) : undefined}
    onClick=${open}><${Span} row=${row} ...${rest} /></div>`;
}

const indent = (depth) => ({ paddingLeft: `${Math.min(depth, INDENTS_MAX) * INDENT}px` });

function Span({ row, model, from, to, isFolded, onFold }) {
  const { span } = row;
  const colour = span ? model.services.get(span.service).colour : 'var(--rule-strong)';
  const toggle = (event) => {
    event.stopPropagation();
    onFold(row.id, !isFolded);
  };
  return html`
    <span class="wf-name" style=${indent(row.depth)}>
      ${row.children > 0
        ? html`<span class="wf-fold" aria-hidden="true" onClick=${toggle}>${isFolded ? '▸' : '▾'}</span>`
        : html`<span class="wf-fold" />`}
      <i class="swatch" style=${{ background: colour }} />
      ${span
        ? html`<bdi class="wf-text" title=${visible(`${span.service} · ${span.name}`)}><b>${visible(span.service)}</b> ${visible(span.name)}</bdi>`
        : html`<span class="wf-text quiet">${t('span {id} has not come', { id: row.id })}</span>`}
      ${isFolded && html`<span class="quiet">+${row.under}</span>`}
      ${span && html`<${Marks} span=${span} />`}
    </span>
    <span class="wf-time"><${Bar} row=${row} from=${from} to=${to} colour=${colour} isError=${isError(span)} /></span>`;
}

// What is worth seeing without opening the span.
function Marks({ span }) {
  const status = attribute(span, 'http.response.status_code');
  const attempts = Number(attribute(span, 'bowline.attempts') ?? 1);
  const reason = attribute(span, 'bowline.reason');
  const bad = isError(span);
  return html`<span class="wf-marks">
    ${bad && html`<span class="tone-text-bad" title=${visible(span.status.message || t('error'))}>
      <span aria-hidden="true">✗</span><span class="sr">${t('error')}</span></span>`}
    ${status !== undefined && html`<span class=${bad ? 'tone-text-bad' : 'quiet'}>${visible(status)}</span>`}
    ${attempts > 1 && html`<${Badge} tone="warn" title=${t('attempts')}>${attempts}×<//>`}
    ${reason && html`<${Badge} tone="bad">${visible(reason)}<//>`}
    ${faultsOf(span).length > 0 && html`<${Badge} tone="info">${t('fault')}<//>`}
  </span>`;
}

// Up to where, in percent, a bar leaves room for its length beside it.
const BESIDE = narrow.matches ? 80 : 88;
const share = (at, from, to) => ((at - from) / (to - from)) * 100;

function Bar({ row, from, to, colour, isError: failed, isAttempt }) {
  const label = nanos(row.end - row.start);
  const [begin, end] = [share(row.start, from, to), share(row.end, from, to)];
  if (end < 0) return html`<span class="wf-label" style=${{ left: 0 }}>← ${label}</span>`;
  if (begin > 100) return html`<span class="wf-label" style=${{ right: 0 }}>${label} →</span>`;
  const [left, right] = [Math.max(0, begin), Math.min(100, end)];
  const [isBehind, isBefore] = [right < BESIDE, left > 100 - BESIDE + 6];
  const beside = isBehind ? { left: `calc(${right}% + 6px)` } : isBefore ? { right: `calc(${100 - left}% + 6px)` } : { right: '6px' };
  return html`
    <span class=${classes('wf-bar', failed && 'is-error', isAttempt && 'is-attempt')}
      style=${{ left: `${left}%`, width: `${Math.max(0, right - left)}%`, '--c': colour }} />
    ${row.critical && criticalPieces(row, (to - from) / 500).map(([begins, ends]) => html`
      <${Stripe} from=${share(begins, from, to)} to=${share(ends, from, to)} />`)}
    <span class=${classes('wf-label', !isBehind && !isBefore && 'is-inside')} style=${beside}>${label}</span>`;
}

function Stripe({ from, to }) {
  const [left, right] = [Math.max(0, from), Math.min(100, to)];
  return right > left && html`<span class="wf-stripe" style=${{ left: `${left}%`, width: `${right - left}%` }} />`;
}

function Attempt({ row, attempt, from, to }) {
  const { tone, text, isOk } = outcome(attempt.outcome);
  const instance = visible(attempt.instance ?? t('no instance'));
  return html`
    <span class="wf-name quiet" style=${indent(row.depth + 1)}><span class="wf-fold" />
      <bdi class="wf-text" title=${`${instance}: ${text}`}>${t('attempt {n}', { n: visible(attempt.number ?? '?') })} → ${instance}</bdi>
      <span class="wf-marks"><span class=${`tone-text-${tone}`}>${isOk ? '✓' : '✗'} ${visible(attempt.outcome)}</span></span></span>
    <span class="wf-time"><${Bar} row=${attempt} from=${from} to=${to} colour="var(--text-quiet)" isError=${!isOk} isAttempt /></span>`;
}
