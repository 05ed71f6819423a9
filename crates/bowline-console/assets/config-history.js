// The versions of a document: what changed between any two, and back to one.

import { html } from './html.js';
import { get, post, withQuery } from './api.js';
import { addressOf, isCompiled, originOf, plainBreaks, roleOf, statusOf, touchesOf, tried } from './config-about.js';
import { Diff } from './code.js';
import { actorName, bytes, visible } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { ask, Card, Empty, Loaded, RoleButton, Select, Table, Time } from './ui.js';

export function History({ document, current, query }) {
  const live = useLive((signal) => get(addressOf(document, 'history'), signal), ['config'], [document.key]);
  return html`<${Loaded} of=${live} isEmpty=${({ versions }) => versions.length === 0}
    empty=${t('No version is kept.')}>
    ${({ versions }) => html`
      <${Between} document=${document} versions=${versions} query=${query} />
      <${Versions} document=${document} versions=${versions} current=${current}
        picked=${pickedOf(versions, query)} />`}<//>`;
}

// The two versions that are compared: those of the address, else the last two.
function pickedOf(versions, { from, now }) {
  const known = (number) => versions.find((version) => String(version.number) === number)?.number;
  const last = known(now) ?? versions[0].number;
  return { from: known(from) ?? before(versions, last) ?? last, now: last };
}

const before = (versions, number) => versions.find((version) => version.number < number)?.number;

function Between({ document, versions, query }) {
  const { from, now } = pickedOf(versions, query);
  const one = (version, signal) => get(withQuery(addressOf(document), { version }), signal);
  const load = (signal) => Promise.all([one(from, signal), one(now, signal)]);
  const live = useLive(load, null, [document.key, from, now]);
  const options = versions.map(({ number }) => [String(number), t('Version {n}', { n: number })]);
  const label = t('What changed from version {from} to {now}', { from, now });
  return html`
    <${Card} title=${t('What changed')} actions=${html`
      <${Select} name=${t('From')} value=${String(from)} options=${options}
        onPick=${(picked) => goQuery({ from: picked, now })} />
      <${Select} name=${t('To')} value=${String(now)} options=${options}
        onPick=${(picked) => goQuery({ now: picked, from })} />`}>
      <${Loaded} of=${live}>${([old, after]) => html`
        ${old.document.format !== after.document.format && html`
          <p>${t('The format changed from {from} to {now}.', { from: old.document.format, now: after.document.format })}</p>`}
        <${Diff} key=${`${from} ${now}`} label=${label} old=${plainBreaks(old.document.text)}
          now=${plainBreaks(after.document.text)} />`}<//>
    <//>`;
}

function Versions({ document, versions, current, picked }) {
  const columns = [
    { name: t('Version'), sort: ({ number }) => number, of: ({ number }) => versionOf(document, number, current) },
    { name: t('When'), sort: ({ at_unix_ms: at }) => at, of: ({ at_unix_ms: at }) => html`<${Time} at=${at} />` },
    { name: t('Who'), sort: ({ author }) => author ?? '', of: ({ author, origin }) => html`${actorName(author)}, <span
      class="quiet">${originOf(origin)}</span>` },
    { name: t('Why'), class: 'config-why', of: whyOf },
    { name: t('Size'), isNumber: true, sort: (version) => version.bytes, of: (version) => bytes(version.bytes) },
    { name: '', of: ({ number }) => html`<div class="row-actions">${acts(document, versions, number, current)}</div>` },
  ];
  return html`
    <${Card} title=${t('Versions')} about=${t('the last 100 are kept, up to 4 MiB of them')}>
      <${Table} label=${t('Versions')} columns=${columns} rows=${versions} keyOf=${({ number }) => number}
        isSelected=${({ number }) => number === picked.from || number === picked.now} />
    <//>`;
}

const whyOf = ({ comment, restores }) =>
  (restores ? html`${t('restores version {n}', { n: restores })} ${visible(comment)}` : visible(comment));

const versionOf = ({ namespace, name }, number, current) => html`
  <a href=${to('config', namespace, name, { version: number === current?.number ? '' : number })}>${number}</a>
  ${number === current?.number && html` <span class="quiet">${t('current')}</span>`}`;

function acts(document, versions, number, current) {
  const previous = before(versions, number);
  return html`
    ${previous && html`
      <a href=${to('config', document.namespace, document.name, { tab: 'history', from: previous, now: number })}>${t('Changes')}</a>`}
    ${number !== current?.number && !isCompiled(document) && html`
      <${RoleButton} role=${roleOf(document)}
        onClick=${tried(() => rollBack(document, number, current))}>${t('Roll back')}<//>`}`;
}

async function rollBack(document, number, current) {
  const address = withQuery(addressOf(document), { version: number });
  const [status, then] = await Promise.all([statusOf(document), get(address)]);
  const old = plainBreaks(current?.document.text ?? '');
  await ask({
    title: t('Roll {key} back to version {n}', { key: document.key, n: number }),
    touches: touchesOf(status),
    body: html`<${Diff} label=${t('What will change')} old=${old} now=${plainBreaks(then.document.text)} />`,
    word: t('Roll back'),
    // What is shown is what changes of that version, not of one that came meanwhile; 0: there is none.
    act: () => post(addressOf(document, 'rollback'), { to: number, expect: current?.number ?? 0 }),
  });
}

// Of a document that was deleted, or never was.
export function Gone({ document, query }) {
  const { namespace, name } = document;
  const live = useLive((signal) => get(addressOf(document, 'history'), signal), ['config'], [document.key]);
  return html`<${Loaded} of=${live}>${({ versions }) => (versions.length === 0
    ? html`<${Empty}>${t('There is no document {key}.', { key: document.key })} ${!isCompiled(document) && html`<a
      href=${to('config', { new: 1, namespace, name })}>${t('Write it')}</a>`}<//>`
    : html`<${Empty}>${t('{key} was deleted. Its versions are kept: rolling back to one brings it back.', document)}<//>
        <${Between} document=${document} versions=${versions} query=${query} />
        <${Versions} document=${document} versions=${versions} picked=${pickedOf(versions, query)} />`)}<//>`;
}
