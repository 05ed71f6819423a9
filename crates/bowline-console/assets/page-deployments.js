// Deployments: which release of each service runs, and the rollouts of new ones.

import { html } from './html.js';
import { get, path, Problem, query as ask } from './api.js';
import { Begin } from './deployments-begin.js';
import { Compare, Releases } from './deployments-compare.js';
import { inForce, reasonText, stepText } from './deployments-model.js';
import { howOf, Phase, Release, Rollout, tookOf, Transitions } from './deployments-rollout.js';
import { FilterBox, useFilter } from './filter.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Card, Empty, Loaded, Page, RoleButton, Table, Time, withCode } from './ui.js';

const RELEASES = 'count by (job, version) (up{version!=""})';

export default function Deployments({ path: [service], query }) {
  return service ? html`<${Service} service=${service} query=${query} />` : html`<${All} query=${query} />`;
}

// A Bowline that runs no services rolls nothing out, and says so.
async function orNone(asked) {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Problem && error.status === 400) return { none: error.message };
    throw error;
  }
}

function All({ query }) {
  const load = async (signal) => {
    const [{ services }, list, releases] = await Promise.all([
      get('/v1/services', signal), orNone(get('/v1/deployments', signal)), ask(RELEASES, { signal }).catch(() => []),
    ]);
    return list.none ? list : { rows: rowsOf(services, list.deployments, releases) };
  };
  const live = useLive(load, ['deployments', 'services'], []);
  return html`
    <${Page} title=${t('Deployments')} about=${t('How new releases take the place of others, step by step.')}>
      <${Loaded} of=${live}>${({ none, rows }) => (none ? html`<${Empty}>${none}<//>` : html`<${List} rows=${rows}
        query=${query} />`)}<//>
    <//>`;
}

// A row a service; those whose rollout is under way come first.
function rowsOf(services, deployments, releases) {
  const rows = new Map(services.map(({ name }) => [name, { name, versions: [] }]));
  for (const { metric: { job, version } } of releases) rows.get(job)?.versions.push(version);
  for (const deployment of deployments) {
    rows.set(deployment.service, { versions: [], ...rows.get(deployment.service), name: deployment.service, deployment });
  }
  const rank = ({ deployment }) => (deployment?.is_live ? 0 : deployment ? 1 : 2);
  return [...rows.values()].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

function List({ rows, query: { q } }) {
  const [text, box] = useFilter(q);
  const of = (read) => ({ deployment }) => deployment && read(deployment);
  const columns = [
    { name: t('Service'), sort: ({ name }) => name, of: ({ name }) => html`<a
      href=${to('deployments', name)}>${name}</a>` },
    { name: t('Release'), of: releasesOf },
    { name: t('Rollout'), of: of((one) => html`<${Release} from=${one.from} to=${one.to} />`) },
    { name: t('State'), sort: ({ deployment }) => deployment?.phase ?? '', of: of((one) => html`<${Phase}
      of=${one} /> <span class="quiet">${one.is_live && stepText(one)}</span>`) },
    { name: t('Share'), isNumber: true, of: of((one) => one.is_live && one.share) },
    { name: t('Begun'), sort: ({ deployment }) => deployment?.begun_unix_ms ?? 0, of: of((one) => html`<${Time}
      at=${one.begun_unix_ms} />`) },
    { name: t('Why'), class: 'rollout-why', of: of((one) => withCode(reasonText(one.why ?? one.waits_for))) },
  ];
  return html`
    <div class="filters"><${FilterBox} of=${box} /></div>
    <${Card}><${Table} label=${t('Deployments')} columns=${columns}
      rows=${rows.filter(({ name }) => name.includes(text))} keyOf=${({ name }) => name}
      empty=${t('No service is called like that.')} /><//>`;
}

function releasesOf({ versions, deployment }) {
  const shown = deployment && !deployment.is_live ? [inForce(deployment)] : deployment ? [deployment.from] : versions;
  return shown.length > 0 ? shown.map((version) => html`<code>${version}</code> `) : html`<span
    class="quiet nowrap">${t('no version')}</span>`;
}

function Service({ service, query }) {
  const live = useLive((signal) => orNone(get(path('/v1/deployments', service), signal)), ['deployments'], [service]);
  const { data } = live;
  const about = html`<a href=${to('deployments')}>${t('Deployments')}</a> / ${service}`;
  const isReady = data?.version && !data.deployment?.is_live && !query.new;
  const actions = isReady && html`<${RoleButton} role="admin" tone="main"
    onClick=${() => goQuery({ new: 1, id: '' }, {})}>${t('New release')}<//>`;
  return html`
    <${Page} title=${t('Releases of {service}', { service })} about=${about} actions=${actions}>
      <${Loaded} of=${live}>${(stands) => (stands.none
        ? html`<${Empty}>${stands.none}<//>`
        : html`<${Stands} stands=${stands} query=${query} reload=${live.reload} />`)}<//>
    <//>`;
}

function Stands({ stands: { service, version, deployment, history }, query, reload }) {
  if (!version) {
    return html`<${Empty}>${t(
      'It has no version, so that no release of it can be rolled out: write `version = "v1"` in [service.{service}] of bowline.toml.',
      { service },
    )}<//>
      <${Releases} service=${service} version="" />`;
  }
  if (query.new) return html`<${Begin} service=${service} version=${version} />`;
  const all = [...(deployment ? [deployment] : []), ...history.filter(({ id }) => id !== deployment?.id)];
  const picked = all.find(({ id }) => String(id) === query.id) ?? deployment;
  if (!picked) {
    return html`<${Releases} service=${service} version=${version} />
      <${Empty}>${t('{version} is in force. Nothing was rolled out yet.', { version })}<//>`;
  }
  return html`
    <${Rollout} key=${picked.id} deployment=${picked} reload=${reload} />
    <${Compare} key=${`compare ${picked.id}`} deployment=${picked} />
    <div class="grid-2"><${Releases} service=${service} deployment=${deployment} version=${version} />
      <${Ended} all=${all} picked=${picked} /></div>
    <${Transitions} deployment=${picked} />`;
}

function Ended({ all, picked }) {
  const columns = [
    { name: t('Rollout'), of: (one) => html`<a
      href=${to('deployments', one.service, { id: one.id })}>${one.id}</a> <${Release} from=${one.from}
      to=${one.to} />` },
    { name: t('State'), of: (one) => html`<${Phase} of=${one} />` },
    { name: t('How'), class: 'rollout-how', of: howOf },
    { name: t('Begun'), of: (one) => html`<${Time} at=${one.begun_unix_ms} />` },
    { name: t('Took'), class: 'nowrap', of: (one) => !one.is_live && tookOf(one) },
  ];
  return html`
    <${Card} title=${t('Rollouts')} about=${t('the last 20 are kept')}>
      <${Table} label=${t('Rollouts')} columns=${columns} rows=${all} keyOf=${({ id }) => id}
        isSelected=${({ id }) => id === picked.id} />
    <//>`;
}
