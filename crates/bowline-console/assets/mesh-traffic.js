// What is done to traffic on purpose: faults in force, and how it is split between releases and mirrored.

import { html } from './html.js';
import { get } from './api.js';
import { ABSENT } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { Card, Loaded, Table } from './ui.js';
import { FaultButton, FaultTable } from './fault.js';

export function Traffic({ faults, services }) {
  return html`
    <${Card} title=${t('Faults in force')} about=${t('failures on purpose, each with its end')}
      actions=${html`<${FaultButton} services=${services} reload=${faults.reload} />`}>
      <${FaultTable} of=${faults} />
    <//>
    <${Steering} />`;
}

// Orders to breakers are steering, too, and no split.
const isOfReleases = ([, { split = {}, mirror }]) => Object.keys(split).length > 0 || Boolean(mirror);

async function load(signal) {
  try {
    const { document } = await get('/v1/config/bowline/traffic', signal);
    return document.format === 'json' ? Object.entries(JSON.parse(document.text).steering ?? {}).filter(isOfReleases) : [];
  } catch (error) {
    // Nothing was ever published.
    if (error.status === 404) return [];
    throw error;
  }
}

function splitOf({ split = {} }) {
  return Object.entries(split).map(([version, weight]) => `${version} ${weight}`).join(' : ') || t('all releases alike');
}

function Steering() {
  const steering = useLive(load, ['faults', 'config']);
  const columns = [
    { name: t('Service'), of: ([service]) => html`<a href=${to('services', service)}>${service}</a>`, sort: ([service]) => service },
    { name: t('Split by weight'), of: ([, rule]) => splitOf(rule) },
    { name: t('Copies'), of: ([, { mirror }]) => (mirror ? t('{share} go to {version}', mirror) : ABSENT) },
    { name: t('Set by'), of: ([service, { rollout }]) => (rollout === undefined ? t('by hand')
      : html`<a href=${to('deployments', service)}>${t('rollout {rollout}', { rollout })}</a>`) },
  ];
  return html`<${Card} title=${t('Releases')} about=${t('how requests are split between releases of a service, and copied')}>
    <${Loaded} of=${steering}>${(rows) => html`<${Table} label=${t('Releases')} columns=${columns} rows=${rows}
      keyOf=${([service]) => service} empty=${t('Traffic goes to all releases alike.')} />`}<//>
  <//>`;
}
