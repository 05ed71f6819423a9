// All documents: beside one of them as a tree, and by themselves as a table.

import { html, useEffect, useRef, useState } from './html.js';
import { drafts, isBowlines, split } from './config-about.js';
import { FilterBox, useFilter } from './filter.js';
import { actorName, bytes, visible } from './format.js';
import { t } from './i18n.js';
import { goQuery, to } from './route.js';
import { Card, Select, Table, Time } from './ui.js';

const SHOWN_MAX = 200;

const compare = (a, b) => (a < b ? -1 : Number(a > b));

// The documents by their namespaces; Bowline's own come last.
export function ordered(documents) {
  const rows = documents.map((summary) => ({ ...summary, ...split(summary.key) }));
  const rank = ({ namespace }) => Number(isBowlines(namespace));
  return rows.sort((a, b) => rank(a) - rank(b) || compare(a.namespace, b.namespace) || compare(a.name, b.name));
}

const matching = (rows, text) => rows.filter(({ key }) => key.includes(text));

export function Tree({ documents, current, query: { q = '' } }) {
  const [text, box] = useFilter(q);
  const rows = matching(ordered(documents), text);
  const namespaces = new Map();
  for (const row of rows) {
    if (!namespaces.has(row.namespace)) namespaces.set(row.namespace, []);
    namespaces.get(row.namespace).push(row);
  }
  const place = useRef();
  useEffect(() => {
    const tree = place.current;
    const link = tree.querySelector('[aria-current]');
    if (link) tree.scrollTop = link.offsetTop - tree.clientHeight / 2;
  }, [current.key]);
  return html`
    <nav class="card config-tree" aria-label=${t('Documents')} ref=${place}>
      <${FilterBox} of=${box} />
      ${rows.length === 0 && html`<p class="quiet">${t('No document matches.')}</p>`}
      ${[...namespaces].map(([namespace, all]) => html`<${Branch} key=${namespace} namespace=${namespace} rows=${all}
        current=${current} q=${text} />`)}
    </nav>`;
}

function Branch({ namespace, rows, current, q }) {
  const isOpen = q !== '' || !isBowlines(namespace) || namespace === current.namespace;
  const at = rows.findIndex(({ key }) => key === current.key);
  const [shown, setShown] = useState(Math.max(SHOWN_MAX, at + 20));
  return html`
    <details open=${isOpen}>
      <summary>${namespace} <span class="quiet">${rows.length}</span></summary>
      <ul>${rows.slice(0, shown).map(({ key, name }) => html`<li><a href=${to('config', namespace, name, { q })}
        aria-current=${key === current.key ? 'page' : undefined}>${name}</a>${drafts.has(key) && html` <span
          class="quiet">${t('draft')}</span>`}</li>`)}</ul>
      ${rows.length > shown && html`<button type="button" class="plain"
        onClick=${() => setShown(shown + SHOWN_MAX)}>${t('Show more')}</button>`}
    </details>`;
}

export function Documents({ documents, query: { q = '', namespace = '' } }) {
  const [text, box] = useFilter(q);
  const all = ordered(documents);
  const names = [...new Set(all.map((row) => row.namespace))];
  const rows = matching(all, text).filter((row) => !namespace || row.namespace === namespace);
  const columns = [
    { name: t('Document'), sort: ({ key }) => key, of: documentOf },
    { name: t('Version'), isNumber: true, sort: ({ version }) => version.number, of: ({ version }) => version.number },
    { name: t('Format'), sort: ({ version }) => version.format, of: ({ version }) => version.format },
    { name: t('Size'), isNumber: true, sort: ({ version }) => version.bytes, of: ({ version }) => bytes(version.bytes) },
    { name: t('Schema'), of: ({ has_schema: has }) => (has ? t('yes') : '') },
    { name: t('Who'), sort: ({ version }) => version.author ?? '', of: ({ version }) => actorName(version.author) },
    { name: t('When'), sort: ({ version }) => version.at_unix_ms, of: ({ version }) => html`<${Time}
      at=${version.at_unix_ms} />` },
    { name: t('Why'), class: 'config-why', of: ({ version }) => visible(version.comment) },
  ];
  const options = [['', t('all')], ...names.map((name) => [name, name])];
  return html`
    <div class="filters"><${FilterBox} of=${box} />
      <${Select} name=${t('Namespace')} value=${namespace} options=${options}
        onPick=${(picked) => goQuery({ namespace: picked })} /></div>
    <${Card}><${Table} label=${t('Documents')} columns=${columns} rows=${rows} keyOf=${({ key }) => key}
      empty=${documents.length === 0 ? t('There is no document yet.') : t('No document matches.')} /><//>`;
}

const documentOf = ({ key, namespace, name }) => html`
  <a href=${to('config', namespace, name)}>${namespace}/<wbr />${name}</a>${drafts.has(key) && html` <span
    class="quiet">${t('draft')}</span>`}`;
