// Until when workloads' certificates are good, and whether they are renewed.
//
// The authority knows every certificate that is still good, also those that were replaced: their end is nobody's
// concern. Workloads measure the end of the one that they use.

import { html, useMemo } from './html.js';
import { query as promql, serverNow } from './api.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { pick } from './state.js';
import { Badge, Time } from './ui.js';

const EXPIRES = 'min by (workload) (bowline_certificate_expires_seconds)';
const FAILED = 'sum by (workload) (increase(bowline_certificate_renewals_total{outcome="failed"}[15m])) > 0';
// Certificates are renewed while two fifths of their time are left, and live a minute at least.
const LEFT_MIN_MS = 5000;
const LEFT_SHARE = 1 / 3;

const byWorkload = (samples) => new Map(samples.map(({ metric, value }) => [metric.workload, value]));

async function measure(signal) {
  const [expires, failed] = await Promise.all([EXPIRES, FAILED].map((expression) => promql(expression, { signal })));
  return { expires: byWorkload(expires), failed: byWorkload(failed) };
}

// The workloads, each with `certificate`: `{ at?, tone?, word? }`, its end and what of it is not as it should be.
export function useCertificates(workloads) {
  const { data } = useLive(measure, ['metrics']);
  return useMemo(() => {
    const now = serverNow();
    const ends = data ? [...data.expires.values()].map((end) => end * 1000) : [];
    const longest = Math.max(0, ...ends) - now;
    return workloads.map((workload) => ({ ...workload, certificate: certificateOf(workload, data, { now, longest }) }));
  }, [workloads, data]);
}

function certificateOf({ workload, expires_unix_ms: known }, data, { now, longest }) {
  const measured = data?.expires.get(workload);
  const at = measured === undefined ? known : measured * 1000;
  if (at === undefined) return { tone: 'bad', word: 'no certificate' };
  if (at <= now) return { at, tone: 'bad', word: 'no longer valid' };
  if (measured !== undefined && at - now < LEFT_MIN_MS) return { at, tone: 'bad', word: 'about to expire' };
  if (measured !== undefined && at - now < longest * LEFT_SHARE) return { at, tone: 'warn', word: 'not renewed in time' };
  return data?.failed.has(workload) ? { at, tone: 'warn', word: 'renewal failed lately' } : { at };
}

const WEIGHTS = { bad: 2, warn: 1 };

// The certificate to look at first.
export function first(workloads) {
  const weight = ({ tone }) => pick(WEIGHTS, tone, 0);
  const certificates = workloads.map(({ certificate }) => certificate);
  return certificates.sort((one, other) => weight(other) - weight(one) || (one.at ?? 0) - (other.at ?? 0))[0] ?? {};
}

export const Expiry = ({ of: { at, tone, word } }) => html`
  ${at !== undefined && html`<${Time} at=${at} /> `}${tone && html`<${Badge} tone=${tone}>${t(word)}<//>`}`;
