// How a service does now: what it answered in the last minutes as it counts itself, and as its callers count it.

import { html } from './html.js';
import { query } from './api.js';
import { errorTone } from './figures.js';
import { percent, rate, seconds } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { classed, counters, edgesOf, ofCallers, sourceOf, spansOf } from './service-red.js';
import { InstanceTally } from './services-list.js';
import { Card, Figure, Figures } from './ui.js';

// As long as what the overview and the list of services tell of at first, so that what is said to be the same is.
const WINDOW = '5m';
const QUANTILES = [0.5, 0.95, 0.99];

const useLately = (name, isForeign) => useLive(async (signal) => {
  const [own, messages, callers] = await Promise.all([
    firstOf(counters(name, isForeign), signal),
    figuresOf(spansOf(name, 'consumer'), signal),
    firstOf([ofCallers(name), edgesOf(name)], signal, [0.99]),
  ]);
  const group = own ?? messages;
  // A database is known by its callers alone: they need not be told twice.
  return { group, callers: group?.source === 'callers' ? null : callers };
}, ['metrics'], [name, isForeign], { isKept: true });

async function firstOf(candidates, signal, shares) {
  for (const candidate of candidates) {
    const found = await figuresOf(candidate, signal, shares);
    if (found) return found;
  }
  return null;
}

// `{ source, rate, share, quantiles: [{ label, value }] }`; null where nobody counted any.
async function figuresOf({ source, total, buckets, by, selector }, signal, shares = QUANTILES) {
  const over = `{${selector}}[${WINDOW}]`;
  const counted = await query(`sum by (${by}) (rate(${total}${over}))`, { signal });
  const classes = classed(counted.map(({ metric, value }) => ({ metric, values: [value] })), by);
  const sum = (lines) => lines.reduce((all, { values: [value] }) => all + value, 0);
  const all = sum(classes);
  if (!(all > 0)) return null;
  const quantiles = await Promise.all(shares.map(async (share) => {
    const [found] = await query(`histogram_quantile(${share}, sum by (le) (rate(${buckets}${over})))`, { signal });
    return { label: `p${share * 100}`, value: found?.value };
  }));
  return { source, rate: all, share: sum(classes.filter(({ isFailure }) => isFailure)) / all, quantiles };
}

export function Now({ service }) {
  const { name, detail } = service;
  const { data } = useLately(name, detail.data === null);
  const { group, callers } = data ?? {};
  const health = detail.data?.service;
  const seen = t('As those count who call it, the gateway among them: with retries, what was unreachable, timeouts, open breakers and faults.');
  return html`
    <${Card} about=${t('the last {range}', { range: '5 min' })} title=${t('Now')}><${Figures}>
      <${Figure} name=${t('Requests')} value=${rate(group?.rate)} />
      <${Figure} name=${t('Errors')} value=${percent(group?.share)} tone=${errorTone(group?.share)} title=${t('Of what it answered, what it answered with an error.')} />
      ${callers && html`<${Figure} name=${t('Errors its callers saw')} value=${percent(callers.share)} tone=${errorTone(callers.share)} title=${seen} />`}
      ${(group?.quantiles ?? []).map(({ label, value }) => html`<${Figure} name=${label} value=${seconds(value)} />`)}
      ${(callers?.quantiles ?? []).map(({ label, value }) => html`
        <${Figure} name=${t('{quantile} of callers', { quantile: label })} value=${seconds(value)} title=${seen} />`)}
      ${health && html`<${Figure} name=${t('Healthy instances')} value=${html`<${InstanceTally} health=${health} />`}
        title=${t('healthy of all')} />`}
    <//>
    ${group && html`<p class="quiet figures-about">${sourceOf(group)} ${callers && t('Of callers: counted by those who call it, also where no answer came.')}</p>`}<//>`;
}
