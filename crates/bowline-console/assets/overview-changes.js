// What changed lately, and the words for it: the server tells what happened in English sentences of its own.

import { html, useEffect, useState } from './html.js';
import { get, withQuery } from './api.js';
import { reasonText } from './deployments-model.js';
import { actorName, count, visible } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { pick } from './state.js';
import { Badge, Button, Card, Loaded, Select, Table, Time, healthTone, withCode } from './ui.js';

// How many are asked for, and how many where more are wanted; the last is the most of one answer.
const SIZES = [30, 100, 300, 1000];
const OF_KIND = ['config', 'routes', 'schema', 'deployment', 'alert', 'health', 'instance', 'fault', 'breaker', 'message', 'silence', 'token'];
const KINDS = ['config', 'routes', 'alerts', 'deployments', 'health', 'faults', 'services', 'messages'];

// `kind`, `about`: of which kind, and of which service, if not of all; `services`: those there are.
export function Changes({ kind: named, about, services }) {
  // The address may say anything.
  const kind = OF_KIND.includes(named) ? named : '';
  const [size, setSize] = useState(0);
  useEffect(() => setSize(0), [kind, about]);
  const asked = { limit: SIZES[size], kind, service: about };
  const changes = useLive((signal) => get(withQuery('/v1/changes', asked), signal), KINDS, [kind, about, size], { isKept: true });
  const columns = [
    { name: t('When'), of: ({ at_unix_ms: at }) => html`<${Time} at=${at} />` },
    { name: t('Kind'), of: (change) => html`<${Badge} tone=${toneOf(change)}>${t(change.kind)}<//>` },
    { name: t('What'), of: (change) => html`<strong>${visible(change.subject)}</strong> ${withCode(inWords(change))} <${Concerned} of=${change} />`, class: 'wrap' },
    { name: t('Who'), of: ({ actor }) => actorName(actor) },
  ];
  return html`
    <${Card} title=${t('Recent changes')} actions=${html`<${Filters} kind=${kind} about=${about} services=${services} />`}>
      <${Loaded} of=${changes} isEmpty=${(data) => data.changes.length === 0}
        empty=${kind || about ? t('Nothing of that has changed lately.') : t('Nothing has changed yet.')}>
        ${(data) => html`<div class="folds"><${Table} label=${t('Recent changes')} columns=${columns} rows=${distinct(data.changes)} size=${SIZES.at(-1)} /></div>
          <${More} of=${data} size=${size} onMore=${() => setSize(size + 1)} />`}
      <//>
    <//>`;
}

// Without those that nobody can tell from what happened to the same one before.
function distinct(changes) {
  const last = new Map();
  const isNews = ({ kind, subject, what }) => {
    const isSame = last.get(`${kind} ${subject}`) === what;
    last.set(`${kind} ${subject}`, what);
    return !isSame || kind !== 'deployment';
  };
  return changes.toReversed().filter(isNews).reverse();
}

function Filters({ kind, about, services }) {
  const names = services.filter((service) => service.kind === 'service').map(({ name }) => [name, visible(name)]);
  // What is asked for may be gone, and is a choice nevertheless.
  if (about && !names.some(([name]) => name === about)) names.push([about, visible(about)]);
  return html`
    <${Select} name=${t('Kind')} value=${kind} onPick=${(one) => goQuery({ kind: one })}
      options=${[['', t('all')], ...OF_KIND.map((one) => [one, t(one)])]} />
    <${Select} name=${t('Service')} value=${about} onPick=${(one) => goQuery({ of: one })} options=${[['', t('all')], ...names]} />`;
}

function More({ of: { changes, more }, size, onMore }) {
  if (!more) return null;
  const shown = t('{n} are shown, the newest.', { n: count(distinct(changes).length) });
  return html`<p class="more">${size < SIZES.length - 1
    ? html`<${Button} onClick=${onMore}>${t('Show more')}<//> <span class="quiet">${shown}</span>`
    : html`<span class="quiet">${shown} ${withCode(t('Older ones are in `GET /v1/changes?until=…` and in the audit.'))}</span>`}</p>`;
}

// The service that it concerns, where neither subject nor words name it as one.
const Concerned = ({ of: { kind, service } }) => kind === 'alert' && service && html`<a href=${to('services', service)}>${visible(service)}</a>`;

const TONES = { deployment: 'info', config: 'info', routes: 'info' };

// By what happened: that something is over is no alarm.
function toneOf({ kind, what }) {
  if (kind === 'alert') return what.startsWith('fires') ? 'bad' : 'ok';
  if (kind === 'fault' || kind === 'breaker') return what.startsWith('ended: ') || what.endsWith(' are reset') ? 'ok' : 'warn';
  if (kind === 'health') return healthTone(/ → (\w+)/.exec(what)?.[1]);
  return pick(TONES, kind);
}

const FAULT = /^(ended: )?(\S+) of the requests to (\S+?)(?: from (\S+))? (?:wait (.+?))?(?: and )?(?:are answered (\d+))?$/;

// The sentences of the server, each with how it is said here; what follows a colon are somebody's words, or a reason.
const SENTENCES = [
  [/^version (\d+) was published(?:: (.*))?$/s, (n, why) => because(t('version {n} was published', { n }), why)],
  [/^version (\d+) brought version (\d+) back(?:: (.*))?$/s, (n, old, why) => because(t('version {n} brought version {old} back', { n, old }), why)],
  [/^was deleted$/, () => t('was deleted')],
  [/^its schema was replaced$/, () => t('its schema was replaced')],
  [/^its schema was removed$/, () => t('its schema was removed')],
  [/^a token was made$/, () => t('a token was made')],
  [/^a token was revoked$/, () => t('a token was revoked')],
  [/^a token to join the mesh was made$/, () => t('a token to join the mesh was made')],
  [/^was (made|ended) for (.*)$/s, (done, about) => (done === 'made' ? t('was made for {about}', { about }) : t('was ended for {about}', { about }))],
  [/^a rollout was begun$/, () => t('a rollout was begun')],
  [/^(\w+) was ordered$/, (order) => t('{order} was ordered', { order: t(order) })],
  [/^fires, at (\S+)$/, (value) => t('fires, at {value}', { value })],
  [/^is over$/, () => t('is over')],
  [/^dead letter (\d+) was (given back|deleted)$/, (n, done) => (done === 'deleted' ? t('dead letter {n} was deleted', { n }) : t('dead letter {n} was given back', { n }))],
  [/^all dead letters were (given back|deleted)$/, (done) => (done === 'deleted' ? t('all dead letters were deleted') : t('all dead letters were given back'))],
  [/^group (\S+) was (moved|removed)$/, (group, done) => (done === 'moved' ? t('group {group} was moved', { group }) : t('group {group} was removed', { group }))],
  [/^saga (\S+) was tried again$/, (id) => t('saga {id} was tried again', { id })],
  [/^came, (\w+)(?:: (.*))?$/s, (state, why) => because(t('came, {state}', { state: t(state) }), why)],
  [/^went(?:: (.*))?$/s, (why) => because(t('went'), why)],
  [/^(ended: )?the breakers of (.+) are (held open|held closed|switched off|reset)$/, (ended, whose, done) => {
    const told = t('the breakers of {whose} are {done}', { whose, done: t(done) });
    return ended ? t('ended: {what}', { what: told }) : told;
  }],
  [FAULT, (ended, ...fault) => (ended ? t('ended: {what}', { what: faultInWords(...fault) }) : faultInWords(...fault))],
];
// `healthy → unhealthy: why`, `v1 → v2: baking, step 1 of 3, 5% of the requests: why`.
const BECAME = /^(\w+) → (\w+)(?:: (.*))?$/s;
const ROLLOUT = /^(\S+) → (\S+): ([\w ]+)(?:, step (\d+) of (\d+), (\S+) of the requests)?(?:: (.*))?$/s;

// What happened in the reader's language, or as the server says.
export function inWords({ kind, what }) {
  if (kind === 'health') return said(BECAME, what, (from, into, why) => because(`${t(from)} → ${t(into)}`, why)) ?? what;
  if (kind === 'deployment') {
    const told = said(ROLLOUT, what, rolloutInWords);
    if (told) return told;
  }
  for (const [sentence, say] of SENTENCES) {
    const told = said(sentence, what, say);
    if (told) return told;
  }
  return what;
}

function said(sentence, what, say) {
  const found = sentence.exec(what);
  return found && say(...found.slice(1));
}

const REASONS = () => ({
  'its check succeeded': t('its check succeeded'),
  'it is being stopped': t('it is being stopped'),
  'it was stopped': t('it was stopped'),
  'it was deregistered': t('it was deregistered'),
  'its lease was not renewed in time': t('its lease was not renewed in time'),
});
const because = (what, why) => (why ? t('{what}: {why}', { what, why: pick(REASONS(), why) ?? reasonText(why) }) : what);

function rolloutInWords(from, into, phase, n, all, share, why) {
  const place = n && t('step {n} of {all}, {share} of the requests', { n, all, share });
  return because([`${from} → ${into}: ${t(phase)}`, place].filter(Boolean).join(', '), why);
}

function faultInWords(share, service, from, delay, status) {
  const whose = from ? t('{share} of the requests to {service} from {from}', { share, service, from }) : t('{share} of the requests to {service}', { share, service });
  if (delay && status) return t('{whose} wait {delay} and are answered {status}', { whose, delay, status });
  return delay ? t('{whose} wait {delay}', { whose, delay }) : t('{whose} are answered {status}', { whose, status });
}
