// The alerts that are pending or fire.

import { html } from './html.js';
import { Labels, hasText, isMatching } from './alerts-labels.js';
import { number, visible } from './format.js';
import { t } from './i18n.js';
import { to } from './route.js';
import { pick } from './state.js';
import { Badge, Card, Loaded, RoleButton, Table, Time } from './ui.js';

const STATES = { firing: ['bad', 0], pending: ['warn', 1], resolved: ['ok', 2], inactive: ['quiet', 3] };

export const AlertState = ({ state }) => html`<${Badge} tone=${pick(STATES, state, ['quiet'])[0]}>${t(state)}<//>`;

export function Active({ of, silences, filter, onSilence }) {
  const held = silences.filter(({ state }) => state === 'active');
  return html`<${Card}><${Loaded} of=${of}>${(alerts) => html`
    <${Table} label=${t('Active alerts')} columns=${columns(held, onSilence)} keyOf=${({ labels }) => JSON.stringify(labels)}
      rows=${alerts.filter(({ labels }) => hasText(labels, filter)).sort(worstFirst)}
      empty=${alerts.length === 0 ? t('No alert is pending or fires.') : t('None has that among its labels.')} />`}<//><//>`;
}

const worstFirst = (a, b) => STATES[a.state][1] - STATES[b.state][1] || Date.parse(b.activeAt) - Date.parse(a.activeAt);

const columns = (silences, onSilence) => [
  { name: t('Alert'), of: (alert) => html`<${Name} alert=${alert} />`, sort: ({ labels }) => labels.alertname, class: 'wrap' },
  {
    name: t('State'),
    of: (alert) => html`<${AlertState} state=${alert.state} /> <${Silenced} alert=${alert} silences=${silences} />`,
    sort: ({ state }) => STATES[state][1],
  },
  { name: t('Since'), of: ({ activeAt }) => html`<${Time} at=${activeAt} />`, sort: ({ activeAt }) => Date.parse(activeAt) },
  {
    name: t('Value'),
    isNumber: true,
    title: t('of its expression, in the unit that has'),
    of: ({ value }) => valueOf(value),
    sort: ({ value }) => Number(value),
  },
  { name: t('Labels'), of: ({ labels }) => html`<${Labels} labels=${labels} />` },
  { name: t('Acts'), of: (alert) => html`<${RoleButton} role="editor" onClick=${() => onSilence(alert)}>${t('Silence')}<//>` },
];

const Name = ({ alert: { labels, annotations } }) => html`
  <a href=${to('alerts', { tab: 'rules', q: labels.alertname })}>${visible(labels.alertname)}</a>
  <span class="quiet below-name">${visible(annotations.summary ?? annotations.description)}</span>`;

// What an expression gave, as text; it may be infinite or no number.
export const valueOf = (value) => (Number.isFinite(Number(value)) && value !== '' ? number(Number(value)) : value);

function Silenced({ alert, silences }) {
  const one = silences.find(({ matchers }) => isMatching(matchers, alert.labels));
  return one && html`<a href=${to('alerts', { tab: 'silences', q: one.id })} title=${visible(one.comment)}><${Badge}>${t('silenced')}<//></a>`;
}
