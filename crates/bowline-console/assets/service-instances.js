// The instances of a service, and how their health went.

import { html, useMemo } from './html.js';
import { get, path, quoted, withQuery } from './api.js';
import { ABSENT, millis, seconds, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { Breaker, useBreakers } from './service-calls.js';
import { Card, Health, Loaded, Table, Time, healthTone } from './ui.js';

// Of so many is told where they are.
export const INSTANCES_MAX = 1000;

// All that is told of a service's instances: asked for only where it is shown.
export function Instances({ name }) {
  const detail = useLive((signal) => get(path('/v1/health', name), signal), ['health', 'services', 'metrics'], [name]);
  const address = withQuery('/v1/instances', { service: name, limit: INSTANCES_MAX });
  const registered = useLive((signal) => get(address, signal), ['services'], [address]);
  const breakers = useBreakers(`bowline_breakers{job=${quoted(name)},reporter="client"} > 0`);
  const rows = useMemo(() => joined(detail.data?.instances ?? [], registered.data?.instances ?? []), [detail.data, registered.data]);
  return html`<${Loaded} of=${detail}>${({ transitions }) => html`
    <${Card} title=${t('Instances')} about=${registered.data?.more && t('addresses of the first {n} only', { n: INSTANCES_MAX })}>
      ${registered.error && html`<${Loaded} of=${registered}>${() => null}<//>`}
      <${Table} label=${t('Instances')} columns=${columns(name, breakers)} keyOf=${({ id }) => id} empty=${t('No instance is registered.')}
        rows=${rows} />
    <//>
    <${HealthHistory} transitions=${transitions} />`}<//>`;
}

const RANKS = { unhealthy: 0, draining: 1, unknown: 2, healthy: 3, gone: 4 };

// What is known of their health, and where they are; the worst first.
function joined(known, registered) {
  const by = new Map(registered.map((instance) => [instance.id, instance]));
  const rows = known.map((instance) => ({ ...by.get(instance.id), ...instance }));
  return rows.sort((a, b) => RANKS[a.health] - RANKS[b.health] || byId.compare(a.id, b.id));
}

const byId = new Intl.Collator('en', { numeric: true });

const columns = (name, breakers) => [
  { name: t('Instance'), of: ({ id }) => html`<a href=${to('services', name, { tab: 'logs', instance: id })}>${id}</a>`, sort: ({ id }) => id },
  { name: t('Health'), of: ({ health }) => html`<${Health} state=${health} />`, sort: ({ health }) => RANKS[health] },
  { name: t('Since'), of: ({ since_unix_ms: at }) => html`<${Time} at=${at} />`, sort: ({ since_unix_ms: at }) => at },
  { name: t('Last probe'), of: ({ last_probe: probe }) => html`<${Probe} probe=${probe} />`, class: 'wrap' },
  {
    name: t('Open breakers'),
    title: t('of the calls that it makes'),
    of: ({ id }) => html`<${OpenTo} breakers=${breakers.filter(({ metric }) => metric.instance === id)} />`,
  },
  { name: t('Address'), of: ({ address }) => (address ? html`<code>${address}</code>` : ABSENT), sort: ({ address }) => address ?? '' },
  { name: t('Version'), of: ({ version }) => version || ABSENT, sort: ({ version }) => version ?? '' },
  { name: t('Zone'), of: ({ zone }) => zone ?? ABSENT, sort: ({ zone }) => zone ?? '' },
  { name: t('Weight'), isNumber: true, of: ({ weight }) => weight ?? ABSENT, sort: ({ weight }) => weight },
];

function OpenTo({ breakers }) {
  if (breakers.length === 0) return html`<span class="quiet">${t('none')}</span>`;
  return breakers.map((one) => html`<a href=${to('services', one.metric.service)}>${one.metric.service}</a> <${Breaker} states=${[one]} /> `);
}

function Probe({ probe }) {
  if (!probe) return html`<span class="quiet">${t('not probed here')}</span>`;
  const took = seconds(probe.took_us / 1e6);
  if (probe.failure) return html`<span class="tone-text-bad">${t('failed')} <${Time} at=${probe.at_unix_ms} />: ${visible(probe.failure)}</span>`;
  return html`<span>${t('succeeded in {took}', { took })}, <${Time} at=${probe.at_unix_ms} /></span>`;
}

function HealthHistory({ transitions: rows }) {
  const columns = [
    { name: t('When'), of: (change) => html`<${Time} at=${change.at_unix_ms} />`, sort: (change) => change.at_unix_ms },
    { name: t('Instance'), of: (change) => change.instance, sort: (change) => change.instance },
    { name: t('Change'), of: ({ from, to: became }) => html`<span class="quiet">${t(from)} →</span> <${Health} state=${became} />` },
    {
      name: t('After'),
      title: t('how long it had been as it was'),
      isNumber: true,
      of: (change) => millis(change.after_ms),
      sort: (change) => change.after_ms,
    },
    { name: t('Why'), of: (change) => (change.why ? visible(change.why) : html`<span class="quiet">${t('nobody said')}</span>`), class: 'wrap' },
  ];
  const bad = rows.filter(({ to: became }) => healthTone(became) === 'bad').length;
  return html`<${Card} title=${t('Changes of health')} about=${bad > 0 && tn('{n} of them for the worse', '{n} of them for the worse', bad)}>
    <${Table} label=${t('Changes of health')} columns=${columns} rows=${rows} empty=${t('None is known.')}
      keyOf=${(change) => `${change.at_unix_ms} ${change.instance} ${change.to}`} /><//>`;
}
