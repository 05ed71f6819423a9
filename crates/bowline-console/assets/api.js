// The API: what is asked for, and what went wrong.
//
// Whatever changes something carries `x-bowline-console`, which no page of another site can add.

import { cell } from './state.js';

// Who the reader is here; `null` until it is known.
export const session = cell(null);

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
    const { code, detail, error, reason, trace_id } = members;
    super(detail || error || `the server answered ${status}`);
    Object.assign(this, { status, code, reason, traceId: trace_id, members });
  }
}

async function ask(method, path, { body, signal, headers } = {}) {
  const options = { method, signal, credentials: 'same-origin', headers: { accept: 'application/json', ...headers } };
  if (method !== 'GET') options.headers['x-bowline-console'] = '1';
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
  // The token ended, or the server came back with others: the page has to ask again.
  if (response.status === 401) identify();
  return problem;
}

async function parsed(response) {
  if (response.status === 204) return null;
  const text = await response.text();
  return (response.headers.get('content-type') ?? '').includes('json') ? JSON.parse(text) : text;
}

// A path with its parameters in place: `path('/v1/config', namespace, name)`.
export const path = (prefix, ...parts) => [prefix, ...parts.map(encodeURIComponent)].join('/');

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
export const post = async (address, body, options) => parsed(await ask('POST', address, { body, ...options }));
export const put = async (address, body, options) => parsed(await ask('PUT', address, { body, ...options }));
export const del = async (address, options) => parsed(await ask('DELETE', address, options));

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

// Asks who the reader is.
export async function identify() {
  try {
    session.set(await (await fetch('/v1/session', { credentials: 'same-origin' })).json());
  } catch {
    session.set({ signed_in: false, role: null, is_away: true });
  }
}

export async function signIn(token) {
  await post('/v1/session', { token });
  await identify();
}

export async function signOut() {
  await del('/v1/session');
  await identify();
}

const ROLES = ['viewer', 'editor', 'admin'];

// Whether the reader may do what that role may.
export const may = (role) => ROLES.indexOf(session.get()?.role) >= ROLES.indexOf(role);
