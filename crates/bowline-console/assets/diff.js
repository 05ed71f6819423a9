// The difference of two texts, line by line, and what two changes of one text make together.

// Beyond so many differing lines the fewest are not searched for: what lies between is told as replaced.
const EDITS_MAX = 1000;

// The lines of a text, each with its line break, so that a missing one is a difference.
export const linesOf = (text) => (text === '' ? [] : text.split(/(?<=\n)/));

// What became of each line: `{ sign: ' ' | '-' | '+', text, old?, now? }`, with the numbers it has in the two texts.
export function diff(old, now) {
  const [before, after] = [linesOf(old), linesOf(now)];
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head += 1;
  let tail = 0;
  const least = Math.min(before.length, after.length) - head;
  while (tail < least && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  const [from, to] = [before.slice(head, before.length - tail), after.slice(head, after.length - tail)];
  const pairs = search(from, to).map(([x, y]) => [x + head, y + head]);
  const heads = Array.from({ length: head }, (_, index) => [index, index]);
  const tails = Array.from({ length: tail }, (_, index) => [before.length - tail + index, after.length - tail + index]);
  return rowsOf(before, after, [...heads, ...pairs, ...tails]);
}

function rowsOf(before, after, pairs) {
  const rows = [];
  let [x, y] = [0, 0];
  for (const [nextX, nextY] of [...pairs, [before.length, after.length]]) {
    for (; x < nextX; x += 1) rows.push({ sign: '-', text: before[x], old: x + 1 });
    for (; y < nextY; y += 1) rows.push({ sign: '+', text: after[y], now: y + 1 });
    if (x < before.length && y < after.length) rows.push({ sign: ' ', text: before[x], old: x + 1, now: y + 1 });
    x += 1;
    y += 1;
  }
  return rows;
}

// The lines that both have, in order, as pairs of their places; none where the search would take too long.
//
// Source: Myers, "An O(ND) Difference Algorithm and Its Variations", 1986.
function search(before, after) {
  const numbers = new Map();
  const numbered = (lines) => lines.map((line) => numbers.get(line) ?? numbers.set(line, numbers.size).size - 1);
  const [a, b] = [numbered(before), numbered(after)];
  const most = Math.min(a.length + b.length, EDITS_MAX);
  const reached = new Int32Array(2 * most + 3);
  const middle = most + 1;
  const rounds = [];
  for (let edits = 0; edits <= most; edits += 1) {
    rounds.push(reached.slice(middle - edits - 1, middle + edits + 2));
    for (let line = -edits; line <= edits; line += 2) {
      const isDown = comesDown(line, edits, (at) => reached[middle + at]);
      let x = isDown ? reached[middle + line + 1] : reached[middle + line - 1] + 1;
      while (x < a.length && x - line < b.length && a[x] === b[x - line]) x += 1;
      reached[middle + line] = x;
      if (x >= a.length && x - line >= b.length) return traced(rounds, a.length, b.length);
    }
  }
  return [];
}

const comesDown = (line, edits, at) => line === -edits || (line !== edits && at(line - 1) < at(line + 1));

// The way back from the end, by what each round had reached.
function traced(rounds, x, y) {
  const pairs = [];
  for (let edits = rounds.length - 1; edits >= 0; edits -= 1) {
    const at = (line) => rounds[edits][line + edits + 1];
    const line = x - y;
    const before = comesDown(line, edits, at) ? line + 1 : line - 1;
    const [toX, toY] = [at(before), at(before) - before];
    while (x > toX && y > toY) pairs.push([(x -= 1), (y -= 1)]);
    [x, y] = [toX, toY];
  }
  return pairs.reverse();
}

// How many lines were added, and how many are gone.
export const tally = (rows) => ({
  added: rows.filter(({ sign }) => sign === '+').length,
  gone: rows.filter(({ sign }) => sign === '-').length,
});

// Rows with so many unchanged ones around each change; what is left out in between as `{ folded: rows }`.
export function folded(rows, context = 3) {
  const near = new Array(rows.length).fill(false);
  rows.forEach(({ sign }, index) => {
    if (sign !== ' ') near.fill(true, Math.max(0, index - context), index + context + 1);
  });
  const parts = [];
  rows.forEach((row, index) => {
    const last = parts.at(-1);
    if (near[index]) parts.push(row);
    else if (last?.folded) last.folded.push(row);
    else parts.push({ folded: [row] });
  });
  return parts;
}

// What both changes of a text make together; null where they change the same lines.
export function merge(base, theirs, mine) {
  const changes = [...changesOf(base, theirs), ...changesOf(base, mine)].sort((a, b) => a.from - b.from || a.to - b.to);
  const lines = linesOf(base);
  const merged = [];
  let at = 0;
  let last = null;
  for (const change of changes) {
    if (last && same(last, change)) continue;
    if (last && change.from <= last.to) return null;
    merged.push(...lines.slice(at, change.from), ...change.lines);
    [at, last] = [change.to, change];
  }
  return [...merged, ...lines.slice(at)].join('');
}

const same = (a, b) => a.from === b.from && a.to === b.to && a.lines.join('') === b.lines.join('');

// The changes of a text, each as the lines of it that are replaced, and by what.
function changesOf(base, now) {
  const changes = [];
  let at = 0;
  let open = null;
  for (const { sign, text } of diff(base, now)) {
    if (sign === ' ') open = null;
    else if (!open) changes.push((open = { from: at, to: at, lines: [] }));
    if (sign === '+') open.lines.push(text);
    else at += 1;
    if (sign === '-') open.to = at;
  }
  return changes;
}
