// A trace beside another: which service's work took longer, was done more often, or is only in one of them.

import { html, useMemo, useState } from './html.js';
import { get, withQuery } from './api.js';
import { count, nanos, visible } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Button, Field, Loaded, Table, say } from './ui.js';
import { criticalOf, rootOf } from './traces-model.js';

// Of how many that did the same a typical one is taken.
const ALIKE = 200;

// `load(id, signal)` answers the model of a trace.
export function Compare({ model, id, other, load }) {
  const root = rootOf(model);
  const [wanted, setWanted] = useState('');
  const [isSearching, setIsSearching] = useState(false);
  const pick = (picked) => goQuery({ with: picked }, { replace: false });
  const submit = (event) => {
    event.preventDefault();
    pick(wanted.trim().toLowerCase());
  };
  const typical = async () => {
    setIsSearching(true);
    try {
      const found = await alike(root, id);
      if (found) pick(found.trace_id);
      else say(t('There is no other of its kind.'));
    } catch (error) {
      say(error.message);
    }
    setIsSearching(false);
  };
  return html`
    <details class="card" open=${Boolean(other)}><summary>${t('Compare with another trace')}</summary>
      <form class="filters" onSubmit=${submit}>
        <${Button} onClick=${typical} isDisabled=${isSearching}>${t('With a typical one of its kind')}<//>
        <${Field} name=${t('Or by its id')}><input type="text" class="mono" size="34" value=${wanted} autocomplete="off" spellcheck=${false}
          placeholder=${t('32 hexadecimal digits')} onInput=${(event) => setWanted(event.target.value)} /><//>
        <${Button} kind="submit" isDisabled=${!wanted.trim()}>${t('Compare')}<//>
        ${other && html`<${Button} onClick=${() => pick(undefined)}>${t('Clear')}<//>`}
      </form>
      ${other && html`<${Beside} key=${other} model=${model} other=${other} load=${load} />`}
    </details>`;
}

// The one in the middle, by duration, of those that began with the same span of late.
async function alike({ service, name }, id) {
  const { traces } = await get(withQuery('/v1/traces', { service, operation: name, error: 'false', limit: ALIKE }));
  const same = traces.filter((trace) => trace.service === service && trace.name === name && trace.trace_id !== id);
  return same.sort((a, b) => a.duration_nanos - b.duration_nanos)[Math.floor(same.length / 2)];
}

function Beside({ model, other, load }) {
  const live = useLive((signal) => load(other, signal), null, [other]);
  return html`<${Loaded} of=${live}>${(found) => html`<${Differences} model=${model} found=${found} other=${other} />`}<//>`;
}

function Differences({ model, found, other }) {
  const rows = useMemo(() => differences(model, found), [model, found]);
  const more = (value) => (value > 0 ? `+${nanos(value)}` : value < 0 ? `−${nanos(-value)}` : nanos(0));
  const columns = [
    { name: t('Service · name'), of: ({ service, name }) => html`<bdi>${visible(`${service} · ${name}`)}</bdi>`,
      sort: ({ service, name }) => `${service} ${name}` },
    { name: t('Difference'), isNumber: true, of: ({ difference }) => more(difference), sort: ({ difference }) => difference },
    { name: t('Waited for here'), isNumber: true, of: ({ here }) => nanos(here.length), sort: ({ here }) => here.length },
    { name: t('Waited for there'), isNumber: true, of: ({ there }) => nanos(there.length), sort: ({ there }) => there.length },
    { name: t('Spans here'), isNumber: true, of: ({ here }) => count(here.spans), sort: ({ here }) => here.spans },
    { name: t('Spans there'), isNumber: true, of: ({ there }) => count(there.spans), sort: ({ there }) => there.spans },
  ];
  return html`
    <p class="more"><span>${t('Here it took {here}, there {there}.', { here: nanos(model.total), there: nanos(found.total) })}</span>
      <a href=${to('traces', other)}>${t('Open that trace')}</a></p>
    <${Table} label=${t('Compare with another trace')} columns=${columns} rows=${rows} keyOf=${({ service, name }) => `${service} ${name}`} />`;
}

// By service and name, the greatest difference first.
function differences(model, found) {
  const rows = new Map();
  const none = { spans: 0, length: 0 };
  const add = (parts, side) => {
    for (const { service, name, ...part } of parts) {
      const key = JSON.stringify([service, name]);
      const row = rows.get(key) ?? { service, name, here: none, there: none };
      rows.set(key, { ...row, [side]: part });
    }
  };
  add(criticalOf(model, { isWhole: true }), 'here');
  add(criticalOf(found, { isWhole: true }), 'there');
  const all = [...rows.values()].map((row) => ({ ...row, difference: row.here.length - row.there.length }));
  return all.sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference));
}
