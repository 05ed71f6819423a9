// Questions that are asked of every system: where a look at its metrics begins.

const SERVER = 'reporter="server"';
const GATEWAY = 'reporter="gateway"';
const asked = (which, by) => `sum by (${by}) (rate(bowline_requests_total{${which}}[1m]))`;
// Where none failed there is no series of failures: the share is none then, not nothing.
const failed = (which, by) => `(${asked(`${which}, code=~"5.."`, by)}
  or 0 * ${asked(which, by)})
/ ${asked(which, by)}`;
const slowest = (which, by) => `histogram_quantile(0.99,
  sum by (${by}, le) (rate(bowline_request_duration_seconds_bucket{${which}}[1m])))`;
const HITS = `sum by (cache) (rate(bowline_cache_requests_total{outcome="fresh"}[5m]))
/ sum by (cache) (rate(bowline_cache_requests_total[5m]))`;

export const QUERIES = [
  ['Services: rate, errors, duration', [
    ['Requests a second, by service', asked(SERVER, 'service')],
    ['Share of errors, by service', failed(SERVER, 'service')],
    ['99% of requests took no longer, by service', slowest(SERVER, 'service')],
    ['Requests under way', 'sum by (reporter) (bowline_requests_in_flight)'],
  ]],
  ['Gateway', [
    ['Requests a second, by route and status', asked(GATEWAY, 'route, code')],
    ['Share of errors, by route', failed(GATEWAY, 'route')],
    ['99% of requests took no longer, by route', slowest(GATEWAY, 'route')],
  ]],
  ['Calls between services', [
    ['Calls a second, by caller and callee', 'sum by (caller, callee, mode) (rate(bowline_edge_requests_total[1m]))'],
    ['Breakers that are not closed', 'sum by (service, state) (bowline_breakers{state!="closed"})'],
    ['Retries a second, granted by the budget or not', 'sum by (service, granted) (rate(bowline_retries_total[1m]))'],
    ['Attempts a second that failed, by outcome', 'sum by (service, outcome) (rate(bowline_attempts_total{outcome!="ok"}[1m]))'],
    ['Waits for a connection: 99% took no longer',
      'histogram_quantile(0.99, sum by (pool, le) (rate(bowline_pool_wait_seconds_bucket[5m])))'],
  ]],
  ['Messages and sagas', [
    ['Messages that a group is not done with', 'sum by (topic, group) (bowline_messages_lag)'],
    ['Age of the oldest of them', 'max by (topic, group) (bowline_messages_oldest_age_seconds)'],
    ['Messages published a second, by topic', 'sum by (topic) (rate(bowline_messages_published_total[1m]))'],
    ['Dead letters', 'max by (topic) (bowline_messages_dead_letters)'],
    ['Sagas under way, and stuck', 'max by (__name__, saga) ({__name__=~"bowline_sagas_(running|stuck)"})'],
    ['Messages that wait in an outbox', 'max by (job) (bowline_outbox_waiting)'],
  ]],
  ['Caches', [
    ['Share of requests that memory answered', HITS],
    ['Loads a second, by outcome', 'sum by (cache, outcome) (rate(bowline_cache_loads_total[5m]))'],
    ['Bytes that the levels hold', 'sum by (cache, level) (bowline_cache_bytes)'],
  ]],
  ['The platform', [
    ['Instances, by service and health', 'sum by (service, health) (bowline_instances)'],
    ['Targets that cannot be scraped', 'up == 0'],
    ['Requests that the mesh refused, a second',
      'sum by (service, caller, decision) (rate(bowline_mesh_decisions_total{decision!="allowed"}[5m]))'],
    ['Time until certificates expire', 'min by (workload) (bowline_certificate_expires_seconds) - time()'],
    ['Tasks that held their thread, a second', 'sum by (job) (rate(bowline_task_stall_seconds_count[5m]))'],
    ['Alerts', 'sum by (state) (bowline_alerts)'],
  ]],
];
