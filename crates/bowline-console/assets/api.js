// The API: what is asked for, and what went wrong.
//
// Every request carries `x-bowline-console`, which no page of another site can add: with the proof that goes with the
// session's cookie, so that the cookie alone is worth nothing to whoever else gets it.

import { cell, keep, kept } from './state.js';

// Who the reader is here; `null` until it is known.
export const session = cell(null);

const PROOF = 'bowline.proof';
const IS_PROOF = /^[0-9a-f]{64}$/;
const proof = () => (IS_PROOF.test(kept(PROOF) ?? '') ? kept(PROOF) : '1');

// How far the server's clock is from the browser's; what both agree on to a second is taken as the same.
let ahead = 0;
const SAME_MS = 1500;

// What time it is for the server, in milliseconds: by its clock windows of figures, faults and silences end.
export const serverNow = () => Date.now() + ahead;

function readClock(response) {
  // The header tells whole seconds: half of one is the mean of what it leaves out.
  const now = Date.parse(response.headers.get('date') ?? '') + 500 - Date.now();
  if (Math.abs(now - ahead) > SAME_MS) ahead = now;
}

// A refusal, as the server explains it; `members` is all that it says.
export class Problem extends Error {
  constructor(status, members = {}) {
    // The metrics' API says what is wrong under another name.
    const { code, detail, error, trace_id } = members;
    super(detail || error || `the server answered ${status}`);
    Object.assign(this, { status, code, traceId: trace_id, members });
  }
}

async function ask(method, path, { body, signal, headers } = {}) {
  const sent = { accept: 'application/json', 'x-bowline-console': proof(), ...headers };
  const options = { method, signal, credentials: 'same-origin', headers: sent };
  if (body !== undefined) {
    options.headers['content-type'] ??= 'application/json';
    options.body = typeof body === 'string' ? body : JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, { code: 'unavailable', detail: 'the server does not answer' });
  }
  readClock(response);
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const problem = new Problem(response.status, await response.json().catch(() => ({})));
  // The session ended, or the server came back with others: the page has to ask again. Where no token is needed, whoever's
  // session ended is refused only what they may not do without.
  if (response.status === 401 || (response.status === 403 && session.get()?.by === 'cookie')) identify();
  return problem;
}

async function parsed(response) {
  if (response.status === 204) return null;
  const text = await response.text();
  return (response.headers.get('content-type') ?? '').includes('json') ? JSON.parse(text) : text;
}

// A path with its parameters in place: `path('/v1/config', namespace, name)`. What would lead elsewhere is refused: as
// a part of a path the two are steps to every browser, however they are written.
export function path(prefix, ...parts) {
  const step = parts.find(isStep);
  if (step !== undefined) throw new Problem(400, { code: 'invalid_argument', detail: `"${step}" is no name` });
  return [prefix, ...parts.map(encodeURIComponent)].join('/');
}

export const isStep = (part) => part === '.' || part === '..';

// A path with a query; what is undefined, null or empty is left out.
export function withQuery(address, query) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== '') search.append(name, one);
    }
  }
  const text = search.toString();
  return text ? `${address}?${text}` : address;
}

export const get = async (address, signal) => parsed(await ask('GET', address, { signal }));
// The answer with its headers, for what is told there (ETag, revision).
export const getResponse = (address, signal) => ask('GET', address, { signal });
// A stream of events, as it comes.
export const getEvents = (address, signal) => ask('GET', address, { signal, headers: { accept: 'text/event-stream' } });
export const post = async (address, body, options) => parsed(await ask('POST', address, { body, ...options }));
export const put = async (address, body, options) => parsed(await ask('PUT', address, { body, ...options }));
export const del = async (address, options) => parsed(await ask('DELETE', address, options));

// A text as a string of PromQL, and of a matcher.
export const quoted = (text) => `"${text.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n')}"`;

// A PromQL expression now: a list of `{metric, value}`.
export async function query(expression, { time, signal } = {}) {
  const answer = await get(withQuery('/api/v1/query', { query: expression, time }), signal);
  const { resultType, result } = answer.data;
  if (resultType === 'scalar' || resultType === 'string') return [{ metric: {}, value: Number(result[1]) }];
  return result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
}

// A PromQL expression over time, aligned for a chart: `{times, series: [{metric, values}]}`; null where there is none.
export async function queryRange(expression, { start, end, step, limit, signal }) {
  const answer = await get(withQuery('/api/v1/query_range', { query: expression, start, end, step, limit }), signal);
  const count = Math.floor((end - start) / step + 1e-9) + 1;
  const times = Array.from({ length: count }, (_, index) => start + index * step);
  const series = answer.data.result.map(({ metric, values }) => {
    const aligned = new Array(count).fill(null);
    for (const [time, value] of values) {
      const number = Number(value);
      aligned[Math.round((time - start) / step)] = Number.isFinite(number) ? number : null;
    }
    return { metric, values: aligned };
  });
  return { times, series };
}

const AWAY_MS = 3000;
let asking = null;
let again = null;

// Asks who the reader is: once at a time, and again while nobody answers.
export function identify() {
  asking ??= asked();
  return asking;
}

// As before, but not with an answer that was on its way before the session changed.
function identifyAnew() {
  asking = asked();
  return asking;
}

async function asked() {
  clearTimeout(again);
  // Whoever asks next while this is under way waits for the same.
  await null;
  const own = asking;
  const answer = await get('/v1/session').catch((error) => error);
  if (own !== asking) return asking;
  asking = null;
  if (typeof answer?.version === 'string') return become(answer);
  again = setTimeout(identify, AWAY_MS);
  // Who is known stays who they are: what they ask for tells what is wrong.
  if (!session.get()?.role) become({ signed_in: false, role: null, is_away: true, why: answer?.status > 0 ? answer.message : undefined });
  return undefined;
}

function become(answer) {
  if (JSON.stringify(answer) !== JSON.stringify(session.get())) session.set(answer);
}

export async function signIn(token) {
  const opened = await post('/v1/session', { token });
  keep(PROOF, opened.proof);
  await identifyAnew();
}

export async function signOut() {
  try {
    await del('/v1/session');
  } catch (error) {
    // It had ended already.
    if (error.status !== 401) throw error;
  }
  keep(PROOF);
  forget();
}

// What one reader wrote or looked at is not for the next one: who keeps such things drops them here, and the page begins
// anew.
const memories = [];
export const forgetting = (drop) => memories.push(drop);

function forget() {
  for (const drop of memories) drop();
  location.reload();
}

let lastName;
session.watch(({ name }) => {
  if (name && lastName && name !== lastName) forget();
  lastName = name ?? lastName;
});

// Whoever signs in or out in another tab does it in all.
addEventListener('storage', ({ key, newValue }) => {
  if (key !== PROOF) return;
  if (newValue === null) forget();
  else identifyAnew();
});

const ROLES = ['viewer', 'editor', 'admin'];

// Whether the reader may do what that role may.
export const may = (role) => ROLES.indexOf(session.get()?.role) >= ROLES.indexOf(role);
