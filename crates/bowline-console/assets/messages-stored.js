// Messages that a topic keeps, the last ones first, whoever processed them; and what is in one.

import { html, useState } from './html.js';
import { get, path, withQuery } from './api.js';
import { ABSENT, bytes, visible } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Button, Card, Empty, Field, Loaded, Table, Time } from './ui.js';
import { Aside, Facts, Guarded, QueryLink } from './aside.js';
import { Payload, sizeOf, summary } from './payload.js';

const PAGE = 25;
const messages = (topic) => path('/v1/topics', topic, 'messages');

export function Stored({ topic, query }) {
  return html`<${Guarded} role="editor" what=${t('What messages hold is not shown here.')}>
    ${topic.next <= topic.first && !query.at ? html`<${Empty}>${t('No message is kept.')}<//>`
      : html`<div class=${query.at ? 'beside' : undefined}>
          <${List} topic=${topic} query=${query} />
          ${query.at && html`<${One} topic=${topic} position=${Number(query.at)} />`}
        </div>`}
  <//>`;
}

// The last page goes on as messages come; another one stays where it is.
function List({ topic, query }) {
  const newest = Math.max(topic.first, topic.next - PAGE);
  const from = Math.max(topic.first, Math.min(Number(query.from) || newest, newest));
  const load = (signal) => get(withQuery(messages(topic.name), { from, limit: PAGE }), signal);
  const page = useLive(load, null, [topic.name, from, from === newest ? topic.next : 0], { isKept: true });
  const turn = (position) => goQuery({ from: position >= newest ? undefined : Math.max(topic.first, position) });
  return html`
    <${Card} title=${t('Recent messages')} about=${t('the youngest first, whoever processed them')}
      actions=${html`<${Jump} onJump=${turn} />`}>
      <${Loaded} of=${page}>${(data) => html`
        <${Table} label=${t('Recent messages')} columns=${columns()} rows=${data.messages.toReversed()}
          keyOf=${({ position }) => position} empty=${t('There are none from here on.')} onRow=${({ position }) => goQuery({ at: position })}
          isSelected=${({ position }) => String(position) === query.at} />
        <p class="more">
          <${Button} isDisabled=${from >= newest} onClick=${() => turn(newest)}>${t('Newest')}<//>
          <${Button} isDisabled=${from >= newest} onClick=${() => turn(from + PAGE)}>${t('Newer')}<//>
          <${Button} isDisabled=${from <= topic.first} onClick=${() => turn(from - PAGE)}>${t('Older')}<//>
        </p>`}<//>
    <//>`;
}

function Jump({ onJump }) {
  const [text, setText] = useState('');
  const submit = (event) => {
    event.preventDefault();
    if (text !== '') onJump(Number(text));
  };
  return html`<form class="filters" onSubmit=${submit}>
    <${Field} name=${t('From position')}><input type="number" min="1" step="1" value=${text} class="short-input"
      onInput=${(event) => setText(event.target.value)} /><//>
    <${Button} kind="submit">${t('Go')}<//></form>`;
}

function columns() {
  return [
    { name: t('Position'), of: ({ position }) => html`<${QueryLink} change=${{ at: position }}>${position}<//>` },
    { name: t('Published'), of: (message) => html`<${Time} at=${message.published_unix_ms} />` },
    { name: t('Key'), class: 'cut', of: ({ key }) => (key === undefined ? ABSENT : html`<code>${visible(key)}</code>`) },
    { name: t('Size'), isNumber: true, of: ({ payload }) => bytes(sizeOf(payload)) },
    { name: t('Payload'), class: 'cut cut-long', of: ({ payload }) => html`<code>${summary(payload)}</code>` },
  ];
}

function One({ topic, position }) {
  const message = useLive(async (signal) => {
    const page = await get(withQuery(messages(topic.name), { from: position, limit: 1 }), signal);
    return page.messages.find((one) => one.position === position) ?? null;
  }, null, [topic.name, position]);
  return html`
    <${Aside} id=${position} title=${t('Message {position}', { position })} onClose=${() => goQuery({ at: undefined })}>
      <${Loaded} of=${message} isEmpty=${(data) => data === null} empty=${t('It is not there any more.')}>
        ${(data) => html`<${MessageBody} message=${data} />`}
      <//>
    <//>`;
}

// The trace that a message was published under. Source: W3C Trace Context, 3.2 (`version-traceid-parentid-flags`).
function traceOf(headers) {
  const value = headers.find(([name]) => name.toLowerCase() === 'traceparent')?.[1] ?? '';
  const id = value.split('-')[1] ?? '';
  return /^[0-9a-f]{32}$/i.test(id) ? id.toLowerCase() : undefined;
}

// All of a message but its position.
export function MessageBody({ message }) {
  const { id, key, headers = [], payload, only } = message;
  const trace = traceOf(headers);
  return html`
    <${Facts} of=${[
      [t('Trace'), trace && html`<a href=${to('traces', trace)}><code>${trace}</code></a>`],
      [t('Published'), html`<${Time} at=${message.published_unix_ms} />`],
      [t('Not before'), message.due_unix_ms > message.published_unix_ms && html`<${Time} at=${message.due_unix_ms} />`],
      [t('Expires'), message.expires_unix_ms !== undefined && html`<${Time} at=${message.expires_unix_ms} />`],
      [t('Only for'), only],
      [t('Key'), key !== undefined && html`<code>${visible(key)}</code>`],
      [t('Id'), html`<code>${visible(id)}</code>`],
    ]} />
    ${headers.length > 0 && html`<h3>${t('Headers')}</h3>
      <dl class="facts mono">${headers.map(([name, value]) => html`<dt>${visible(name)}</dt><dd>${visible(value)}</dd>`)}</dl>`}
    <h3>${t('Payload')}</h3>
    <${Payload} base64=${payload} />`;
}
