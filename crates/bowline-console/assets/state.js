// A value that several places show: who reads it is drawn again when it changes.

import { useEffect, useState } from './html.js';

// What a table holds under a name that came from outside: `constructor` is in every object, and in no table of ours.
export const pick = (table, name, fallback) => (Object.hasOwn(table, name) ? table[name] : fallback);

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
