// How calls run on the map, and where the words about them stand: on their line, clear of services and other words, and
// of other lines where there is room.

import { NODE, edgeKey } from './map-layout.js';

// From the right side of the caller to the left side of the callee, level at each point.
function ended(points) {
  const isBack = points.at(-1).x < points[0].x;
  const side = isBack ? -1 : 1;
  const ends = points.map(({ x, y }, index) => ({
    x: index === 0 ? x + (side * NODE.width) / 2 : index === points.length - 1 ? x - (side * NODE.width) / 2 - side * 2 : x, y,
  }));
  // An edge back leaves and arrives a little lower, so that it does not cover the one forth.
  if (isBack) for (const end of ends) end.y += 12;
  return ends;
}

export function curve(points) {
  const ends = ended(points);
  return ends.slice(1).reduce((path, { x, y }, index) => {
    const from = ends[index];
    const half = (x - from.x) / 2;
    return `${path} C ${from.x + half} ${from.y}, ${x - half} ${y}, ${x} ${y}`;
  }, `M ${ends[0].x} ${ends[0].y}`);
}

export function midst(points) {
  const isBack = points.at(-1).x < points[0].x;
  const [a, b] = points.length % 2 === 0 ? [points[points.length / 2 - 1], points[points.length / 2]] : [points[(points.length - 1) / 2], points[(points.length - 1) / 2]];
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 + (isBack ? 12 : 0) };
}

const STEPS = 16;

// The line as points, so many for each part of it.
function traced(points) {
  const ends = ended(points);
  return ends.slice(1).flatMap((to, index) => {
    const from = ends[index];
    return Array.from({ length: STEPS }, (_, step) => {
      const at = (step + 1) / STEPS;
      const [a, b, c, d] = [(1 - at) ** 3, 3 * (1 - at) ** 2 * at, 3 * (1 - at) * at ** 2, at ** 3];
      return { x: a * from.x + ((b + c) * (from.x + to.x)) / 2 + d * to.x, y: (a + b) * from.y + (c + d) * to.y };
    });
  });
}

// Beyond so many calls words stand in the middles of their lines: nobody reads all of them.
const PLACED_MAX = 150;
const LINE_HEIGHT = 14;
const LETTER = 5.6;
// Where on the line they may stand, the middle first.
const PLACES = [0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82];
const COST = { box: 20, line: 2, aside: 6 };

// `words`: `[{ caller, callee, lines: [text] }]`; to `Map(key -> { x, y })`: the middle of the first line's foot. Only how
// long texts are counts, by fives, so that they stand still while figures change.
export function wordPlaces(map, words) {
  const lines = words.map(({ caller, callee, lines: texts }) => {
    const key = edgeKey(caller, callee);
    const longest = Math.max(0, ...texts.map((text) => text.length));
    return { key, points: map.routes.get(key), width: Math.ceil(longest / 5) * 5 * LETTER, height: texts.length * LINE_HEIGHT };
  }).filter(({ points }) => points);
  if (lines.length > PLACED_MAX) return new Map(lines.map(({ key, points }) => [key, above(midst(points))]));
  for (const line of lines) line.trace = traced(line.points);
  const taken = [...map.nodes.values()].map((at) => box(at, NODE.width, NODE.height));
  return new Map(lines.map((line) => {
    const best = PLACES.map((place) => candidate(line, place, lines, taken)).reduce((a, b) => (b.cost < a.cost ? b : a));
    if (line.height > 0) taken.push(best.box);
    return [line.key, best.foot];
  }));
}

const above = ({ x, y }) => ({ x, y: y - 5 });
const box = ({ x, y }, width, height) => ({ left: x - width / 2, right: x + width / 2, top: y - height / 2, bottom: y + height / 2 });
const has = (one, { x, y }) => x > one.left && x < one.right && y > one.top && y < one.bottom;
const meets = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

// What it costs to stand there. On a level line words stand above it, else they break it.
function candidate({ trace, width, height }, place, lines, taken) {
  const index = Math.round(place * (trace.length - 1));
  const [at, next] = [trace[index], trace[Math.min(index + 1, trace.length - 1)]];
  const isLevel = Math.abs(next.y - at.y) < 0.3 * Math.abs(next.x - at.x);
  const foot = isLevel ? above(at) : { x: at.x, y: at.y + 4 };
  const own = box({ x: foot.x, y: foot.y - LINE_HEIGHT / 2 + height / 2 - 3 }, width, height);
  const boxes = taken.filter((other) => meets(own, other)).length;
  const crossed = lines.reduce((sum, { trace: other }) => sum + (other === trace ? 0 : other.filter((point) => has(own, point)).length), 0);
  return { foot, box: own, cost: COST.box * boxes + COST.line * crossed + COST.aside * Math.abs(place - 0.5) };
}
