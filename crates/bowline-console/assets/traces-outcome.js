// What became of a trace as a whole, and whether it is whole: the same words and colours wherever traces are listed.

import { html } from './html.js';
import { t } from './i18n.js';
import { Badge, useNow } from './ui.js';

// How the request ended that a trace began with. What failed within it, it survived: that is another thing.
const OUTCOMES = {
  ok: { tone: 'ok', rank: 0, word: () => t('no errors'), why: () => t('No span ended with an error.') },
  inside: {
    tone: 'warn', rank: 1, word: () => t('errors inside'),
    why: () => t('The request itself was answered. A span within it ended with an error: an attempt that was repeated, or work that nobody waited for.'),
  },
  failed: { tone: 'bad', rank: 2, word: () => t('failed'), why: () => t('The request itself ended with an error: its first span says so.') },
};

// 'failed', 'inside' or 'ok'.
export const outcomeOf = ({ status, has_error: hasError }) => (status === 'error' ? 'failed' : hasError ? 'inside' : 'ok');
export const rankOf = (trace) => OUTCOMES[outcomeOf(trace)].rank;
export const wordOf = (trace) => OUTCOMES[outcomeOf(trace)].word();

// `isLong`: with why, for who reads one trace.
export function Outcome({ trace, isLong }) {
  const { tone, word, why } = OUTCOMES[outcomeOf(trace)];
  // What is well draws no eye.
  if (tone === 'ok') return html`<span class="quiet">${word()}</span>`;
  return html`<${Badge} tone=${tone} title=${why()}>${word()}<//>${isLong && html` <span class="quiet">${why()}</span>`}`;
}

// `1 failed · 3 with errors inside` of some traces; empty where all is well.
export function tallied(traces) {
  const all = traces.map(outcomeOf);
  const of = (wanted) => all.filter((outcome) => outcome === wanted).length;
  const [failed, inside] = [of('failed'), of('inside')];
  return [failed > 0 && t('{n} failed', { n: failed }), inside > 0 && t('{n} with errors inside', { n: inside })].filter(Boolean);
}

// How long after the end of what came a span may be late: processes send theirs within a second. A span comes when it
// ends, so that the first one is last.
const LATE_MS = 1500;
const ROOT_LATE_MS = 15_000;
const endOf = ({ start_unix_nanos: start, duration_nanos: length }) => (Number(start) + length) / 1e6;

// 'coming', 'rootless', or null where the trace is whole, as far as anybody can tell here. `missing`: how many spans are
// named as callers and are not there.
export function gapOf(trace, now) {
  const age = now - endOf(trace);
  const isRootless = trace.has_root === false;
  if (isRootless || trace.missing > 0) return age < ROOT_LATE_MS ? 'coming' : isRootless ? 'rootless' : null;
  return age < LATE_MS ? 'coming' : null;
}

const GAPS = {
  coming: { tone: 'quiet', word: () => t('still arriving'), why: () => t('Its spans are on their way: each comes when it has ended, the first one last.') },
  rootless: {
    tone: 'quiet', word: () => t('its root is missing'),
    why: () => t('It began with a span that is not here: the caller was outside, or the span was lost, not sampled, or deleted. How the request ended is told by the earliest span that is here.'),
  },
};

// Behind a number of spans: that there may be more in a moment.
export function Growing({ trace }) {
  if (gapOf(trace, useNow()) !== 'coming') return null;
  const title = t('Its last span ended a moment ago: more may be on their way.');
  return html`<span class="quiet" title=${title} role="img" aria-label=${title}>…</span>`;
}

// A mark on what is not whole. `isBrief`: only where the first span is not there; under load the newest are all a moment old.
export function Gap({ trace, isBrief, isLong }) {
  const gap = gapOf(trace, useNow());
  if (gap === null || (isBrief && trace.has_root !== false)) return null;
  const { tone, word, why } = GAPS[gap];
  return html`<${Badge} tone=${tone} title=${why()}>${word()}<//>${isLong && html` <span class="quiet">${why()}</span>`}`;
}
