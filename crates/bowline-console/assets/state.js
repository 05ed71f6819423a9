// Values that several places show: who reads one is drawn again when it changes. What stays in the browser, and look-ups.

import { useEffect, useState } from './html.js';

// What a table holds under a name that came from outside: `constructor` is in every object, and in no table of ours.
export const pick = (table, name, fallback) => (Object.hasOwn(table, name) ? table[name] : fallback);

// What this browser keeps for the console. Storage may be blocked or full: then it is kept until the page is left.
const unkept = new Map();

export function kept(name) {
  if (unkept.has(name)) return unkept.get(name);
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

// Without a value nothing is kept any more.
export function keep(name, value = null) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
    unkept.delete(name);
  } catch {
    unkept.set(name, value);
  }
}

// Whether this tab does that for the first time, also after the page was loaded again; where that cannot be remembered, it
// is never the first.
export function isFirst(name) {
  try {
    if (sessionStorage.getItem(name) !== null) return false;
    sessionStorage.setItem(name, '');
    return true;
  } catch {
    return false;
  }
}

// The next time is the first again.
export function anew(name) {
  try {
    sessionStorage.removeItem(name);
  } catch {
    // Nothing was remembered.
  }
}

export function cell(initial) {
  const readers = new Set();
  let value = initial;
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const reader of [...readers]) reader(next);
    },
    watch(reader) {
      readers.add(reader);
      return () => readers.delete(reader);
    },
  };
}

// The value of a cell, in a component.
export function useCell(source) {
  const [value, set] = useState(source.get());
  useEffect(() => {
    set(source.get());
    return source.watch(set);
  }, [source]);
  return value;
}
