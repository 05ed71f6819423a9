// One document: its text, who runs it, its versions, its schema.

import { html } from './html.js';
import { del, get, withQuery } from './api.js';
import {
  addressOf, drafts, isBowlines, isCompiled, orNull, originOf, plainBreaks, reached, roleOf, statusOf, touchesOf, tried,
} from './config-about.js';
import { Edit } from './config-edit.js';
import { Gone, History } from './config-history.js';
import { Schema, schemaOf } from './config-schema.js';
import { Status } from './config-status.js';
import { Code } from './code.js';
import { actorName, bytes, visible } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { go, goQuery, to } from './route.js';
import { ask, Badge, Button, Card, Loaded, RoleButton, Tabs, Time } from './ui.js';

// `listed` is what the list says of it: what it says is not there is not asked for.
export function Document({ document, listed, reloadList, query }) {
  const hasSchema = Boolean(listed?.has_schema);
  const load = (signal) => Promise.all([
    listed ? orNull(get(addressOf(document), signal)) : null,
    statusOf(document, signal),
    hasSchema ? schemaOf(document, signal) : null,
    get('/v1/services', signal),
  ]);
  const live = useLive(load, ['config', 'services'], [document.key, Boolean(listed), hasSchema], { isKept: true });
  return html`<${Loaded} of=${live}>${([current, status, schema, { services }]) => html`
    <${Stands} document=${document} current=${current} status=${status} query=${query} />
    ${current
      ? html`<${View} document=${document} current=${current} status=${status} schema=${schema} query=${query}
          services=${new Set(services.map(({ name }) => name))} reload=${() => { live.reload(); reloadList(); }} />`
      : html`<${Gone} document=${document} query=${query} />`}`}<//>`;
}

// What there is now, in one line, and how far it came.
function Stands({ document, current, status, query }) {
  if (!current) return null;
  const { number, author, origin, comment, at_unix_ms: at, restores, document: { format, text } } = current;
  return html`
    <div class="card config-stands">
      <div><strong>${t('Version {n}', { n: number })}</strong> · ${format} · ${bytes(new Blob([text]).size)}
        ${' · '}${actorName(author)}, ${originOf(origin)} · <${Time} at=${at} />
        ${restores && html` · ${t('restores version {n}', { n: restores })}`}${comment && html`<p
          class="quiet">${visible(comment)}</p>`}</div>
      <${Reach} status=${status} />
      <div class="actions">${!isCompiled(document) && !query.edit && html`
        <${RoleButton} role=${roleOf(document)} tone="main"
          onClick=${() => goQuery({ edit: 1, tab: '', version: '' }, {})}>
          ${drafts.has(document.key) ? t('Go on editing') : t('Edit')}<//>
        <${RoleButton} role=${roleOf(document)}
          onClick=${tried(() => remove(document, current))}>${t('Delete')}<//>`}</div>
    </div>`;
}

function Reach({ status }) {
  const { all, current, refused } = reached(status);
  if (all === 0) return html`<${Badge}>${t('nobody follows it')}<//>`;
  const behind = all - current - refused;
  return html`<div class="badges">
    ${current > 0 && html`<${Badge} tone="ok">${t('{n} of {all} run it', { n: current, all })}<//>`}
    ${behind > 0 && html`<${Badge} tone="warn">${t('{n} of {all} behind', { n: behind, all })}<//>`}
    ${refused > 0 && html`<${Badge} tone="bad">${t('{n} of {all} refused it', { n: refused, all })}<//>`}</div>`;
}

async function remove(document, current) {
  const isDone = await ask({
    title: t('Delete {key}', { key: document.key }),
    touches: touchesOf(await statusOf(document)),
    body: html`<p>${t(
      'Its versions and its schema are kept: rolling back brings it back. Whoever runs it keeps the last good version.',
    )}</p>`,
    tone: 'danger',
    word: t('Delete'),
    act: () => del(withQuery(addressOf(document), { expect: current.number })),
  });
  if (isDone) go(to('config'));
}

function View({ document, current, status, schema, services, query, reload }) {
  if (query.edit) {
    return html`<${Edit} document=${document} current=${current} status=${status} schema=${schema?.text}
      onClose=${() => { goQuery({ edit: '' }); reload(); }} />`;
  }
  const tab = query.tab ?? 'text';
  const tabs = [
    { id: 'text', name: t('Text') },
    { id: 'status', name: t('Who runs it'), count: status.instances.length },
    { id: 'history', name: t('History') },
    { id: 'schema', name: t('Schema') },
  ];
  return html`
    <${Tabs} label=${document.key} tabs=${tabs} current=${tab}
      onPick=${(id) => goQuery({ tab: id === 'text' ? '' : id, version: '', from: '', now: '' })}>
    ${tab === 'text' && html`<${Text} document=${document} current=${current} query=${query} />`}
    ${tab === 'status' && html`<${Status} status=${status} services=${services} />`}
    ${tab === 'history' && html`<${History} document=${document} current=${current} query=${query} />`}
    ${tab === 'schema' && html`<${Schema} document=${document} schema=${schema} reload=${reload} />`}<//>`;
}

function Text({ document, current, query: { version } }) {
  if (version && version !== String(current.number)) return html`<${Earlier} document=${document} version=${version}
    current=${current} />`;
  return html`
    ${isCompiled(document) && html`<p
      class="notice"><span>${t(
        'The control plane compiles this document; nobody else writes it. It follows from bowline.toml and from',
      )}
      ${' '}<a href=${to('config', 'bowline', 'routes')}>bowline/routes</a>, <a
        href=${to('config', 'bowline', 'traffic')}>bowline/traffic</a></span></p>`}
    ${isBowlines(document.namespace) && !isCompiled(document) && html`<p
      class="quiet">${t('With it a rule could be weakened: changing it takes the role admin.')}</p>`}
    <${Code} label=${t('Text of {key}', { key: document.key })} text=${plainBreaks(current.document.text)} />`;
}

function Earlier({ document, version, current }) {
  const load = (signal) => get(withQuery(addressOf(document), { version }), signal);
  const live = useLive(load, null, [document.key, version]);
  const { namespace, name } = document;
  return html`<${Loaded} of=${live}>${({ number, at_unix_ms: at, author, comment, document: { text, format } }) => html`
    <${Card} title=${t('Version {n}', { n: number })} about=${html`${format} · ${actorName(author)} · <${Time}
      at=${at} />${comment && html` · ${visible(comment)}`}`}
      actions=${html`
        <a href=${to('config', namespace, name, { tab: 'history', from: number, now: current.number })}>${t('What changed since')}</a>
        <${Button} onClick=${() => goQuery({ version: '' })}>${t('The current version')}<//>`}>
      <${Code} label=${t('Version {n}', { n: number })} text=${plainBreaks(text)} />
    <//>`}<//>`;
}
