// Metrics: PromQL over a time, several expressions at once. What is shown stands in the address, a run a step of it.

import { html, useEffect, useRef, useState } from './html.js';
import { t } from './i18n.js';
import { goQuery } from './route.js';
import { Button, Card, Page, Select } from './ui.js';
import { EXPRESSIONS_MAX, timeOf, unitOptions } from './metrics-data.js';
import { Editor } from './metrics-editor.js';
import { Earlier, Metrics, Starts, earlier, remember } from './metrics-help.js';
import { Panel } from './metrics-panel.js';
import { TimePicker } from './metrics-time.js';

const NAMES = 'ABCDEFGH';
const places = Array.from({ length: EXPRESSIONS_MAX }, (_, index) => String(index || ''));

// The expressions of the address: `query`, `query1`, …, each with its unit where one was picked.
const readOf = (query) => places.filter((place) => query[`query${place}`])
  .map((place) => ({ expression: query[`query${place}`], unit: query[`unit${place}`] ?? '' }));

function write(list) {
  const pairs = places.flatMap((place, index) => [[`query${place}`, list[index]?.expression], [`unit${place}`, list[index]?.unit]]);
  goQuery(Object.fromEntries(pairs), { replace: false });
}

export default function MetricsPage({ query }) {
  const run = readOf(query);
  const time = timeOf(query);
  const key = JSON.stringify(run);
  const [drafts, setDrafts] = useState(run.length > 0 ? run : [{ expression: '', unit: '' }]);
  useEffect(() => {
    if (run.length > 0) setDrafts(run);
  }, [key]);
  const go = (list) => {
    const filled = list.map((one) => ({ ...one, expression: one.expression.trim() })).filter(({ expression }) => expression);
    remember(filled.map(({ expression }) => expression));
    setDrafts(filled.length > 0 ? filled : [{ expression: '', unit: '' }]);
    write(filled);
  };
  const add = (expression) => {
    const filled = drafts.filter((one) => one.expression.trim());
    go([...filled.slice(0, EXPRESSIONS_MAX - 1), { expression, unit: '' }]);
  };
  const pickTime = ({ range, from, to }) => (
    goQuery({ range, from: from && Math.floor(from), to: to && Math.ceil(to) }, { replace: false }));
  return html`
    <${Page} title=${t('Metrics')} about=${t('PromQL over what every process tells of itself.')}>
      <div class="card"><${TimePicker} time=${time} onPick=${pickTime} /></div>
      ${drafts.map((draft, index) => html`
        <${Expression} key=${index} index=${index} draft=${draft} run=${run[index]} time=${time} isOnly=${drafts.length === 1}
          onChange=${(changes) => setDrafts(drafts.map((one, at) => (at === index ? { ...one, ...changes } : one)))}
          onUnit=${(unit) => go(drafts.map((one, at) => (at === index ? { ...one, unit } : one)))}
          onRun=${() => go(drafts)} onRemove=${() => go(drafts.filter((_, at) => at !== index))}
          onZoom=${(from, to) => pickTime({ from, to })} />`)}
      <div class="actions"><${Button} isDisabled=${drafts.length >= EXPRESSIONS_MAX || drafts.some(({ expression }) => !expression.trim())}
        onClick=${() => setDrafts([...drafts, { expression: '', unit: '' }])}>${t('Another expression')}<//></div>
      <${Starts} isOpen=${run.length === 0} onPick=${add} />
      <${Earlier} expressions=${earlier()} onPick=${add} />
      <${Metrics} onPick=${add} />
    <//>`;
}

function Expression({ index, draft, run, time, isOnly, onChange, onUnit, onRun, onRemove, onZoom }) {
  const area = useRef();
  const { expression } = draft;
  const isChanged = expression.trim() !== (run?.expression ?? '');
  const goTo = (offset) => {
    area.current.focus();
    area.current.setSelectionRange(offset, Math.min(expression.length, offset + 1));
  };
  const actions = html`
    <${Select} name=${t('Unit')} value=${draft.unit} options=${unitOptions(expression)} onPick=${onUnit} />
    ${(!isOnly || expression) && html`<${Button} onClick=${onRemove}>${isOnly ? t('Clear') : t('Remove')}<//>`}`;
  return html`
    <${Card} title=${t('Expression {name}', { name: NAMES[index] })} actions=${actions}
      about=${isChanged && expression ? t('changed, not run') : undefined}>
      <div class="promql-row">
        <${Editor} id=${`promql-${index}`} label=${t('PromQL of expression {name}', { name: NAMES[index] })} value=${expression}
          place=${area} onChange=${(text) => onChange({ expression: text })} onRun=${onRun} />
        <${Button} tone="main" onClick=${onRun} isDisabled=${!expression.trim()} title=${t('Ctrl+Enter')}>${t('Run')}<//>
      </div>
      ${run && html`<${Panel} expression=${run.expression} unit=${run.unit} time=${time} onZoom=${onZoom} onPlace=${goTo} />`}
    <//>`;
}
