// What is wrong with the matchers of a silence before it is made, and which alerts of now they fit.

import { query, quoted } from './api.js';
import { isMatching, parsed } from './alerts-labels.js';
import { useEffect, useState } from './html.js';
import { t } from './i18n.js';
import { useLive } from './live.js';

const SETTLED_MS = 250;
// Labels of the series of alerts that alerts themselves do not have.
const OF_SERIES = ['__name__', 'alertstate'];

const isRegex = ({ test }) => test === '=~' || test === '!~';

// A text once nobody has changed it for a moment.
function useSettled(text) {
  const [settled, settle] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => settle(text), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

// `{ wrong, hit }`: why the matchers are refused; which of the alerts they fit, null where that is not known.
//
// Regular expressions are read by the server alone: a browser's are others. Alerts are series, too, so that the metrics'
// API reads them, and says which alerts they fit.
export function useVerdict(lines, active) {
  const matchers = lines.map(parsed);
  const isAsked = matchers.every(Boolean) && matchers.some(isRegex);
  const expression = isAsked ? `ALERTS{${matchers.map(({ name, test, value }) => name + test + quoted(value)).join(',')}}` : null;
  const settled = useSettled(expression);
  const { data, error } = useLive((signal) => settled && query(settled, { signal }), null, [settled]);
  const own = ownWrong(lines, matchers);
  if (own || !isAsked) return { wrong: own, hit: own ? null : active.filter(({ labels }) => isMatching(lines, labels)) };
  if (settled !== expression) return { wrong: null, hit: null };
  // Whatever else the metrics refuse is none of an alert's matchers: then who makes the silence is told by its own refusal.
  const culprit = error?.status === 400 && matchers.filter(isRegex).find(({ value }) => error.message.includes(value));
  if (culprit) return { wrong: refusal(error, culprit), hit: null };
  const isKnown = data && !matchers.some(({ name }) => OF_SERIES.includes(name));
  const fitting = new Set((data ?? []).map(({ metric }) => keyOf(metric)));
  return { wrong: null, hit: isKnown ? active.filter(({ labels }) => fitting.has(keyOf(labels))) : null };
}

const keyOf = (labels) => JSON.stringify(Object.entries(labels).filter(([name]) => !OF_SERIES.includes(name)).sort());

// What can be said without the server.
function ownWrong(lines, matchers) {
  const at = matchers.indexOf(null);
  if (at >= 0) return t('`{text}` is no matcher: write NAME="VALUE", with =, !=, =~ or !~.', { text: lines[at] });
  if (lines.length > 0 && isMatching(lines, {}) === true) return t('One of the matchers has to demand a value: these would silence everything.');
  return null;
}

// The server names the expression; what is wrong within it the browser may know.
function refusal(error, culprit) {
  return t('`{text}` is no regular expression: {why}', { text: culprit.value, why: reasonOf(culprit) ?? error.message.replace(/^.*parse error: /s, '') });
}

function reasonOf({ value }) {
  try {
    RegExp(value, 'u');
    return null;
  } catch (wrong) {
    return wrong.message.replace(/^.*\/u?: /s, '');
  }
}
