// What became of alerts, who was told or was not and why, and whom there is to tell.

import { html } from './html.js';
import { get, path, post } from './api.js';
import { AlertState, valueOf } from './alerts-active.js';
import { Labels, Matchers, hasText } from './alerts-labels.js';
import { ABSENT, moment, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { pick } from './state.js';
import { Badge, Card, Loaded, RoleButton, Table, Time, ask } from './ui.js';

export function History({ filter }) {
  const live = useLive(async (signal) => (await get('/v1/alerts/history', signal)).transitions, ['alerts']);
  const columns = [
    { name: t('When'), of: ({ at }) => html`<${Time} at=${at} />`, sort: ({ at }) => Date.parse(at) },
    { name: t('Alert'), of: ({ labels }) => html`<${Name} labels=${labels} />`, sort: ({ labels }) => labels.alertname ?? '' },
    {
      name: t('Change'),
      of: (change) => html`<span class="quiet">${t(change.from)} →</span> <${AlertState} state=${change.to} />`,
      sort: (change) => change.to,
    },
    { name: t('Value'), isNumber: true, of: ({ value }) => valueOf(value) },
    { name: t('Labels'), of: ({ labels }) => html`<${Labels} labels=${labels} />` },
  ];
  return html`<${Card}><${Loaded} of=${live}>${(changes) => html`
    <${Table} label=${t('History of alerts')} columns=${columns} rows=${changes.filter(({ labels }) => hasText(labels, filter))}
      keyOf=${({ at, labels, to: became }) => at + became + JSON.stringify(labels)}
      empty=${changes.length === 0 ? t('Nothing has changed yet.') : t('None has that among its labels.')} />`}<//><//>`;
}

const Name = ({ labels: { alertname } }) => html`<a href=${to('alerts', { tab: 'rules', q: alertname })}>${visible(alertname)}</a>`;

// What was decided, in words; the tone says whether somebody knows of it who should.
const DECISIONS = {
  grouped: ['quiet', 'waits for its group'],
  sending: ['info', 'being sent'],
  sent: ['ok', 'sent'],
  failed: ['bad', 'failed'],
  not_set: ['warn', 'its address is not set'],
  interrupted: ['warn', 'interrupted'],
  silenced: ['quiet', 'silenced'],
  unchanged: ['quiet', 'nothing new'],
  no_receiver: ['warn', 'nobody takes it'],
  resolve_unwanted: ['quiet', 'its end is not wanted'],
  never_told: ['quiet', 'it ended before anybody was told'],
};
const BECAUSE = { news: 'something new', again: 'it may have arrived before', repeat: 'a reminder' };

export function Notifications({ filter }) {
  const live = useLive(async (signal) => (await get('/v1/alerts/notifications', signal)).notifications, ['alerts']);
  const textsOf = ({ receiver, group, alerts, decision }) => [receiver, group, decision.decision, ...alerts];
  const has = (entry) => textsOf(entry).some((text) => text.toLowerCase().includes(filter));
  const columns = [
    { name: t('When'), of: ({ at_ms: at }) => html`<${Time} at=${at} />`, sort: ({ at_ms: at }) => at },
    { name: t('Receiver'), of: ({ receiver }) => html`<span class="one">${visible(receiver || ABSENT)}</span>`, sort: ({ receiver }) => receiver },
    {
      name: t('Decision'),
      of: ({ decision }) => html`<${Decision} decision=${decision} />`,
      class: 'wrap',
      sort: ({ decision }) => decision.decision,
    },
    { name: t('Alerts'), of: (one) => html`<${Told} entry=${one} />`, class: 'wrap' },
  ];
  return html`<${Card} title=${t('Who was told, or was not, and why')}><${Loaded} of=${live}>${(entries) => html`
    <${Table} label=${t('Notifications')} columns=${columns} rows=${entries.filter(has)}
      keyOf=${({ id }) => id} empty=${entries.length === 0 ? t('Nobody was to be told of anything.') : t('None has that.')} />`}<//><//>`;
}

function Decision({ decision: { decision, status, because, attempts, error, silence, until_ms: until } }) {
  const [tone, word] = pick(DECISIONS, decision, ['quiet', decision]);
  const parts = [
    status && t(status),
    because && t(pick(BECAUSE, because, because)),
    attempts > 1 && tn('{n} attempt', '{n} attempts', attempts),
    silence && html`${t('by silence')} <a href=${to('alerts', { tab: 'silences', q: silence })}><code>${silence}</code></a>`,
    until && t('until {moment}', { moment: moment(until) }),
  ].filter(Boolean);
  return html`<${Badge} tone=${tone}>${t(word)}<//> <span class="quiet">${parts.map((part, index) => html`${index > 0 && ', '}${part}`)}</span>
    ${error && html`<span class="tone-text-bad"> ${visible(error)}</span>`}`;
}

function Told({ entry: { alerts, alert_count: all } }) {
  const [first, ...rest] = alerts;
  if (all <= 1) return html`<code>${visible(first)}</code>`;
  return html`<details><summary><code>${visible(first)}</code> <span class="quiet">${tn('and {n} more', 'and {n} more', all - 1)}</span></summary>
    <ul>${rest.map((text) => html`<li><code>${visible(text)}</code></li>`)}${all > alerts.length && html`<li class="quiet">…</li>`}</ul></details>`;
}

// Whom there is to tell: the document `bowline/alerts` says it.
export function Receivers() {
  const live = useLive(receivers, ['config', 'alerts']);
  const columns = [
    { name: t('Receiver'), of: ({ name }) => name, sort: ({ name }) => name },
    { name: t('Webhook'), of: (receiver) => html`<${Webhook} of=${receiver} />`, class: 'wrap' },
    { name: t('Takes'), of: ({ matchers = [] }) => (matchers.length > 0 ? html`<${Matchers} matchers=${matchers} />` : html`<span class="one">${t('what no other takes')}</span>`) },
    { name: t('Told of ends'), of: ({ send_resolved: isTold }) => (isTold === false ? t('not told') : t('told')) },
    { name: t('Acts'), of: ({ name }) => html`<${RoleButton} role="editor" onClick=${() => test(name)}>${t('Send a test')}<//>` },
  ];
  const empty = t('There are none: nobody is told of alerts. [alerts.receivers] of the file, or the document bowline/alerts, has them.');
  return html`<${Card} title=${t('Receivers')} about=${html`<a href=${to('config', 'bowline', 'alerts')}>bowline/alerts</a>`}>
    <${Loaded} of=${live}>${({ list, format }) => (format === 'json'
      ? html`<${Table} label=${t('Receivers')} columns=${columns} rows=${list} keyOf=${({ name }) => name} empty=${empty} />`
      : html`<p class="quiet">${t('The document is written in {format}, which only its own page shows.', { format })}</p>`)}<//><//>`;
}

async function receivers(signal) {
  const { documents } = await get('/v1/config?namespace=bowline', signal);
  if (!documents.some(({ key }) => key === 'bowline/alerts')) return { list: [], format: 'json' };
  const [{ document: { format, text } }, { notifications }] = await Promise.all([
    get('/v1/config/bowline/alerts', signal), get('/v1/alerts/notifications', signal),
  ]);
  const list = format === 'json' ? JSON.parse(text).receivers ?? [] : [];
  return { list: list.map((receiver) => ({ ...receiver, missing: missingOf(receiver, notifications) })), format };
}

const TRIED = ['sent', 'failed', 'not_set'];

// What was missing when it was last to be told; of the newest decisions, the first.
function missingOf({ name }, notifications) {
  const last = notifications.find(({ receiver, decision }) => receiver === name && TRIED.includes(decision.decision));
  return last?.decision.decision === 'not_set' ? last.decision.error : null;
}

const Webhook = ({ of: { webhook, missing } }) => html`<code>${shown(webhook)}</code>${missing
  && html` <${Badge} tone="warn" title=${visible(missing)}>${t('its address is not set')}<//>`}`;

// Of an address scheme and host only: what follows may be a secret.
function shown(webhook = '') {
  if (/^(env|file):/.test(webhook)) return webhook;
  try {
    const { protocol, host } = new URL(webhook);
    return `${protocol}//${host}/…`;
  } catch {
    return ABSENT;
  }
}

async function test(name) {
  const answered = {};
  const isDone = await ask({
    title: t('Send a test to {receiver}', { receiver: name }),
    touches: [t('{receiver} gets one notification, which says that it is a test', { receiver: name })],
    word: t('Send'),
    act: async () => {
      Object.assign(answered, await post(`${path('/v1/alerts/receivers', name)}/test`));
      if (answered.status < 200 || answered.status > 299) throw new Error(t('{receiver} answered {status}: {text}', { receiver: name, ...answered }));
    },
    done: t('The receiver took it.'),
  });
  return isDone;
}
