// Who runs which version of a document, and who refused one.

import { html } from './html.js';
import { standing } from './config-about.js';
import { visible } from './format.js';
import { t } from './i18n.js';
import { to } from './route.js';
import { Badge, Card, Table, Time } from './ui.js';

export function Status({ status, services }) {
  const current = status.current?.number;
  const columns = [
    { name: t('Instance'), sort: ({ instance }) => instance, of: ({ instance }) => html`<code>${instance}</code>` },
    { name: t('Service'), sort: ({ service }) => service, of: ({ service }) => serviceOf(service, services) },
    { name: t('State'), sort: (row) => standing(row, current)[1], of: (row) => state(row, current) },
    { name: t('Why'), class: 'config-why', of: ({ reason }) => visible(reason) },
    { name: t('Runs version'), isNumber: true, sort: ({ runs }) => runs ?? 0, of: ({ runs }) => runs ?? t('built in') },
    { name: t('Was told'), isNumber: true, sort: ({ version }) => version, of: ({ version }) => version },
    { name: t('Said'), sort: ({ at_unix_ms: at }) => at, of: ({ at_unix_ms: at }) => html`<${Time} at=${at} />` },
  ];
  return html`
    <${Card} title=${t('Who runs it')}
      about=${current ? t('version {n} is current', { n: current }) : t('there is no current version')}>
      <${Table} label=${t('Who runs it')} columns=${columns} rows=${status.instances}
        keyOf=${({ instance }) => instance}
        empty=${t('No instance says that it follows this document.')} />
    <//>`;
}

function state(row, current) {
  const [tone, word] = standing(row, current);
  return html`<${Badge} tone=${tone}>${t(word)}<//>`;
}

const serviceOf = (service, services) => (services.has(service) ? html`<a
  href=${to('services', service)}>${service}</a>` : service);
