// All topics: how much is kept and published, how far behind groups are, what is dead.

import { html, useMemo } from './html.js';
import { get, query as promql, serverNow } from './api.js';
import { ABSENT, bytes, count, rate } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { to } from './route.js';
import { Badge, Card, Figure, Figures, Loaded, Table, Time } from './ui.js';
import { FilterBox, useFilter } from './filter.js';

const PUBLISHED = 'sum by (topic) (rate(bowline_messages_published_total[1m]))';

const LATE_MS = 10_000;

export const sum = (items, of) => items.reduce((total, item) => total + of(item), 0);
export const keptOf = (topic) => Math.max(0, topic.next - topic.first);
const oldestOf = (groups) => {
  const known = groups.map(({ oldest_unix_ms: at }) => at).filter((at) => at !== undefined);
  return known.length > 0 ? Math.min(...known) : undefined;
};
// A group that is behind and that nobody works for.
export const isLeft = ({ consumers, lag }) => consumers === 0 && lag > 0;

// How many messages a second come to each topic, by its name; empty where nothing is measured yet.
export function useRates() {
  const { data } = useLive((signal) => promql(PUBLISHED, { signal }), ['metrics']);
  return useMemo(() => new Map((data ?? []).map(({ metric, value }) => [metric.topic, value])), [data]);
}

// A message that just came is nothing to look at: what matters is how long the oldest one waits.
export function Behind({ lag, isBad, oldest }) {
  if (isBad) return html`<${Badge} tone="bad">${count(lag)}<//>`;
  return serverNow() - oldest > LATE_MS ? html`<${Badge} tone="warn">${count(lag)}<//>` : count(lag);
}
export const Dead = ({ of }) => (of === 0 ? '0' : html`<${Badge} tone="bad">${count(of)}<//>`);
export const Oldest = ({ at }) => (at === undefined ? ABSENT : html`<${Time} at=${at} />`);

function columns(rates) {
  const leased = (topic) => sum(topic.groups, (group) => group.leased);
  const lag = (topic) => sum(topic.groups, (group) => group.lag);
  return [
    { name: t('Topic'), of: ({ name }) => html`<a href=${to('messages', name)}>${name}</a>`, sort: ({ name }) => name },
    { name: t('Published'), isNumber: true, of: ({ name }) => rate(rates.get(name)), sort: ({ name }) => rates.get(name) },
    { name: t('Behind'), isNumber: true, title: t('messages that its groups are not done with'), sort: lag,
      of: (topic) => html`<${Behind} lag=${lag(topic)} isBad=${topic.groups.some(isLeft)} oldest=${oldestOf(topic.groups)} />` },
    { name: t('Dead letters'), isNumber: true, of: ({ dead }) => html`<${Dead} of=${dead} />`, sort: ({ dead }) => dead },
    { name: t('In hand'), isNumber: true, title: t('messages that consumers work on now'), sort: leased,
      of: (topic) => count(leased(topic)) },
    { name: t('Oldest waiting'), of: ({ groups }) => html`<${Oldest} at=${oldestOf(groups)} />` },
    { name: t('Groups'), of: ({ groups }) => groups.map(({ name }) => name).join(', ') || ABSENT },
    { name: t('Kept'), isNumber: true, title: t('messages that are still there'), of: (topic) => count(keptOf(topic)), sort: keptOf },
    { name: t('Size'), isNumber: true, of: (topic) => bytes(topic.bytes), sort: (topic) => topic.bytes },
  ];
}

function Summary({ topics, rates }) {
  const groups = topics.flatMap((topic) => topic.groups);
  const dead = sum(topics, (topic) => topic.dead);
  const left = groups.filter(isLeft).length;
  return html`
    <${Card}><${Figures}>
      <${Figure} name=${t('Topics')} value=${count(topics.length)} />
      <${Figure} name=${t('Published')} value=${rates.size > 0 ? rate(sum([...rates.values()], (value) => value)) : ABSENT} />
      <${Figure} name=${t('Messages behind')} value=${count(sum(groups, (group) => group.lag))} tone=${left > 0 ? 'bad' : undefined} />
      <${Figure} name=${t('In hand')} value=${count(sum(groups, (group) => group.leased))} />
      <${Figure} name=${t('Dead letters')} value=${count(dead)} tone=${dead > 0 ? 'bad' : undefined} />
      ${left > 0 && html`<${Figure} name=${t('Groups without consumers')} value=${count(left)} tone="bad" />`}
    <//><//>`;
}

export function Topics({ query }) {
  const topics = useLive((signal) => get('/v1/topics', signal), ['messages']);
  const rates = useRates();
  const [search, box] = useFilter(query.q);
  const matches = ({ name, groups }) => [name, ...groups.map((group) => group.name)].some((one) => one.toLowerCase().includes(search));
  return html`
    <${Loaded} of=${topics} isEmpty=${({ topics }) => topics.length === 0}
      empty=${t('There are no topics. A service that owns one, or calls another by messages, makes it.')}>
      ${({ topics: all }) => {
        const shown = all.filter(matches);
        return html`
          <${Summary} topics=${all} rates=${rates} />
          <${Card} title=${t('Topics')} about=${tn('{n} topic', '{n} topics', shown.length)}
            actions=${html`<${FilterBox} of=${box} label=${t('Topic or group')} />`}>
            <${Table} label=${t('Topics')} columns=${columns(rates)} rows=${shown} keyOf=${({ name }) => name}
              empty=${t('Nothing matches.')} />
          <//>`;
      }}
    <//>`;
}
