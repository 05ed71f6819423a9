// Where PromQL is written: Ctrl+Enter runs it, and a list says what can stand at the caret.

import { html, useEffect, useLayoutEffect, useRef, useState } from './html.js';
import { t } from './i18n.js';
import { classes } from './ui.js';
import { completed, contextAt, suggestions } from './metrics-complete.js';

const AFTER_MS = 120;

export function Editor({ id, label, value, onChange, onRun, place }) {
  const area = useRef();
  const list = useSuggestions();
  const caret = useRef(null);
  useLayoutEffect(() => {
    if (caret.current === null) return;
    area.current.setSelectionRange(caret.current, caret.current);
    caret.current = null;
  }, [value]);
  useEffect(() => {
    if (place) place.current = area.current;
  }, []);
  const accept = (one) => {
    const next = completed(value, area.current.selectionStart, list.context, one);
    caret.current = next.caret;
    list.close();
    onChange(next.value);
    area.current.focus();
  };
  const onInput = (event) => {
    onChange(event.target.value);
    list.look(event.target.value, event.target.selectionStart);
  };
  const onKey = (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      list.close();
      onRun();
    } else if (event.key === ' ' && event.ctrlKey) {
      event.preventDefault();
      list.look(value, area.current.selectionStart, true);
    } else list.onKey(event, accept);
  };
  const isOpen = list.all.length > 0;
  const rows = Math.min(12, Math.max(2, value.split('\n').length));
  return html`
    <div class="promql">
      <textarea ref=${area} id=${id} class="code-input" rows=${rows} value=${value} aria-label=${label} aria-autocomplete="list"
        aria-controls=${isOpen ? `${id}-list` : undefined} aria-activedescendant=${isOpen ? `${id}-${list.at}` : undefined}
        placeholder="sum by (service) (rate(bowline_requests_total[1m]))" autocomplete="off" autocapitalize="off" spellcheck=${false}
        onInput=${onInput} onKeyDown=${onKey} onBlur=${list.close} onClick=${list.close} />
      ${isOpen && html`<${Suggestions} id=${id} list=${list} onPick=${accept} />`}
    </div>`;
}

function useSuggestions() {
  const [state, setState] = useState({ all: [], at: 0, context: null });
  const due = useRef({ timer: null, turn: 0 });
  useEffect(() => () => clearTimeout(due.current.timer), []);
  const close = () => {
    clearTimeout(due.current.timer);
    due.current.turn += 1;
    setState((now) => (now.all.length > 0 ? { all: [], at: 0, context: null } : now));
  };
  const look = (text, caret, isAsked = false) => {
    close();
    const context = contextAt(text, caret);
    if (!context || (!isAsked && context.kind === 'name' && context.prefix.length === 0)) return;
    const { turn } = due.current;
    due.current.timer = setTimeout(async () => {
      const all = await suggestions(context).catch(() => []);
      if (due.current.turn === turn) setState({ all, at: 0, context });
    }, isAsked ? 0 : AFTER_MS);
  };
  const onKey = (event, accept) => {
    const { all, at } = state;
    if (all.length === 0) return;
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (step) setState({ ...state, at: moved(at, step, all.length) });
    else if (event.key === 'Enter' || event.key === 'Tab') accept(all[at]);
    else if (event.key === 'Escape') close();
    else return;
    event.preventDefault();
  };
  return { ...state, look, close, onKey };
}

// One by one it goes round, in leaps it stops at the ends.
const moved = (at, step, size) => (Math.abs(step) === 1 ? (at + step + size) % size : Math.min(size - 1, Math.max(0, at + step)));

function Suggestions({ id, list: { all, at }, onPick }) {
  const current = useRef();
  useLayoutEffect(() => current.current?.scrollIntoView({ block: 'nearest' }), [at]);
  const pick = (one) => (event) => {
    // The text keeps the focus.
    event.preventDefault();
    onPick(one);
  };
  return html`<ul class="suggestions" id=${`${id}-list`} role="listbox" aria-label=${t('What can stand here')}>
    ${all.map((one, index) => html`<li key=${one.kind + one.text} id=${`${id}-${index}`} role="option"
      ref=${index === at ? current : undefined} aria-selected=${index === at ? 'true' : 'false'} class=${classes(index === at && 'is-selected')}
      onPointerDown=${pick(one)}><code>${one.text}</code>${one.about && html` <span class="quiet">${one.about}</span>`}</li>`)}
  </ul>`;
}
