// A matcher made of what there is: names and values of labels that alerts and rules of now have.

import { html, useState } from './html.js';
import { get } from './api.js';
import { equal } from './alerts-labels.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { Button, Field } from './ui.js';

// Every alert of a service has these.
const USUAL = ['alertname', 'service', 'severity'];
const OFFERED_MAX = 200;
const NONE = { name: '', value: '' };

// The values of each name that are known of alerts, rules and services. What a rule makes of the series at hand is no
// value yet.
function knownLabels(alerts, { groups, services }) {
  const known = new Map(USUAL.map((name) => [name, new Set()]));
  for (const { name } of services) known.get('service').add(name);
  const learn = ([name, value]) => {
    if (!known.has(name)) known.set(name, new Set());
    if (!value.includes('{{')) known.get(name).add(value);
  };
  for (const { labels } of alerts) Object.entries(labels).forEach(learn);
  for (const { type, name, labels = {} } of groups.flatMap(({ rules }) => rules)) {
    if (type === 'alerting') Object.entries({ ...labels, alertname: name }).forEach(learn);
  }
  return known;
}

async function load(signal) {
  const [rules, { services }] = await Promise.all([get('/api/v1/rules', signal), get('/v1/services', signal)]);
  return { groups: rules.data.groups, services };
}

export function Pick({ active, onAdd }) {
  const { data } = useLive(load, null);
  const known = knownLabels(active, data ?? { groups: [], services: [] });
  const [{ name, value }, draw] = useState(NONE);
  const isWhole = /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name);
  const add = () => {
    if (!isWhole) return;
    onAdd(equal(name, value));
    draw(NONE);
  };
  // The form is not sent by it.
  const onKey = (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    add();
  };
  const input = (word, list, text, set) => html`<${Field} name=${word}><input list=${list} value=${text} autocomplete="off"
    spellcheck="false" onInput=${(event) => draw(set(event.target.value))} onKeyDown=${onKey} /><//>`;
  return html`<div class="pick">
    ${input(t('Label'), 'pick-names', name, (text) => ({ name: text, value }))}
    ${input(t('Value'), 'pick-values', value, (text) => ({ name, value: text }))}
    <${Button} onClick=${add} isDisabled=${!isWhole}>${t('Add the matcher')}<//>
    <${Offer} id="pick-names" texts=${[...known.keys()]} />
    <${Offer} id="pick-values" texts=${[...known.get(name) ?? []]} />
  </div>`;
}

const Offer = ({ id, texts }) => html`<datalist id=${id}>${texts.sort().slice(0, OFFERED_MAX).map((text) => html`
  <option value=${text} />`)}</datalist>`;
