// Dead letters of a topic: why each failed, what it was, and what becomes of it.

import { html, useEffect, useState } from './html.js';
import { get, path, query as promql, quoted, withQuery } from './api.js';
import { count, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { goQuery } from './route.js';
import { Button, Card, Empty, Loaded, RoleButton, Table, Time } from './ui.js';
import { Aside, Facts, Guarded, QueryLink } from './aside.js';
import { MessageBody } from './messages-stored.js';
import { purge, redrive } from './messages-acts.js';
import { summary } from './payload.js';

// A letter may be as large as 1 MiB.
const PAGE = 20;
const dead = (topic) => path('/v1/topics', topic, 'dead');

export function DeadLetters({ topic, query, reload }) {
  return html`<${Guarded} role="editor" what=${t('What dead letters hold is not shown here.')}>
    ${topic.dead === 0 && !query.at ? html`<${Empty}>${t('No message of this topic is dead.')}<//>`
      : html`<div class=${query.at ? 'beside' : undefined}>
          <${List} topic=${topic} query=${query} reload=${reload} />
          ${query.at && html`<${Letter} topic=${topic} position=${Number(query.at)} reload=${reload} />`}
        </div>`}
  <//>`;
}

// Asked for again when there are fewer or more, or others in the place of some: a page of them may be large.
function List({ topic, query, reload }) {
  const after = Number(query.after) || undefined;
  const ever = `sum(bowline_messages_dead_total{topic=${quoted(topic.name)}})`;
  const died = useLive((signal) => promql(ever, { signal }), ['metrics'], [topic.name]);
  const letters = useLive((signal) => get(withQuery(dead(topic.name), { after, limit: PAGE }), signal), null,
    [topic.name, after, topic.dead, died.data?.[0]?.value], { isKept: true });
  const [chosen, setChosen] = useState([]);
  const shown = letters.data?.letters ?? [];
  const isShown = (position) => shown.some((letter) => letter.position === position);
  useEffect(() => setChosen((before) => before.filter(isShown)), [letters.data]);
  const without = (all, position) => all.filter((one) => one !== position);
  const choose = (position) => setChosen((all) => (all.includes(position) ? without(all, position) : [...all, position]));
  const again = () => {
    letters.reload();
    reload();
  };
  const isFull = letters.data && (letters.data.more || shown.length === PAGE);
  return html`
    <${Card} title=${t('Dead letters')} about=${t('the oldest first')}
      actions=${html`<${Acts} topic=${topic} letters=${shown} chosen=${chosen} choose=${setChosen} reload=${again} />`}>
      <${Loaded} of=${letters}>${() => html`
        <${Table} label=${t('Dead letters')} columns=${columns(chosen, choose)} rows=${shown} keyOf=${({ position }) => position}
          empty=${t('There are none from here on.')} onRow=${({ position }) => goQuery({ at: position })}
          isSelected=${({ position }) => String(position) === query.at} />
        ${(after || isFull) && html`<p class="more">
          ${after && html`<${Button} onClick=${() => goQuery({ after: undefined })}>${t('From the oldest')}<//>`}
          ${isFull && html`<${Button} onClick=${() => goQuery({ after: shown.at(-1).position })}>${t('Next')}<//>`}</p>`}
      `}<//>
    <//>`;
}

function columns(chosen, choose) {
  const check = ({ position }) => html`
    <label class="pick" onClick=${(event) => event.stopPropagation()}>
      <input type="checkbox" checked=${chosen.includes(position)} aria-label=${t('Choose dead letter {position}', { position })}
        onChange=${() => choose(position)} />
    </label> <${QueryLink} change=${{ at: position }}>${position}<//>`;
  return [
    { name: t('No.'), of: check, class: 'with-pick', sort: ({ position }) => position },
    { name: t('Died'), of: (letter) => html`<${Time} at=${letter.died_unix_ms} />`, sort: (letter) => letter.died_unix_ms },
    { name: t('Group'), of: ({ group }) => visible(group), sort: ({ group }) => group },
    { name: t('Tries'), isNumber: true, of: ({ attempts }) => count(attempts), sort: ({ attempts }) => attempts },
    { name: t('Why'), class: 'why', of: ({ failure }) => visible(failure) },
    { name: t('Payload'), class: 'cut', of: ({ message }) => html`<code>${summary(message.payload)}</code>` },
  ];
}

function Acts({ topic, letters, chosen, choose, reload }) {
  const some = letters.filter(({ position }) => chosen.includes(position));
  const isAll = letters.length > 0 && some.length === letters.length;
  const on = (act, which) => async () => {
    if (await act({ topic, letters, which })) reload();
  };
  return html`
    ${letters.length > 0 && html`<${Button} onClick=${() => choose(isAll ? [] : letters.map(({ position }) => position))}>
      ${isAll ? t('Choose none') : tn('Choose it', 'Choose these {n}', letters.length)}<//>`}
    ${some.length > 0 ? html`
      <${RoleButton} role="editor" tone="main" onClick=${on(redrive, some)}>${t('Redrive {n} chosen', { n: some.length })}<//>
      <${RoleButton} role="editor" onClick=${on(purge, some)}>${t('Purge {n} chosen', { n: some.length })}<//>`
    : topic.dead > 0 && html`
      <${RoleButton} role="editor" onClick=${on(redrive, 'all')}>${t('Redrive all {n}', { n: count(topic.dead) })}<//>
      <${RoleButton} role="editor" onClick=${on(purge, 'all')}>${t('Purge all {n}', { n: count(topic.dead) })}<//>`}`;
}

function Letter({ topic, position, reload }) {
  const close = () => goQuery({ at: undefined });
  const letter = useLive(async (signal) => {
    const page = await get(withQuery(dead(topic.name), { after: position > 1 ? position - 1 : undefined, limit: 1 }), signal);
    return page.letters.find((one) => one.position === position) ?? null;
  }, null, [topic.name, position, topic.dead]);
  const on = (act) => async () => {
    if (!(await act({ topic, letters: [letter.data], which: [letter.data] }))) return;
    close();
    reload();
  };
  return html`
    <${Aside} id=${position} title=${t('Dead letter {position}', { position })} onClose=${close}>
      <${Loaded} of=${letter} isEmpty=${(data) => data === null} empty=${t('It is not there any more: it was given back, or purged.')}>
        ${(data) => html`
          <p class="failure">${visible(data.failure)}</p>
          <${Facts} of=${[
            [t('Group'), data.group],
            [t('Tries'), count(data.attempts)],
            [t('Died'), html`<${Time} at=${data.died_unix_ms} />`],
            [t('Was at'), data.message.position],
          ]} />
          <${MessageBody} message=${data.message} />
          <div class="dialog-actions">
            <${RoleButton} role="editor" onClick=${on(purge)}>${t('Purge')}<//>
            <${RoleButton} role="editor" tone="main" onClick=${on(redrive)}>${t('Redrive')}<//>
          </div>`}
      <//>
    <//>`;
}
