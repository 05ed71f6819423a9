// Topics with their groups and dead letters, and sagas: work that services hand each other without waiting.

import { html } from './html.js';
import { t } from './i18n.js';
import { goQuery } from './route.js';
import { Page, Tabs } from './ui.js';
import { Topics } from './messages-topics.js';
import { Topic } from './messages-topic.js';
import { Saga } from './saga.js';
import { Sagas } from './sagas.js';

export default function Messages({ path, query }) {
  const [topic] = path;
  if (topic !== undefined) return html`<${Topic} name=${topic} query=${query} />`;
  if (query.tab === 'sagas' && query.of && query.id) return html`<${Saga} service=${query.of} id=${query.id} />`;
  const current = query.tab === 'sagas' ? 'sagas' : 'topics';
  const tabs = [{ id: 'topics', name: t('Topics') }, { id: 'sagas', name: t('Sagas') }];
  const pick = (tab) => goQuery({ tab: tab === 'topics' ? undefined : tab, q: undefined });
  return html`
    <${Page} title=${t('Messages')} about=${t('What services hand each other without waiting, and what of it failed.')}>
      <${Tabs} label=${t('Messages')} tabs=${tabs} current=${current} onPick=${pick}>
        ${current === 'sagas' ? html`<${Sagas} query=${query} />` : html`<${Topics} query=${query} />`}
      <//>
    <//>`;
}
