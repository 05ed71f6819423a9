// One topic: who publishes and reads it, how far its groups are, what is in it and what is dead.

import { html, useMemo } from './html.js';
import { get, queryRange, quoted, serverNow } from './api.js';
import { Chart } from './chart.js';
import { bytes, count, durationOf, millis, rate } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Badge, Card, Empty, Figure, Figures, Loaded, Page, Table, Tabs } from './ui.js';
import { DeadLetters } from './messages-dead.js';
import { Stored } from './messages-stored.js';
import { Behind, Oldest, isLeft, keptOf, sum, useRates } from './messages-topics.js';
import { useSystem } from './declared.js';

const SPAN_S = 15 * 60;
const STEP_S = 15;

export function Topic({ name, query }) {
  const topics = useLive((signal) => get('/v1/topics', signal), ['messages']);
  return html`
    <${Page} title=${name} about=${html`<a href=${to('messages')}>${t('Messages')}</a> · <${Owners} topic=${name} />`}>
      <${Loaded} of=${topics}>${(data) => {
        const topic = data.topics.find((one) => one.name === name);
        return topic ? html`<${Known} topic=${topic} query=${query} reload=${topics.reload} />`
          : html`<${Empty}>${t('There is no topic of this name.')} <a href=${to('messages')}>${t('All topics')}</a><//>`;
      }}<//>
    <//>`;
}

// Whose topic it is and who reads it, as the system's file declares it.
function Owners({ topic }) {
  const { data } = useSystem();
  const services = data?.services ?? [];
  const owner = services.find(({ boundary }) => boundary?.state?.includes(`topic:${topic}`));
  const readers = services.flatMap(({ calls }) => calls).filter((call) => call.topics?.includes(topic)).map(({ service }) => service);
  const link = (service) => html` <a href=${to('services', service)}>${service}</a>`;
  if (!owner && readers.length === 0) return t('topic');
  return html`${owner && html`${t('owned by')}${link(owner.name)}`}${owner && readers.length > 0 && ', '}
    ${readers.length > 0 && html`${t('read by')}${[...new Set(readers)].map(link)}`}`;
}

function Known({ topic, query, reload }) {
  const rates = useRates();
  const view = query.view === 'messages' ? 'messages' : 'dead';
  const { groups, settings, dead } = topic;
  const left = groups.some(isLeft);
  const tabs = [
    { id: 'dead', name: t('Dead letters'), count: count(dead) },
    { id: 'messages', name: t('Recent messages'), count: count(keptOf(topic)) },
  ];
  const pick = (id) => goQuery({ view: id === 'dead' ? undefined : id, at: undefined, from: undefined, after: undefined });
  return html`
    <${Card}><${Figures}>
      <${Figure} name=${t('Published')} value=${rate(rates.get(topic.name))} />
      <${Figure} name=${t('Kept')} value=${count(keptOf(topic))} title=${t('messages that are still there')} />
      <${Figure} name=${t('Size')} value=${bytes(topic.bytes)} title=${t('at most {size}', { size: bytes(settings.bytes_max) })} />
      <${Figure} name=${t('Behind')} value=${count(sum(groups, (group) => group.lag))} tone=${left ? 'bad' : undefined} />
      <${Figure} name=${t('In hand')} value=${count(sum(groups, (group) => group.leased))} />
      <${Figure} name=${t('Dead letters')} value=${count(dead)} tone=${dead > 0 ? 'bad' : undefined} />
      <${Figure} name=${t('Kept for')} value=${millis(durationOf(settings.keep))} title=${t('though every group is done with it')} />
    <//><//>
    <${Flow} topic=${topic.name} />
    <${Groups} groups=${groups} />
    <${Tabs} label=${topic.name} tabs=${tabs} current=${view} onPick=${pick}>
      ${view === 'dead' ? html`<${DeadLetters} topic=${topic} query=${query} reload=${reload} />`
        : html`<${Stored} topic=${topic} query=${query} />`}<//>`;
}

function Groups({ groups }) {
  const columns = [
    { name: t('Group'), of: ({ name }) => name, sort: ({ name }) => name },
    { name: t('Consumers'), isNumber: true, sort: ({ consumers }) => consumers,
      of: (group) => (isLeft(group) ? html`<${Badge} tone="bad">${t('none')}<//>` : count(group.consumers)) },
    { name: t('Behind'), isNumber: true, title: t('messages that it is not done with'), sort: ({ lag }) => lag,
      of: (group) => html`<${Behind} lag=${group.lag} isBad=${isLeft(group)} oldest=${group.oldest_unix_ms} />` },
    { name: t('In hand'), isNumber: true, title: t('messages that consumers work on now'), sort: ({ leased }) => leased,
      of: ({ leased }) => count(leased) },
    { name: t('Oldest waiting'), of: ({ oldest_unix_ms: at }) => html`<${Oldest} at=${at} />` },
  ];
  return html`<${Card} title=${t('Groups')} about=${t('Each of them gets every message.')}>
    <${Table} label=${t('Groups')} columns=${columns} rows=${groups} keyOf=${({ name }) => name} empty=${t('Nobody reads this topic.')} />
  <//>`;
}

// What came, what was done with it, and how far groups are behind, of the last quarter of an hour.
function Flow({ topic }) {
  const flow = useLive((signal) => loadFlow(topic, signal), ['metrics'], [topic]);
  const lines = useMemo(() => flow.data && {
    times: flow.data[0].times,
    rates: [[t('published')], [t('processed')], [t('tried again'), 'warn'], [t('died'), 'bad']]
      .map(([label, tone], index) => ({ label, tone, values: lineOf(flow.data[index]) })),
    lags: flow.data[4].series.map(({ metric, values }) => ({ label: metric.group, values })),
  }, [flow.data]);
  return html`<div class="grid-2">
    <${Card} title=${t('Messages a second')} about=${t('last 15 min')}>
      <${Loaded} of=${flow}>
        ${() => html`<${Chart} label=${t('Messages a second')} times=${lines.times} series=${lines.rates} format=${rate} />`}<//>
    <//>
    <${Card} title=${t('Messages behind')} about=${t('by group, last 15 min')}>
      <${Loaded} of=${flow} isEmpty=${() => lines.lags.length === 0} empty=${t('Nothing is measured yet.')}>
        ${() => html`<${Chart} label=${t('Messages behind')} times=${lines.times} series=${lines.lags} format=${count} />`}<//>
    <//>
  </div>`;
}

const lineOf = ({ series, times }) => series[0]?.values ?? times.map(() => null);

function loadFlow(topic, signal) {
  const of = `{topic=${quoted(topic)}}`;
  const end = Math.floor(serverNow() / 1000 / STEP_S) * STEP_S;
  const over = { start: end - SPAN_S, end, step: STEP_S, signal };
  const counters = ['published', 'acked', 'redelivered', 'dead'].map((name) => `sum(rate(bowline_messages_${name}_total${of}[1m]))`);
  return Promise.all([...counters, `max by (group) (bowline_messages_lag${of})`].map((expression) => queryRange(expression, over)));
}
