// The rules by their groups, and whether they can be evaluated.

import { html, useState } from './html.js';
import { get } from './api.js';
import { AlertState } from './alerts-active.js';
import { hasText } from './alerts-labels.js';
import { count, seconds, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { pick } from './state.js';
import { Badge, Button, Card, Empty, Loaded, Table, Time } from './ui.js';

const GROUPS_SHOWN = 20;

export function Rules({ filter }) {
  const live = useLive(async (signal) => (await get('/api/v1/rules', signal)).data.groups, ['alerts', 'metrics']);
  const empty = t('There are no rules: [alerts] of the file, or the document bowline/alerts, has them.');
  return html`<${Loaded} of=${live} isEmpty=${(groups) => groups.length === 0} empty=${empty}>
    ${(groups) => html`<${Groups} groups=${groups} filter=${filter} />`}<//>`;
}

function Groups({ groups, filter }) {
  const [shown, setShown] = useState(GROUPS_SHOWN);
  const isWanted = (rule) => rule.name.toLowerCase().includes(filter) || hasText(rule.labels ?? {}, filter);
  const narrowed = (group) => (group.name.toLowerCase().includes(filter) ? group : { ...group, rules: group.rules.filter(isWanted) });
  const found = groups.map(narrowed).filter(({ rules }) => rules.length > 0);
  if (found.length === 0) return html`<${Card}><${Empty}>${t('No rule has that in its name or labels.')}<//><//>`;
  return html`${found.slice(0, shown).map((group) => html`<${Group} key=${group.file + group.name} group=${group} />`)}
    ${found.length > shown && html`<p class="more"><${Button} onClick=${() => setShown(shown + GROUPS_SHOWN)}>${t('Show more')}<//>
      <span class="quiet">${t('{shown} of {all}', { shown, all: found.length })}</span></p>`}`;
}

function Group({ group }) {
  const { name, interval, rules, lastEvaluation, evaluationTime } = group;
  const broken = rules.filter(({ health }) => health === 'err').length;
  const took = t('took {length}', { length: seconds(evaluationTime) });
  const about = html`${t('every {length}', { length: seconds(interval) })} · ${t('evaluated')} <${Time} at=${lastEvaluation} />, ${took}`;
  const some = tn('{n} rule cannot be evaluated', '{n} rules cannot be evaluated', broken);
  return html`<${Card} title=${visible(name)} about=${about} actions=${broken > 0 && html`<${Badge} tone="bad">${some}<//>`}>
    <${Table} label=${t('Rules of {group}', { group: name })} columns=${columns()} rows=${rules} keyOf=${(rule) => rule.name + rule.query} /><//>`;
}

const STATES = ['firing', 'pending', 'inactive'];
const HEALTHS = { ok: 'ok', err: 'bad', unknown: 'quiet' };
const HEALTH_WORDS = { ok: 'ok', err: 'error', unknown: 'unknown' };

const columns = () => [
  { name: t('Rule'), of: (rule) => visible(rule.name), sort: (rule) => rule.name },
  { name: t('State'), of: (rule) => html`<${State} rule=${rule} />`, sort: ({ state }) => STATES.indexOf(state) },
  {
    name: t('For'),
    title: t('how long its expression holds before it fires'),
    isNumber: true,
    of: ({ type, duration }) => (type === 'recording' ? '' : seconds(duration)),
    sort: ({ duration }) => duration,
  },
  { name: t('Health'), of: (rule) => html`<${RuleHealth} rule=${rule} />`, class: 'wrap' },
  { name: t('Expression'), of: (rule) => html`<${Expression} query=${plain(rule.query)} />`, class: 'wrap' },
];

function State({ rule: { type, state, alerts } }) {
  if (type === 'recording') return html`<span class="quiet">${t('records')}</span>`;
  return html`<${AlertState} state=${state} />${alerts?.length > 0 && ` ${count(alerts.length)}`}`;
}

const RuleHealth = ({ rule: { health, lastError } }) => html`
  <${Badge} tone=${pick(HEALTHS, health, 'quiet')}>${t(pick(HEALTH_WORDS, health, health))}<//>
  ${lastError && html` <span class="tone-text-bad">${visible(lastError)}</span>`}`;

const Expression = ({ query }) => html`<a href=${to('metrics', { query })} title=${t('Show it as a graph')}><code>${visible(query)}</code></a>`;

const plain = (query) => query.split(/\s+/).join(' ').trim();
