// A trace as rows: parents before children, clocks brought in line, and what the time of the whole went into.
//
// The same rules as `bowline trace`: a span whose parent is not there stands under a row that stands for the parent;
// where clocks differ so that a call would begin before its caller, it is moved into its caller.

// JSON, but with numbers that a double cannot hold (times in nanoseconds, ids) as their digits, not rounded.
export function exactly(text) {
  return JSON.parse(text, (_, value, context) => {
    const isRounded = typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
    return isRounded && context?.source ? context.source : value;
  });
}

const integer = (value) => (typeof value === 'string' ? BigInt(value) : BigInt(Math.round(value ?? 0)));
export const attribute = (span, name) => span.attributes?.[name];
export const isError = (span) => span?.status?.code === 'error';
const eventsOf = (span, name) => (span.events ?? []).filter((event) => event.name === name);
export const attemptsOf = (span) => eventsOf(span, 'attempt');
export const faultsOf = (span) => eventsOf(span, 'fault');

// `{ rows, total, services, zero }`; times of rows in nanoseconds from the begin of the trace.
export function modelOf(spans) {
  const tree = treeOf(spans);
  const rows = [];
  for (const top of tree.tops) place(tree, top, rows);
  placeCircles(tree, rows);
  close(rows);
  const total = rows.reduce((last, row) => Math.max(last, row.end), 1);
  const services = servicesOf(rows);
  if (rows.length > 0) markCritical(rows);
  return { rows, total, services, zero: tree.zero, spans };
}

// The span that a trace began with; where it is not there, the earliest.
export function rootOf({ rows }) {
  const spans = rows.filter(({ span }) => span).map(({ span }) => span);
  return spans.find(({ parent_span_id: parent }) => !parent) ?? spans[0];
}

// A trace in short, as a search tells it, and how many spans are named as callers and are not there.
export function summaryOf(model) {
  const { rows, zero, total, spans } = model;
  const root = rootOf(model);
  return {
    status: root?.status?.code, has_root: Boolean(root) && !root.parent_span_id, has_error: spans.some(isError),
    start_unix_nanos: Number(zero), duration_nanos: total, missing: rows.filter(({ span }) => !span).length,
  };
}

// === who is whose child ===

function treeOf(spans) {
  const byId = new Map();
  spans.forEach((span, index) => byId.has(span.span_id) || byId.set(span.span_id, index));
  const begins = spans.map((span) => integer(span.start_unix_nanos));
  const zero = zeroOf(spans, byId, begins);
  const starts = begins.map((begin) => Number(begin - zero));
  const children = new Map();
  const orphans = new Map();
  const tops = [];
  const add = (map, key, index) => (map.has(key) ? map.get(key).push(index) : map.set(key, [index]));
  spans.forEach((span, index) => {
    if (!span.parent_span_id) tops.push({ index, start: starts[index] });
    else if (byId.has(span.parent_span_id)) add(children, byId.get(span.parent_span_id), index);
    else add(orphans, span.parent_span_id, index);
  });
  for (const [id, indices] of orphans) {
    tops.push({ missing: id, indices, start: indices.reduce((least, index) => Math.min(least, starts[index]), Infinity) });
  }
  tops.sort((a, b) => a.start - b.start);
  return { spans, starts, zero, children, tops, isPlaced: new Array(spans.length).fill(false) };
}

// The trace begins with the first span that nobody there called: a child that begins sooner has another clock.
function zeroOf(spans, byId, begins) {
  const isTop = (span) => !span.parent_span_id || !byId.has(span.parent_span_id);
  const tops = begins.filter((_, index) => isTop(spans[index]));
  const all = tops.length > 0 ? tops : begins;
  return all.reduce((least, begin) => (begin < least ? begin : least), all[0] ?? 0n);
}

function rowOf(span, id, depth, parent, start, duration) {
  return { span, id, at: -1, depth, parent, start, end: start + duration, under: 0, children: 0, critical: [], own: 0 };
}

function place(tree, top, rows) {
  if (top.missing === undefined) {
    placeUnder(tree, { index: top.index, depth: 0, parent: -1, start: top.start, shift: 0 }, rows);
    return;
  }
  const { spans, starts } = tree;
  const end = top.indices.reduce((last, index) => Math.max(last, starts[index] + spans[index].duration_nanos), 0);
  const at = rows.push(rowOf(null, top.missing, 0, -1, top.start, end - top.start)) - 1;
  for (const index of [...top.indices].sort((a, b) => starts[a] - starts[b])) {
    placeUnder(tree, { index, depth: 1, parent: at, start: starts[index], shift: 0 }, rows);
  }
}

// What no root leads to has its parents in a circle: the earliest of it stands for the root.
function placeCircles(tree, rows) {
  const left = tree.spans.map((_, index) => index).filter((index) => !tree.isPlaced[index]);
  for (const index of left.sort((a, b) => tree.starts[a] - tree.starts[b])) {
    placeUnder(tree, { index, depth: 0, parent: -1, start: tree.starts[index], shift: 0 }, rows);
  }
}

// A span and all under it; on a stack of its own, as traces can be deep.
function placeUnder(tree, top, rows) {
  const stack = [top];
  while (stack.length > 0) {
    const next = stack.pop();
    if (tree.isPlaced[next.index]) continue;
    tree.isPlaced[next.index] = true;
    const span = tree.spans[next.index];
    const at = rows.push(rowOf(span, span.span_id, next.depth, next.parent, next.start, span.duration_nanos)) - 1;
    const children = (tree.children.get(next.index) ?? []).map((index) => moved(tree, index, next, at));
    // The last of the stack is placed first.
    stack.push(...children.sort((a, b) => b.start - a.start || b.index - a.index));
  }
}

// Where a child stands, its clock brought in line with its parent's.
function moved(tree, index, parent, at) {
  const span = tree.spans[index];
  const room = tree.spans[parent.index].duration_nanos - span.duration_nanos;
  const isServer = span.kind === 'server';
  let start = tree.starts[index] + parent.shift;
  const isOutside = start < parent.start || (isServer && start > parent.start + tree.spans[parent.index].duration_nanos);
  if (isOutside) start = isServer && room > 0 ? parent.start + room / 2 : parent.start;
  return { index, depth: parent.depth + 1, parent: at, start, shift: start - tree.starts[index] };
}

// Numbers the rows, and counts what is under each.
function close(rows) {
  for (let at = rows.length - 1; at >= 0; at -= 1) {
    rows[at].at = at;
    const above = rows[rows[at].parent];
    if (!above) continue;
    above.under += rows[at].under + 1;
    above.children += 1;
  }
}

// === where the time went ===

// The services in the order in which they come, each with a colour of its own as far as there are some.
const LINES = [1, 2, 3, 6, 7, 8, 5, 4];
function servicesOf(rows) {
  const services = new Map();
  for (const { span } of rows) {
    if (!span) continue;
    const known = services.get(span.service);
    const colour = `var(--line-${LINES[services.size % LINES.length]})`;
    const service = known ?? { name: span.service, colour, spans: 0, errors: 0 };
    if (!known) services.set(span.service, service);
    service.spans += 1;
    service.errors += isError(span) ? 1 : 0;
  }
  return services;
}

// Marks what the trace waited for, from its end back to its begin: at each moment the deepest span that ended last of
// those that whoever called waited for. What goes on behind its caller's end (a message) held nobody up.
function markCritical(rows) {
  const children = rows.map(() => []);
  rows.forEach((row, at) => row.parent >= 0 && children[row.parent].push(at));
  // From the last: what a sidecar is given is not divided again.
  for (let at = rows.length - 1; at >= 0; at -= 1) enclose(rows, children, at);
  const top = rows.findIndex((row) => row.parent < 0);
  const stack = [{ at: top, till: rows[top].end }];
  while (stack.length > 0) {
    const { at, till } = stack.pop();
    const row = rows[at];
    let cursor = till;
    for (const child of children[at].sort((a, b) => rows[b].end - rows[a].end)) {
      const { span, start, end } = rows[child];
      const isAwaited = end <= row.end || span?.kind !== 'consumer';
      const stop = Math.min(end, till);
      // One that ran beside one that ended later held nobody up.
      if (!isAwaited || start >= stop || stop > cursor) continue;
      own(row, stop, cursor);
      stack.push({ at: child, till: stop });
      cursor = start;
    }
    own(row, row.start, cursor);
  }
}

const isSidecar = ({ span }) => attribute(span, 'bowline.route') === 'inbound';

// A sidecar's span stands beside that of the service it passes on to, under the same caller; but it waited for it.
function enclose(rows, children, parent) {
  const known = children[parent].filter((at) => rows[at].span?.instance);
  if (!known.some((at) => isSidecar(rows[at]))) return;
  const taken = new Set();
  for (const siblings of Map.groupBy(known, (at) => rows[at].span.instance).values()) {
    for (const [sidecar, at] of within(rows, siblings)) {
      children[sidecar].push(at);
      taken.add(at);
    }
  }
  children[parent] = children[parent].filter((at) => !taken.has(at));
}

// Which spans of one instance ended within which sidecar: `[sidecar, span]`. Sidecars within others are told as spans, so
// that of the rest the one that began later also ended later.
function within(rows, siblings) {
  const rank = (at) => Number(!isSidecar(rows[at]));
  const order = (a, b) => rows[a].start - rows[b].start || rows[b].end - rows[a].end || rank(a) - rank(b) || a - b;
  const sidecars = [];
  const found = [];
  for (const at of siblings.sort(order)) {
    const sidecar = sidecars[firstFrom(sidecars, (one) => rows[one].end >= rows[at].end)];
    if (sidecar !== undefined) found.push([sidecar, at]);
    else if (isSidecar(rows[at])) sidecars.push(at);
  }
  return found;
}

// The place of the first that it holds for, of a list where it holds from there on.
function firstFrom(list, holds) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(list[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

function own(row, from, to) {
  if (to <= from) return;
  row.critical.push([from, to]);
  row.own += to - from;
}

// What was waited for in a row itself, from left to right, in pieces that can be told apart at that resolution.
export function criticalPieces({ critical }, resolution) {
  const pieces = [];
  for (let at = critical.length - 1; at >= 0; at -= 1) {
    const [from, to] = critical[at];
    const last = pieces.at(-1);
    if (last && from - last[1] < resolution) last[1] = to;
    else pieces.push([from, to]);
  }
  return pieces;
}

// What the trace waited for, by service and name, the longest first; with `isWhole` also what it did not wait for.
export function criticalOf({ rows }, { isWhole = false } = {}) {
  const parts = new Map();
  for (const { span, own: length } of rows) {
    if (!span || (length === 0 && !isWhole)) continue;
    const key = JSON.stringify([span.service, span.name]);
    const part = parts.get(key) ?? { service: span.service, name: span.name, length: 0, spans: 0, faults: 0 };
    part.length += length;
    part.spans += 1;
    part.faults += faultsOf(span).length;
    parts.set(key, part);
  }
  return [...parts.values()].sort((a, b) => b.length - a.length);
}

// The lines of the waterfall: the rows that are not folded away, and below a row its attempts, where these tell more.
export function linesOf({ rows, zero }, folded) {
  const lines = [];
  for (let at = 0; at < rows.length; at += 1) {
    const row = rows[at];
    lines.push({ row, at });
    const attempts = row.span ? attemptsOf(row.span) : [];
    if (attempts.length > 1 || attempts.some((event) => event.attributes?.['bowline.outcome'] !== 'ok')) {
      const shift = row.start - Number(integer(row.span.start_unix_nanos) - zero);
      for (const event of attempts) lines.push({ row, at, attempt: attempt(event, zero, shift) });
    }
    if (folded.has(row.id)) at += row.under;
  }
  return lines;
}

// An attempt is told when it ended.
function attempt(event, zero, shift) {
  const of = (name) => event.attributes?.[`bowline.${name}`];
  const end = Number(integer(event.at_unix_nanos) - zero) + shift;
  const start = end - (Number(of('duration_nanos')) || 0);
  return { number: of('attempt'), instance: of('instance'), outcome: of('outcome'), start, end };
}

// When an event of a row happened, from the begin of the trace.
export const eventAt = ({ zero }, event) => Number(integer(event.at_unix_nanos) - zero);
