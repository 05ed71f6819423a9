// How far a search of traces reached: which time it looked at, what of it is shown, and what is not kept any more.

import { html } from './html.js';
import { nanosOf } from './figures.js';
import { ago, clock, count, moment } from './format.js';
import { t } from './i18n.js';
import { pick } from './state.js';
import { useNow } from './ui.js';

const DAY_MS = 86_400_000;

// The times that are offered to look back.
const SINCES = {
  '5m': () => t('in the last 5 min'), '15m': () => t('in the last 15 min'), '1h': () => t('in the last hour'), '6h': () => t('in the last 6 h'),
  '24h': () => t('in the last 24 h'), '7d': () => t('in the last 7 d'), all: () => t('at any time'),
};
const sinceWords = (since) => pick(SINCES, since, () => t('in the last {length}', { length: since }))();

// As choices, with the current one.
export const sinces = (current) => [...(Object.hasOwn(SINCES, current) ? [] : [current]), ...Object.keys(SINCES)].map((id) => [id, sinceWords(id)]);

const exact = (at, now) => (now - at < DAY_MS ? clock(at) : moment(at));
const told = (at, now) => ({ time: exact(at, now), ago: ago(at, now) });

// `list`: what the API answered; `since`: how far back it was asked to look; `limit`: how many were asked for.
export function Reach({ list, since, order, limit }) {
  const now = useNow();
  const lines = [t('Looked at: traces that began {when}.', { when: sinceWords(since) }), shownOf(list, { order, limit, now }), keptOf(list, since, now)];
  return html`<p class="quiet reach">${lines.filter(Boolean).join(' ')}</p>`;
}

function shownOf({ traces, next_cursor: next, is_cut: isCut }, { order, limit, now }) {
  const n = count(traces.length);
  if (traces.length === 0 || isCut) return null;
  if (order === 'slowest') return traces.length < limit ? t('Shown: all {n} that match.', { n }) : t('Shown: the {n} slowest of all that match.', { n });
  if (!next) return t('Shown: all {n} that match.', { n });
  const oldest = traces.reduce((least, { start_unix_nanos: at }) => Math.min(least, at), Infinity) / 1e6;
  return t('Shown: the {n} newest, back to {time} ({ago}); there are older ones.', { n, ...told(oldest, now) });
}

// Where the store had to make room within the time that was looked at.
function keptOf({ kept_since_unix_nanos: nanos }, since, now) {
  if (!nanos) return null;
  const kept = nanos / 1e6;
  const from = since === 'all' ? 0 : now - nanosOf(since) / 1e6;
  return kept > from ? t('Of those from before {time} ({ago}) not all are kept: they made room for newer ones.', told(kept, now)) : null;
}
