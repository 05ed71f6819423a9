// Where the reader is: the path behind /ui/, and the query. Links inside the console do not load the page again.

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
  return BASE + parts.map(encodeURIComponent).join('/') + (search ? `?${search}` : '');
}

// Goes to a page, with `replace` without a step for the back button, with `isStill` without going to its top.
export function go(address, { replace = false, isStill = replace } = {}) {
  history[replace ? 'replaceState' : 'pushState'](null, '', address);
  route.set(read());
  if (!isStill) scrollTo(0, 0);
}

// Changes some of the query, and stays on the page.
export function goQuery(changes, options = { replace: true }) {
  const { path, query } = route.get();
  go(to(...path, { ...query, ...changes }), { ...options, isStill: true });
}

export const useRoute = () => useCell(route);

addEventListener('popstate', () => route.set(read()));
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
