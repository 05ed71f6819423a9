// What can stand where one writes in PromQL: names of metrics, functions, labels, and values of labels.

import { get, path, quoted, withQuery } from './api.js';
import { t } from './i18n.js';
import { pick } from './state.js';

const AGGREGATIONS = 'sum avg min max count group topk bottomk quantile stddev stdvar count_values'.split(' ');
const FUNCTIONS = ('rate increase irate delta idelta deriv predict_linear changes resets histogram_quantile histogram_fraction avg_over_time '
  + 'sum_over_time min_over_time max_over_time count_over_time last_over_time first_over_time present_over_time quantile_over_time '
  + 'stddev_over_time stdvar_over_time mad_over_time double_exponential_smoothing absent absent_over_time abs ceil floor round clamp clamp_min '
  + 'clamp_max exp ln log2 log10 sqrt sgn sort sort_desc sort_by_label sort_by_label_desc label_replace label_join scalar vector time timestamp '
  + 'minute hour day_of_week day_of_month day_of_year days_in_month month year').split(' ');
const WORDS = 'by without on ignoring group_left group_right offset bool and or unless'.split(' ');
const GROUPING = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right']);

const SHOWN = 40;
const VALUES = 500;

// Where the caret is: `{ kind: 'name'|'label'|'value', prefix, from, metric?, label? }`; null where nothing can be named.
export function contextAt(text, caret) {
  const { open, quote, metric } = scan(text, caret);
  if (quote) return inText(text, caret, { open, quote, metric });
  const prefix = /[\w:]*$/.exec(text.slice(0, caret))[0];
  const from = caret - prefix.length;
  if (/^\d/.test(prefix) || open?.kind === '[') return null;
  if (open?.kind === '{') return /[{,]\s*$/.test(text.slice(0, from)) ? { kind: 'label', prefix, from, metric: open.word } : null;
  if (open?.kind === '(' && GROUPING.has(open.word)) return { kind: 'label', prefix, from, metric };
  return { kind: 'name', prefix, from };
}

function inText(text, caret, { open, quote }) {
  if (open?.kind !== '{') return null;
  const label = /([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)\s*$/.exec(text.slice(0, quote.at))?.[1];
  const prefix = text.slice(quote.at + 1, caret);
  return label ? { kind: 'value', label, metric: open.word, prefix, from: quote.at + 1 } : null;
}

// What is open before the caret: brackets with the word before them, a text; and the metric that was named last.
function scan(text, caret) {
  const stack = [];
  let [quote, word, metric] = [null, '', undefined];
  for (let at = 0; at < caret; at += 1) {
    const sign = text[at];
    if (quote) {
      if (sign === '\\' && quote.sign !== '`') at += 1;
      else if (sign === quote.sign) quote = null;
      continue;
    }
    if (sign === '#') {
      at = text.indexOf('\n', at);
      if (at < 0 || at >= caret) break;
      continue;
    }
    if (/[\w:]/.test(sign)) {
      word = /[\w:]/.test(text[at - 1] ?? '') ? word + sign : sign;
      if (word.includes('_')) metric = word;
    } else if ('"\'`'.includes(sign)) quote = { sign, at };
    else if ('({['.includes(sign)) stack.push({ kind: sign, word: /[\w:]\s*$/.test(text.slice(0, at)) ? word : '' });
    else if (')}]'.includes(sign)) stack.pop();
  }
  return { open: stack.at(-1), quote, metric: metric ?? nextMetric(text, caret) };
}

// `sum by (` is written before what it is of.
const nextMetric = (text, caret) => /[A-Za-z_:]\w*_\w+/.exec(text.slice(caret))?.[0];

// === what the server knows ===

const KEPT_MS = 30_000;
const KEPT_MAX = 200;
const kept = new Map();
function asked(address) {
  const known = kept.get(address);
  if (known && Date.now() - known.at < KEPT_MS) return known.answer;
  const answer = get(address).then(({ data }) => data);
  answer.catch(() => kept.delete(address));
  if (kept.size >= KEPT_MAX) kept.delete(kept.keys().next().value);
  kept.set(address, { at: Date.now(), answer });
  return answer;
}

export const metricNames = () => asked(withQuery('/api/v1/label/__name__/values', { limit: 20_000 }));
export const metricAbout = () => asked(withQuery('/api/v1/metadata', { limit: 20_000 }));

// A histogram's and a counter's series have names of their own.
export const aboutOf = (about, name) => (pick(about, name) ?? pick(about, name.replace(/_(bucket|sum|count|total)$/, '')))?.[0];

// Asks for all series where the one that is named is none (yet).
async function ofMetric(address, metric) {
  const names = metric ? await metricNames() : [];
  return asked(withQuery(address, { 'match[]': names.includes(metric) ? metric : undefined, limit: VALUES }));
}

// `[{ text, about, kind }]`, the best first.
export async function suggestions(context) {
  const { kind, label, metric, prefix } = context;
  if (kind === 'label' || kind === 'value') {
    const address = kind === 'label' ? '/api/v1/labels' : path('/api/v1/label', label, 'values');
    return best((await ofMetric(address, metric)).map((text) => ({ text, kind })), prefix);
  }
  const [names, about] = await Promise.all([metricNames(), metricAbout().catch(() => ({}))]);
  const metrics = names.map((text) => ({ text, kind: 'metric', about: aboutOf(about, text)?.help }));
  const called = [...AGGREGATIONS, ...FUNCTIONS].map((text) => ({ text, kind: 'function', about: t('function') }));
  return best([...called, ...metrics, ...WORDS.map((text) => ({ text, kind: 'word' }))], prefix);
}

function best(all, prefix) {
  const wanted = prefix.toLowerCase();
  const place = ({ text }) => text.toLowerCase().indexOf(wanted);
  const found = all.filter((one) => place(one) >= 0 && one.text !== prefix);
  // What begins so comes before what only has it somewhere.
  return found.sort((a, b) => Math.min(place(a), 1) - Math.min(place(b), 1)).slice(0, SHOWN);
}

// The text with what was picked in its place, and where the caret goes.
export function completed(text, caret, context, { text: picked, kind }) {
  const inserted = kind === 'value' ? quoted(picked).slice(1, -1) : picked;
  const tail = kind === 'function' && text[caret] !== '(' ? '(' : '';
  const value = text.slice(0, context.from) + inserted + tail + text.slice(caret);
  return { value, caret: context.from + inserted.length + tail.length };
}
