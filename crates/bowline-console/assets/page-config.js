// Configuration: documents, their versions, and who runs them.

import { html, useState } from './html.js';
import { get } from './api.js';
import { roleOf, statusOf } from './config-about.js';
import { Document } from './config-document.js';
import { Edit } from './config-edit.js';
import { Documents, Tree } from './config-tree.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { go, to } from './route.js';
import { Button, Empty, Field, Loaded, Page, RoleButton } from './ui.js';

const NAME = '[a-z0-9][a-z0-9\\-_.]{0,62}';

export default function Config({ path: [namespace, name], query }) {
  const live = useLive((signal) => get('/v1/config', signal), ['config']);
  if (namespace && name) return html`<${One} live=${live} document=${{ key: `${namespace}/${name}`, namespace, name }}
    query=${query} />`;
  if (query.new) return html`<${New} query=${query} />`;
  const shown = namespace ? { ...query, namespace } : query;
  const actions = html`<${RoleButton} role="editor" tone="main"
    onClick=${() => go(to('config', { new: 1, namespace: shown.namespace }))}>${t('New document')}<//>`;
  return html`
    <${Page} title=${t('Configuration')} about=${t('Versioned documents that instances follow while they run.')}
      actions=${actions}>
      <${Loaded} of=${live}>${({ documents }) => html`<${Documents} documents=${documents} query=${shown} />`}<//>
    <//>`;
}

function One({ live, document, query }) {
  const { namespace, name } = document;
  return html`
    <${Page} title=${document.key} about=${html`<a href=${to('config', { q: query.q })}>${t('Configuration')}</a> / <a
      href=${to('config', { namespace })}>${namespace}</a> / ${name}`}>
      <${Loaded} of=${live}>${({ documents }) => html`<div class="split config-split">
        <${Tree} documents=${documents} current=${document} query=${query} />
        <div class="config-one"><${Document} key=${document.key} document=${document} query=${query}
          listed=${documents.find(({ key }) => key === document.key)} reloadList=${live.reload} /></div>
      </div>`}<//>
    <//>`;
}

function New({ query }) {
  const [key, setKey] = useState({ namespace: query.namespace ?? '', name: query.name ?? '' });
  const [chosen, setChosen] = useState(null);
  const set = (part) => (event) => setKey({ ...key, [part]: event.target.value });
  const submit = (event) => {
    event.preventDefault();
    setChosen({ ...key, key: `${key.namespace}/${key.name}` });
  };
  const field = (part, word) => html`<${Field} name=${word}><input value=${key[part]} onInput=${set(part)} required
    pattern=${NAME} maxlength="63"
    disabled=${Boolean(chosen)} autocomplete="off" spellcheck="false" /><//>`;
  return html`
    <${Page} title=${t('New document')} about=${html`<a href=${to('config')}>${t('Configuration')}</a>`}>
      <form class="card" onSubmit=${submit}>
        <div class="filters">${field('namespace', t('Namespace'))}${field('name', t('Name'))}
          ${chosen
            ? html`<${Button} onClick=${() => setChosen(null)}>${t('Another name')}<//>`
            : html`<${RoleButton} role=${roleOf(key)} kind="submit" tone="main">${t('Write it')}<//>`}</div>
        <p class="quiet config-rule">${t(
          'Each 1 to 63 of a-z 0-9 - _ . and a letter or a digit first. Documents of the namespace bowline are an administrator’s.',
        )}</p>
      </form>
      ${chosen && html`<${NewText} document=${chosen} />`}
    <//>`;
}

// Nobody follows what is not there yet, unless they wait for it.
function NewText({ document }) {
  const { namespace, name } = document;
  const live = useLive((signal) => statusOf(document, signal), ['config'], [document.key]);
  return html`<${Loaded} of=${live}>${(status) => (status.current
    ? html`<${Empty}>${t('{key} exists already.', document)} <a
      href=${to('config', namespace, name)}>${t('Open')}</a><//>`
    : html`<${Edit} document=${document} current=${null} status=${status} schema=${null}
      onClose=${() => go(to('config', namespace, name))} />`)}<//>`;
}
