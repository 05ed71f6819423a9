// Where the reader is: the path behind /ui/, and the query. Links inside the console do not load the page again.

import { isStep } from './api.js';
import { cell, useCell } from './state.js';

const BASE = '/ui/';

function read() {
  const path = location.pathname.startsWith(BASE) ? location.pathname.slice(BASE.length) : '';
  let parts;
  try {
    parts = path.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    parts = ['unknown'];
  }
  return { path: parts, query: Object.fromEntries(new URLSearchParams(location.search)) };
}

const route = cell(read());

// The address of a page: `to('services', 'order')`, with a query as the last argument if it is an object.
export function to(...parts) {
  const query = typeof parts.at(-1) === 'object' ? parts.pop() : {};
  const kept = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const search = new URLSearchParams(kept).toString();
  return BASE + parts.map(segment).join('/') + (search ? `?${search}` : '');
}

// A browser takes `..` for a step, even if it is encoded; encoded twice it is a name that nobody has.
const segment = (part) => encodeURIComponent(isStep(part) ? part.replaceAll('.', '%2E') : part);

// Whether another page has come than the focus was on: the next heading that is drawn takes it.
let hasArrived = false;
export function takeArrival() {
  const was = hasArrived;
  hasArrived = false;
  return was;
}

function arrive() {
  const next = read();
  hasArrived ||= next.path.join('/') !== route.get().path.join('/');
  route.set(next);
}

// Goes to a page, with `replace` without a step for the back button, with `isStill` without going to its top.
export function go(address, { replace = false, isStill = replace } = {}) {
  history[replace ? 'replaceState' : 'pushState'](null, '', address);
  arrive();
  if (!isStill) scrollTo(0, 0);
}

// Changes some of the query, and stays on the page.
export function goQuery(changes, options = { replace: true }) {
  const { path, query } = route.get();
  go(to(...path, { ...query, ...changes }), { ...options, isStill: true });
}

export const useRoute = () => useCell(route);

addEventListener('popstate', arrive);
addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  const isPlain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  if (!link || !isPlain || link.target || link.hasAttribute('download') || event.defaultPrevented) return;
  if (link.origin !== location.origin || !link.pathname.startsWith(BASE) || link.pathname.startsWith('/ui/assets/')) return;
  // A place on this page is the browser's.
  if (link.hash && link.pathname === location.pathname) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
