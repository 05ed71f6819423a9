// The traces of a service that are worth a look: that had errors, that took longest, or the latest.

import { html } from './html.js';
import { get, serverNow, withQuery } from './api.js';
import { nanos, visible } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Gap, Growing, Outcome, rankOf } from './traces-outcome.js';
import { Reach } from './traces-reach.js';
import { Card, Loaded, Select, Table, Time } from './ui.js';

const SHOWN = 10;
const SINCE = '1h';
// To find the slowest the server goes through the whole hour: that is not asked for at every span.
const SLOWEST_EVERY_MS = 15_000;

const searchOf = (pick) => ({ ...(pick === 'failed' && { error: 'true' }), ...(pick === 'slow' && { order: 'slowest' }) });

export function ServiceTraces({ service: { name, graph }, query }) {
  const seen = graph.data?.services.find((service) => service.name === name);
  const figures = seen?.figures;
  const picks = [['failed', t('with errors')], ['slow', t('the slowest')], ['latest', t('the latest')]];
  const wished = picks.some(([id]) => id === query.traces) ? query.traces : null;
  const pick = wished ?? (figures?.errors > 0 || !figures ? 'failed' : 'slow');
  const search = { service: name, ...searchOf(pick) };
  const address = withQuery('/v1/traces', { ...search, since: SINCE, limit: SHOWN });
  const turn = pick === 'slow' ? Math.floor(serverNow() / SLOWEST_EVERY_MS) : 0;
  const live = useLive((signal) => get(address, signal), pick === 'slow' ? null : ['traces'], [address, turn], { isKept: true });
  // A database is in the spans of who calls it: it took part in no trace by itself.
  if (seen && !seen.is_instrumented) return null;
  return html`
    <${Card} title=${t('Traces')} about=${t('in which it took part, in the last hour')} actions=${html`
      <${Select} name=${t('Traces')} value=${pick} options=${picks} onPick=${(picked) => goQuery({ traces: picked })} />
      <a class="button" href=${to('traces', search)}>${t('Search traces')}</a>`}>
      <${Loaded} of=${live}>${(list) => html`
        <${Reach} list=${list} since=${SINCE} order=${search.order} limit=${SHOWN} />
        <${Table} key=${pick} label=${t('Traces')} columns=${columns()} rows=${list.traces} keyOf=${(trace) => trace.trace_id}
          empty=${pick === 'failed' ? t('None had an error.') : t('There are none.')} />`}<//>
    <//>`;
}

// A trace by the beginning of its id.
export const TraceLink = ({ id }) => html`<a class="one" href=${to('traces', id)}><code>${id.slice(0, 8)}</code></a>`;

const columns = () => [
  { name: t('Trace'), of: (trace) => html`<a href=${to('traces', trace.trace_id)}>${visible(trace.name)}</a> <${Gap} trace=${trace} isBrief />` },
  { name: t('Outcome'), of: (trace) => html`<${Outcome} trace=${trace} />`, sort: rankOf },
  { name: t('Begun at'), of: (trace) => visible(trace.service) },
  { name: t('When'), of: (trace) => html`<${Time} at=${trace.start_unix_nanos / 1e6} />`, sort: (trace) => trace.start_unix_nanos },
  { name: t('Duration'), isNumber: true, title: t('of the whole trace, not of the part of this service alone'),
    of: (trace) => nanos(trace.duration_nanos), sort: (trace) => trace.duration_nanos },
  { name: t('Spans'), isNumber: true, of: (trace) => html`${trace.span_count}<${Growing} trace=${trace} />`, sort: (trace) => trace.span_count },
];
