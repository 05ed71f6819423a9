// Which time is looked at: the last hour or so, or from when until when.

import { html, useEffect, useState } from './html.js';
import { serverNow } from './api.js';
import { t } from './i18n.js';
import { Button, Field } from './ui.js';
import { RANGES, stepsOf } from './metrics-data.js';

const NAMES = { '15m': '15 min', '1h': '1 h', '6h': '6 h', '24h': '24 h' };

// What the browser's field for a moment takes, in the reader's own time.
const two = (value) => String(value).padStart(2, '0');
function shown(at) {
  const day = new Date(at * 1000);
  const date = [day.getFullYear(), two(day.getMonth() + 1), two(day.getDate())].join('-');
  return `${date}T${[day.getHours(), day.getMinutes(), day.getSeconds()].map(two).join(':')}`;
}

// `onPick({ range })` or `onPick({ from, to })`.
export function TimePicker({ time, onPick }) {
  const { start, end } = stepsOf(time);
  const move = (share) => {
    const by = Math.round((end - start) * share);
    onPick({ from: start + by, to: end + by });
  };
  const wider = () => {
    const by = Math.round((end - start) / 2);
    onPick({ from: Math.max(1, start - by), to: Math.min(Math.floor(serverNow() / 1000), end + by) });
  };
  return html`
    <div class="filters times">
      <div class="field"><span id="times-last">${t('The last')}</span>
        <div class="segments" role="group" aria-labelledby="times-last">${RANGES.map(([id]) => html`
        <button type="button" key=${id} aria-pressed=${time.range === id} onClick=${() => onPick({ range: id })}>${NAMES[id]}</button>`)}</div></div>
      <${Own} time=${time} start=${start} end=${end} onPick=${onPick} />
      <div class="actions">
        <${Arrow} name=${t('Half of this time back')} sign="←" onClick=${() => move(-0.5)} />
        <${Arrow} name=${t('Half of this time on')} sign="→" onClick=${() => move(0.5)} isDisabled=${Boolean(time.range)} />
        <${Button} onClick=${wider}>${t('Wider')}<//>
      </div>
    </div>`;
}

const Arrow = ({ name, sign, ...rest }) => html`
  <${Button} title=${name} ...${rest}><span aria-hidden="true">${sign}</span><span class="sr">${name}</span><//>`;

function Own({ time, start, end, onPick }) {
  const [draft, setDraft] = useState({});
  const key = JSON.stringify(time);
  useEffect(() => setDraft({}), [key]);
  const value = { from: draft.from ?? shown(start), to: draft.to ?? shown(end) };
  const [from, to] = [Date.parse(value.from) / 1000, Date.parse(value.to) / 1000];
  const isGood = from > 0 && to > from;
  const isChanged = draft.from !== undefined || draft.to !== undefined;
  const submit = (event) => {
    event.preventDefault();
    if (isGood) onPick({ from, to });
  };
  const field = (name, id) => html`<${Field} name=${name}>
    <input type="datetime-local" step="1" value=${value[id]} aria-invalid=${isGood ? undefined : 'true'}
    onInput=${(event) => setDraft({ ...draft, [id]: event.target.value })} /><//>`;
  return html`<form class="filters" onSubmit=${submit}>${field(t('From'), 'from')}${field(t('Until'), 'to')}
    ${isChanged && html`<${Button} kind="submit" isDisabled=${!isGood}>${t('Show')}<//>`}</form>`;
}
