// The latest traces of a service that are worth a look: that failed, or that took long.

import { html } from './html.js';
import { get, withQuery } from './api.js';
import { millis, nanos, visible } from './format.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { goQuery, to } from './route.js';
import { Badge, Card, Loaded, Select, Table, Time } from './ui.js';

const SHOWN = 10;
const SINCE = '1h';

export function ServiceTraces({ service: { name, graph }, query }) {
  const seen = graph.data?.services.find((service) => service.name === name);
  const figures = seen?.figures;
  const picks = [['failed', t('that failed')], ['slow', t('that took long')], ['latest', t('of late')]];
  const wished = picks.some(([id]) => id === query.traces) ? query.traces : null;
  const pick = wished ?? (figures?.errors > 0 || !figures ? 'failed' : 'slow');
  // Cut to one digit, so that what is asked for does not change with every span.
  const leastMs = figures && pick === 'slow' ? Math.max(1, Math.round(Number((figures.p95_nanos / 1e6).toPrecision(1)))) : undefined;
  const search = { service: name, ...(pick === 'failed' && { error: 'true' }), ...(leastMs && { min_duration: `${leastMs}ms` }) };
  const address = withQuery('/v1/traces', { ...search, since: SINCE, limit: SHOWN });
  const live = useLive(async (signal) => (await get(address, signal)).traces, ['traces', 'metrics'], [address], { isKept: true });
  // A database is in the spans of who calls it: it took part in no trace by itself.
  if (seen && !seen.is_instrumented) return null;
  const about = leastMs ? t('{least} or longer, in the last hour', { least: millis(leastMs) }) : t('in the last hour');
  return html`
    <${Card} title=${t('Traces')} about=${about} actions=${html`
      <${Select} name=${t('Traces')} value=${pick} options=${picks} onPick=${(picked) => goQuery({ traces: picked })} />
      <a class="button" href=${to('traces', search)}>${t('Search traces')}</a>`}>
      <${Loaded} of=${live}>${(traces) => html`<${Table} key=${pick} label=${t('Traces')} columns=${columns()} rows=${traces} keyOf=${(trace) => trace.trace_id}
        sortBy=${pick === 'slow' && { name: t('Duration'), isDown: true }}
        empty=${pick === 'failed' ? t('None failed.') : t('There are none.')} />`}<//>
    <//>`;
}

// A trace by the beginning of its id.
export const TraceLink = ({ id }) => html`<a class="one" href=${to('traces', id)}><code>${id.slice(0, 8)}</code></a>`;

const columns = () => [
  { name: t('Trace'), of: (trace) => html`<a href=${to('traces', trace.trace_id)}>${visible(trace.name)}</a>` },
  { name: t('Begun at'), of: (trace) => visible(trace.service) },
  { name: t('When'), of: (trace) => html`<${Time} at=${trace.start_unix_nanos / 1e6} />`, sort: (trace) => trace.start_unix_nanos },
  { name: t('Duration'), isNumber: true, of: (trace) => nanos(trace.duration_nanos), sort: (trace) => trace.duration_nanos },
  { name: t('Spans'), isNumber: true, of: (trace) => trace.span_count, sort: (trace) => trace.span_count },
  { name: t('Outcome'), of: (trace) => html`<${Badge} tone=${trace.has_error ? 'bad' : 'ok'}>${trace.has_error ? t('failed') : t('ok')}<//>` },
];
