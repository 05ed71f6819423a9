// Two changed the same version: theirs is published, mine is not.

import { html, useState } from './html.js';
import { merge } from './diff.js';
import { Diff } from './code.js';
import { originOf, plainBreaks } from './config-about.js';
import { actorName, visible } from './format.js';
import { t } from './i18n.js';
import { Button, Card, Tabs, Time } from './ui.js';

export function Conflict({ document, draft, keep, setAt, review, drop, theirs }) {
  const [tab, setTab] = useState('theirs');
  const texts = {
    base: plainBreaks(draft.base?.document.text ?? ''),
    theirs: plainBreaks(theirs?.document.text ?? ''),
    mine: draft.text,
  };
  const both = merge(texts.base, texts.theirs, texts.mine);
  // What is kept changes what there is now, and is looked at again before it is published.
  const onTheirs = (text) => ({ ...draft, base: theirs, text });
  const edit = () => {
    keep(onTheirs(texts.mine));
    setAt({ stage: 'edit', faults: [] });
  };
  return html`
    <${Card} title=${t('Somebody else was faster')}>
      <p><${Theirs} document=${document} theirs=${theirs} /> ${draft.base
        ? t('Your change is based on version {n}.', { n: draft.base.number })
        : t('You wrote it as a new document.')}</p>
      <${Tabs} label=${t('What to compare')} current=${tab} onPick=${setTab} tabs=${[
        { id: 'theirs', name: t('What they changed') }, { id: 'mine', name: t('What you changed') },
        { id: 'between', name: t('From theirs to yours') }]}>
        <div class="config-conflict"><${Side} key=${tab} tab=${tab} texts=${texts} /></div>
      <//>
      <h3>${t('What shall be')}</h3>
      <div class="choices">
        ${both !== null && html`<${Choice} word=${t('Both changes')}
          about=${t('They touch different lines. You see the result before it is published.')}
          onPick=${() => review(onTheirs(both))} tone="main" />`}
        <${Choice} word=${t('Theirs')} about=${t('Your change is discarded.')} onPick=${drop} />
        <${Choice} word=${t('Mine')}
          about=${t('It takes the place of theirs. You see what changes before it is published.')}
          onPick=${() => review(onTheirs(texts.mine))} />
        <${Choice} word=${t('Edit mine')} about=${t('Back to the text, as a change of theirs.')}
          onPick=${edit} />
      </div>
    <//>`;
}

function Theirs({ document, theirs }) {
  if (!theirs) return t('{key} was deleted.', { key: document.key });
  const who = theirs.author === undefined ? originOf(theirs.origin) : actorName(theirs.author);
  return html`${t('Version {n} was published by {who}:', { n: theirs.number, who })} <${Time}
    at=${theirs.at_unix_ms} />.${theirs.comment && html` “${visible(theirs.comment)}”.`}`;
}

function Side({ tab, texts: { base, theirs, mine } }) {
  const [label, old, now] = {
    theirs: [t('What they changed'), base, theirs],
    mine: [t('What you changed'), base, mine],
    between: [t('From theirs to yours'), theirs, mine],
  }[tab];
  return html`<${Diff} label=${label} old=${old} now=${now} />`;
}

const Choice = ({ word, about, onPick, tone }) => html`
  <div class="choice"><${Button} tone=${tone} onClick=${onPick}>${word}<//><span class="quiet">${about}</span></div>`;
