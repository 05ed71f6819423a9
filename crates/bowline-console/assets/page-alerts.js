// Alerts: what is pending and fires, by which rules, what became of it, what is silenced, and who was told.

import { html } from './html.js';
import { get } from './api.js';
import { Active } from './alerts-active.js';
import { History, Notifications, Receivers } from './alerts-told.js';
import { Rules } from './alerts-rules.js';
import { Silences, silenceDialog } from './alerts-silences.js';
import { FilterBox, useFilter } from './filter.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { goQuery } from './route.js';
import { Page, RoleButton, Tabs } from './ui.js';

const TABS = ['active', 'rules', 'history', 'silences', 'notifications', 'receivers'];

export default function AlertsPage({ query }) {
  const active = useLive(async (signal) => (await get('/api/v1/alerts', signal)).data.alerts, ['alerts']);
  const silences = useLive(async (signal) => (await get('/v1/alerts/silences', signal)).silences, ['alerts']);
  const [filter, box] = useFilter(query.q);
  const tab = TABS.includes(query.tab) ? query.tab : 'active';
  const names = {
    active: t('Active'),
    rules: t('Rules'),
    history: t('History'),
    silences: t('Silences'),
    notifications: t('Notifications'),
    receivers: t('Receivers'),
  };
  const counts = { active: active.data?.length, silences: silences.data?.filter(({ state }) => state === 'active').length };
  const make = (alert) => silenceDialog({ alert, active: active.data ?? [], reload: silences.reload });
  return html`
    <${Page} title=${t('Alerts')} about=${tally(active.data)} actions=${html`
      ${tab !== 'receivers' && html`<${FilterBox} of=${box} />`}
      <${RoleButton} role="editor" onClick=${() => make(null)}>${t('New silence')}<//>`}>
      <${Tabs} label=${t('Parts of alerts')} current=${tab} onPick=${(id) => goQuery({ tab: id === 'active' ? '' : id })}
        tabs=${TABS.map((id) => ({ id, name: names[id], count: counts[id] }))}>
        <${View} tab=${tab} filter=${filter} active=${active} silences=${silences} onSilence=${make} />
      <//>
    <//>`;
}

function View({ tab, filter, active, silences, onSilence }) {
  if (tab === 'rules') return html`<${Rules} filter=${filter} />`;
  if (tab === 'history') return html`<${History} filter=${filter} />`;
  if (tab === 'silences') return html`<${Silences} of=${silences} filter=${filter} />`;
  if (tab === 'notifications') return html`<${Notifications} filter=${filter} />`;
  if (tab === 'receivers') return html`<${Receivers} />`;
  return html`<${Active} of=${active} silences=${silences.data ?? []} filter=${filter} onSilence=${onSilence} />`;
}

function tally(alerts) {
  if (!alerts) return null;
  const firing = alerts.filter(({ state }) => state === 'firing').length;
  const pending = alerts.length - firing;
  if (alerts.length === 0) return t('No alert is pending or fires.');
  const parts = [];
  if (firing > 0) parts.push(tn('{n} fires', '{n} fire', firing));
  if (pending > 0) parts.push(tn('{n} is pending', '{n} are pending', pending));
  return parts.join(' · ');
}
