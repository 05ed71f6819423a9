// Texts with line numbers: to read, to write, and side by side.

import { html, useLayoutEffect, useMemo, useRef, useState } from './html.js';
import { count, visible } from './format.js';
import { t, tn } from './i18n.js';
import { diff, folded, tally } from './diff.js';
import { Button, classes } from './ui.js';

const INDENT = '  ';
const ROWS_MIN = 10;
const ROWS_MAX = 30;
// How many rows of a difference are drawn at once.
const DIFF_ROWS = 1000;

const numbers = (lines) => Array.from({ length: lines }, (_, index) => index + 1).join('\n');
const lineCount = (text) => text.split('\n').length;

// A text to read.
export function Code({ label, text }) {
  const lines = lineCount(text.replace(/\n$/, ''));
  return html`<div class="code" tabindex="0" role="region" aria-label=${label}>
    <pre class="code-numbers" aria-hidden="true">${numbers(lines)}</pre><pre class="code-text">${visible(text)}</pre></div>`;
}

// A text to write. `faults`: `[{ text, line?, column? }]` are marked where they are, and told by the place `toldBy`.
//
// Tab indents, as who writes such texts expects; after Escape it leaves the editor, so that nobody is caught in it.
export function CodeEditor({ label, value, onInput, faults = [], toldBy, area }) {
  const own = useRef();
  const field = area ?? own;
  const layers = [useRef(), useRef()];
  const leaves = useRef(false);
  const lines = lineCount(value);
  const column = useMemo(() => numbers(lines), [lines]);
  const unseen = useMemo(() => unseenOf(value), [value]);
  const scroll = () => {
    const { scrollTop, scrollLeft } = field.current;
    layers[0].current.style.transform = `translateY(${-scrollTop}px)`;
    layers[1].current.style.transform = `translate(${-scrollLeft}px, ${-scrollTop}px)`;
  };
  useLayoutEffect(scroll, [lines]);
  const onKey = (event) => {
    if (event.key === 'Tab' && !leaves.current && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      indent(field.current, event.shiftKey);
    }
    if (event.key !== 'Shift') leaves.current = event.key === 'Escape';
  };
  return html`
    <div class="editor">
      <div class="editor-side" aria-hidden="true"
        style=${{ minWidth: `calc(${String(lines).length}ch + 1.5rem)` }}><pre class="code-numbers"
        ref=${layers[0]}>${column}</pre></div>
      <div class="editor-main">
        <div class="editor-marks" aria-hidden="true"><div ref=${layers[1]}><${Marks} text=${value}
          faults=${[...faults, ...unseen]} /></div></div>
        <textarea ref=${field} aria-label=${label} aria-invalid=${faults.length > 0} aria-describedby=${toldBy}
          value=${value}
          rows=${Math.min(Math.max(lines + 1, ROWS_MIN), ROWS_MAX)} wrap="off" spellcheck="false" autocapitalize="off"
          autocomplete="off" autocorrect="off" onInput=${(event) => onInput(event.target.value)} onScroll=${scroll}
          onKeyDown=${onKey} onBlur=${() => { leaves.current = false; }} />
      </div>
    </div>
    ${unseen.length > 0 && html`<p class="tone-text-warn" role="status">▲ ${unseen.slice(0, UNSEEN_TOLD).map(({ line, text }) => (
      t('Line {line}: {what}', { line, what: text }))).join('; ')}${unseen.length > UNSEEN_TOLD && ' …'}</p>`}
    <p class="quiet">${t('Tab indents. To leave the editor by keyboard, press Escape, then Tab.')}</p>`;
}

// The lines with characters that cannot be seen or turn what is written: a field shows the text as it is.
const UNSEEN_TOLD = 5;
function unseenOf(text) {
  const plain = text.replaceAll('\r\n', '\n');
  if (visible(plain) === plain) return [];
  const codes = (line) => [...new Set(line)].map((one) => [one, visible(one)]).filter(([one, code]) => one !== code).map(([, code]) => code);
  const lines = plain.split('\n').map((line, index) => ({ line: index + 1, codes: codes(line) }));
  return lines.filter(({ codes: some }) => some.length > 0).map(({ line, codes: some }) => (
    { line, text: t('unseen characters: {codes}', { codes: some.slice(0, UNSEEN_TOLD).join(' ') }) }));
}

// A tint of each line at fault, and what is said of it behind its end.
function Marks({ text, faults }) {
  const lines = text.split('\n');
  const placed = faults.filter(({ line }) => line > 0 && line <= lines.length);
  const byLine = new Map();
  for (const { line, text: said } of placed) byLine.set(line, [...(byLine.get(line) ?? []), said]);
  return [...byLine].map(([line, said]) => html`
    <div class="editor-mark" style=${{ top: `calc(${line - 1} * var(--code-line))` }}>
      <span>${lines[line - 1]}</span><b>■ ${said.join('; ')}</b></div>`);
}

// Moves the selected lines by one step, or puts one where the caret is. It can be undone as what is typed.
function indent(field, isBack) {
  const { value, selectionStart: start, selectionEnd: end } = field;
  if (start === end && !isBack) return type(field, start, end, INDENT);
  const from = value.lastIndexOf('\n', start - 1) + 1;
  const lines = value.slice(from, end).split('\n');
  const moved = lines.map((line) => (isBack ? line.replace(/^( {1,2}|\t)/, '') : line && INDENT + line)).join('\n');
  if (moved === value.slice(from, end)) return;
  type(field, from, end, moved);
  const taken = end - from - moved.length;
  if (start === end) field.setSelectionRange(Math.max(from, start - taken), Math.max(from, start - taken));
  else field.setSelectionRange(from, from + moved.length);
}

function type(field, from, to, text) {
  field.focus();
  field.setSelectionRange(from, to);
  // No other way of changing the text keeps what can be undone.
  const isDone = text === '' ? document.execCommand('delete') : document.execCommand('insertText', false, text);
  if (isDone) return;
  field.setRangeText(text, from, to, 'end');
  field.dispatchEvent(new Event('input', { bubbles: true }));
}

// Puts the caret where a fault is.
export function show(field, { line, column = 1 }) {
  const lines = field.value.split('\n');
  const before = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  const at = Math.min(before + column - 1, field.value.length);
  field.focus();
  field.setSelectionRange(at, at);
  const { lineHeight, fontSize } = getComputedStyle(field);
  field.scrollTop = Math.max(0, (line - 4) * parseFloat(lineHeight));
  // A character of such a font is about three fifths as wide as it is high.
  field.scrollLeft = Math.max(0, column * parseFloat(fontSize) * 0.6 - field.clientWidth * 0.6);
}

const SIGNS = { '+': 'added', '-': 'removed', ' ': 'same' };

// What changed from one text to another.
export function Diff({ label, old, now }) {
  const rows = useMemo(() => diff(old, now), [old, now]);
  const [isWhole, setWhole] = useState(false);
  const [shown, setShown] = useState(DIFF_ROWS);
  const parts = useMemo(() => (isWhole ? rows : folded(rows)), [rows, isWhole]);
  const { added, gone } = tally(rows);
  if (added + gone === 0) return html`<p class="empty">${t('Nothing differs.')}</p>`;
  return html`
    <p class="diff-tally"><span class="tone-text-ok">+${count(added)}</span> <span
      class="tone-text-bad">−${count(gone)}</span>
      <span class="sr">${t('lines added, lines removed')}</span></p>
    <div class="diff" tabindex="0" role="region" aria-label=${label}>
      <table><caption class="sr">${label}</caption><tbody>${parts.slice(0, shown).map((part) => (part.folded
        ? html`<${Fold} count=${part.folded.length} open=${() => setWhole(true)} />`
        : html`<${DiffRow} row=${part} />`))}</tbody></table>
    </div>
    ${parts.length > shown && html`<p class="more"><${Button}
      onClick=${() => setShown(shown + DIFF_ROWS)}>${t('Show more')}<//></p>`}`;
}

const Fold = ({ count: lines, open }) => html`
  <tr class="diff-fold"><td colspan="4"><button type="button" class="plain" onClick=${open}>
    ⋯ ${tn('{n} line that is the same', '{n} lines that are the same', lines)}</button></td></tr>`;

function DiffRow({ row: { sign, text, old, now } }) {
  const hasBreak = text.endsWith('\n');
  const isUnbroken = !hasBreak && sign !== ' ';
  return html`
    <tr class=${classes(`diff-${SIGNS[sign]}`)}>
      <td class="diff-number">${old}</td><td class="diff-number">${now}</td>
      <td class="diff-sign"><span aria-hidden="true">${sign === '-' ? '−' : sign}</span>${sign !== ' ' && html`<span
        class="sr">${t(SIGNS[sign])}</span>`}</td>
      <td class="diff-text">${visible(hasBreak ? text.slice(0, -1) : text)}${isUnbroken && html`<i>${t('no line break at the end')}</i>`}</td>
    </tr>`;
}
