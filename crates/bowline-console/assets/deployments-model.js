// What is known of a rollout, as its page needs it: its steps, its bake, its condition.

import { durationOf, millis } from './format.js';
import { t, tn } from './i18n.js';
import { pick } from './state.js';

const TONES = { promoted: 'ok', 'rolled back': 'bad', 'rolling back': 'bad', paused: 'warn' };
const BACK = ['rolling back', 'rolled back'];
const NAMED_MAX = 10;

export const toneOf = ({ phase }) => pick(TONES, phase, 'info');
export const isBack = ({ phase }) => BACK.includes(phase);

// The bake as the console writes lengths of time.
export const bakeText = ({ bake }) => millis(durationOf(bake));

export const shareOf = (text) => Number.parseFloat(text) / 100;

// The steps with what came of each: `{ number, share, state }`. The last one is that the new release gets everything.
export function stepsOf(deployment) {
  const { step, step_count: count, steps = [], phase, transitions } = deployment;
  // What was planned, and what came of it.
  const shares = new Map(steps.map((share, index) => [index + 1, share]));
  for (const transition of transitions) {
    if (['shifting', 'baking'].includes(transition.phase)) shares.set(transition.step, transition.share);
  }
  const isLast = phase === 'promoting' || phase === 'promoted';
  // Who is back at the beginning is at no step: it came as far as the last one that it tells of.
  const furthest = step || transitions.findLast((transition) => transition.step > 0)?.step || 1;
  const at = isLast ? count + 1 : furthest;
  return Array.from({ length: count + 1 }, (_, index) => {
    const number = index + 1;
    const isDone = number < at || phase === 'promoted';
    const state = isDone ? 'done' : number > at ? 'ahead' : isBack(deployment) ? 'back' : 'now';
    return { number, share: number > count ? '100%' : shares.get(number), state };
  });
}

// When it ended, in milliseconds since 1970; null while it is under way.
export const endOf = ({ is_live: isLive, transitions }) => (isLive ? null : (transitions.at(-1)?.at_unix_ms ?? null));

// Until when the step bakes, in milliseconds since 1970, and since when; null where it does not.
export function bakeOf({ phase, bake, transitions }) {
  const last = transitions.at(-1);
  if (phase !== 'baking' || last?.phase !== 'baking') return null;
  return { from: last.at_unix_ms, until: last.at_unix_ms + durationOf(bake) };
}

// The comparisons of a condition: of any list in it, all hold. `{ what, bound }`, a bound in ms or as a ratio.
export function conditionOf(text) {
  if (!text) return [];
  return text.split(' or ').map((all) => all.split(' and ').map((comparison) => {
    const [what, bound] = comparison.split('>').map((part) => part.trim());
    return { what, bound: what === 'error_rate' ? shareOf(bound) : durationOf(bound) };
  }));
}

// What was measured of what a comparison is about; undefined where nothing was.
export function measuredOf(what, measured) {
  if (!measured || measured.requests <= 0) return undefined;
  const nanos = measured.quantiles_nanos[what];
  return what === 'error_rate' ? measured.error_ratio : nanos && nanos / 1e6;
}

// Transitions without those that nobody can tell from the one before.
export function distinct(transitions) {
  const looks = ({ phase, step, share }) => `${phase} ${step} ${share}`;
  const isNews = (transition, index) => index === 0 || looks(transition) !== looks(transitions[index - 1]);
  return transitions.filter((transition, index) => transition.why || isNews(transition, index));
}

const GOOD = /^good: (\S+) requests, (\S+) failed(?:, (.*))?$/;
const FEW = /^no verdict yet: (\S+) of (\S+) requests to (\S+) were measured since the step began; send traffic, or end it by `bowline deploy promote (\S+)` or `abort \S+`$/;

// A reason in the reader's language, or as the server says it.
export function reasonText(why) {
  const [, requests, failed, rest] = GOOD.exec(why) ?? [];
  if (requests) return [t('good: {n} requests, {share} failed', { n: requests, share: failed }), rest].filter(Boolean).join(', ');
  const [, measured, least, version, service] = FEW.exec(why) ?? [];
  return measured ? t(
    'no verdict yet: {n} of {least} requests to {version} were measured since the step began; send traffic, or end it by `bowline deploy promote {service}` or `abort {service}`',
    { n: measured, least, version, service },
  ) : why;
}

// The release that has the requests: of a rollout that is under way, or ended.
export const inForce = ({ phase, from, to }) => (phase === 'promoted' ? to : from);

export function stepText({ step, step_count: count, phase }) {
  if (phase === 'promoting' || phase === 'promoted') return t('all steps');
  return step > 0 && step <= count ? t('step {step} of {count}', { step, count }) : '';
}

// The instances of a release in a line: `v2: 2 instances (order-v2-1, order-v2-2)`.
export function instancesText(version, instances) {
  const names = instances.filter((instance) => (instance.version ?? '') === version).map(({ id }) => id);
  const all = tn('{version}: {n} instance', '{version}: {n} instances', names.length, { version });
  const more = names.length > NAMED_MAX ? ', …' : '';
  return names.length > 0 ? `${all} (${names.slice(0, NAMED_MAX).join(', ')}${more})` : all;
}
