// Silences: of which alerts nobody is told for a while.

import { html, useEffect, useRef, useState } from './html.js';
import { Problem, del, path, post, serverNow, session } from './api.js';
import { Matchers, equal, parsed } from './alerts-labels.js';
import { Pick } from './alerts-pick.js';
import { useVerdict } from './alerts-verdict.js';
import { visible } from './format.js';
import { t, tn } from './i18n.js';
import { pick } from './state.js';
import { Badge, Card, Field, Loaded, RoleButton, Select, Table, Time, ask } from './ui.js';

const TONES = { active: ['info', 0], pending: ['warn', 1], expired: ['quiet', 2] };
const LASTS = [[1800, '30 min'], [3600, '1 h'], [7200, '2 h'], [28_800, '8 h'], [86_400, '24 h'], [259_200, '3 d'], [604_800, '7 d']];
const TEXT_MAX = 1024;
const NAMED_MAX = 5;

export function Silences({ of, filter }) {
  const has = ({ id, matchers, comment, createdBy }) => [id, comment, createdBy, ...matchers].some((text) => text.toLowerCase().includes(filter));
  const columns = [
    { name: t('Matchers'), of: ({ matchers }) => html`<${Matchers} matchers=${matchers} />`, class: 'wrap' },
    { name: t('State'), of: ({ state }) => html`<${Badge} tone=${pick(TONES, state)?.[0]}>${t(state)}<//>`, sort: ({ state }) => pick(TONES, state)?.[1] },
    { name: t('Until'), of: ({ endsAt }) => html`<${Time} at=${endsAt} />`, sort: ({ endsAt }) => Date.parse(endsAt) },
    { name: t('By'), of: ({ createdBy }) => visible(createdBy), sort: ({ createdBy }) => createdBy },
    { name: t('Why'), of: ({ comment }) => visible(comment), class: 'wrap' },
    { name: t('Silence'), of: ({ id }) => html`<code>${id}</code>` },
    { name: t('Acts'), of: (silence) => silence.state !== 'expired' && html`<${EndButton} silence=${silence} reload=${of.reload} />` },
  ];
  return html`<${Card}><${Loaded} of=${of}>${(silences) => html`<${Table} label=${t('Silences')} columns=${columns} keyOf=${({ id }) => id}
    rows=${silences.filter(has).sort((a, b) => TONES[a.state][1] - TONES[b.state][1] || Date.parse(b.endsAt) - Date.parse(a.endsAt))}
    empty=${silences.length === 0 ? t('Nothing is silenced.') : t('No silence has that.')} />`}<//><//>`;
}

const EndButton = ({ silence, reload }) => html`
  <${RoleButton} role="editor" onClick=${() => expire(silence, reload)}>${t('End now')}<//>`;

async function expire(silence, reload) {
  const isDone = await ask({
    title: t('End silence {id}', { id: silence.id }),
    touches: [silence.matchers.join(' '), t('People are told of these alerts again.')],
    word: t('End now'),
    act: () => del(path('/v1/alerts/silences', silence.id)),
    done: t('The silence is over.'),
  });
  if (isDone) reload();
}

// Asks what to silence, for how long, and why. `alert`: begins with its labels.
export async function silenceDialog({ alert, active, reload }) {
  const { alertname, ...rest } = alert?.labels ?? {};
  const others = Object.entries(rest).sort(([a], [b]) => a.localeCompare(b, 'en'));
  const matchers = [...(alertname ? [['alertname', alertname]] : []), ...others].map(([name, value]) => equal(name, value));
  const draft = { matchers: matchers.join('\n'), lasts: '7200', until: '', comment: '', by: session.get()?.name ?? '' };
  const isDone = await ask({
    title: alert ? t('Silence {alert}', { alert: alert.labels.alertname }) : t('New silence'),
    body: html`<${Form} draft=${draft} active=${active} />`,
    word: t('Silence'),
    act: () => make(draft),
    done: t('The silence holds.'),
  });
  if (isDone) reload();
}

const linesOf = (text) => text.split('\n').map((line) => line.trim()).filter(Boolean);

function make({ matchers, lasts, until, comment, by }) {
  const end = lasts === 'until' ? Date.parse(until) : serverNow() + Number(lasts) * 1000;
  if (!(end > serverNow())) throw new Problem(0, { detail: t('A silence ends in the future.') });
  const wrong = linesOf(matchers).find((line) => !parsed(line));
  if (wrong !== undefined) throw new Problem(0, { detail: t('`{text}` is no matcher: write NAME="VALUE", with =, !=, =~ or !~.', { text: wrong }) });
  const endsAt = new Date(end).toISOString();
  return post('/v1/alerts/silences', { matchers: linesOf(matchers), endsAt, createdBy: by.trim(), comment: comment.trim() });
}

function Form({ draft, active }) {
  const [, draw] = useState(0);
  const set = (name) => (value) => {
    draft[name] = value;
    draw((count) => count + 1);
  };
  const input = (name, rest) => html`
    <input value=${draft[name]} onInput=${(event) => set(name)(event.target.value)} required maxlength=${TEXT_MAX} ...${rest} />`;
  const lines = linesOf(draft.matchers);
  const verdict = useVerdict(lines, active);
  const field = useRef();
  // The browser sends no form that holds what is not valid.
  useEffect(() => field.current.setCustomValidity(verdict.wrong ?? ''), [verdict.wrong]);
  const lasts = [...LASTS.map(([length, name]) => [String(length), name]), ['until', t('until …')]];
  return html`
    <${Field} name=${t('Matchers, one a line; all must match')} hint=${t('NAME="VALUE", with =, !=, =~ or !~')}>
      <textarea ref=${field} rows="4" required aria-invalid=${verdict.wrong ? 'true' : undefined} value=${draft.matchers} onInput=${(event) => set('matchers')(event.target.value)} spellcheck=${false} /><//>
    <${Pick} active=${active} onAdd=${(matcher) => set('matchers')([...linesOf(draft.matchers), matcher].join('\n'))} />
    <${Hit} matchers=${lines} verdict=${verdict} />
    <div class="form-grid">
      <${Select} name=${t('For')} value=${draft.lasts} onPick=${set('lasts')} options=${lasts} />
      ${draft.lasts === 'until' && html`<${Field} name=${t('Until')}>${input('until', { type: 'datetime-local' })}<//>`}
      ${!session.get()?.name && html`<${Field} name=${t('Your name')}>${input('by', { autocomplete: 'name' })}<//>`}
    </div>
    <${Field} name=${t('Why')}>${input('comment')}<//>`;
}

// Which of the alerts there are now it would silence, or why it would be refused.
function Hit({ matchers, verdict: { wrong, hit } }) {
  if (matchers.length === 0) return null;
  if (wrong) return html`<p class="tone-text-bad" role="alert">${t('Not valid:')} ${visible(wrong)}</p>`;
  if (hit === null) return html`<p class="quiet">${t('Which alerts a regular expression fits, the server says.')}</p>`;
  if (hit.length === 0) return html`<p class="quiet">${t('It touches no alert that is pending or fires now.')}</p>`;
  return html`<p>${tn('It touches {n} alert of now:', 'It touches {n} alerts of now:', hit.length)}</p>
    <ul class="touches">${hit.slice(0, NAMED_MAX).map(({ labels, state }) => html`
      <li>${visible(labels.alertname)} ${visible(labels.service)} <span class="quiet">${t(state)}</span></li>`)}
      ${hit.length > NAMED_MAX && html`<li class="quiet">…</li>`}</ul>`;
}
