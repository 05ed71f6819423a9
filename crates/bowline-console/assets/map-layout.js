// Where services stand on the map: callers left of whom they call, few crossings, long edges around what lies between.
//
// After Sugiyama, Tagawa and Toda (1981): cycles are opened, layers by longest path, barycentric ordering, then heights
// near to the neighbours'. Beyond `BENDS_MAX` services edges run straight, and tall layers are folded into columns.

export const NODE = { width: 172, height: 58 };
const GAP = { x: 128, y: 26 };
const BEND_HEIGHT = 14;
const BENDS_MAX = 150;
const SWEEPS = 8;

// `names` and `edges` ([caller, callee], those that matter most first: they are not turned) to
// `{ nodes: Map(name -> {x, y}), routes: Map("caller callee" -> [{x, y}]), width, height }`. The same input gives the same map; positions are of centres.
export function layout(names, edges) {
  const graph = read(names, edges);
  const layers = layered(graph);
  const bends = names.length <= BENDS_MAX ? bent(graph, layers) : new Map();
  order(layers);
  const columns = names.length <= BENDS_MAX ? layers : folded(layers, names.length);
  place(columns);
  return measured(graph, columns, bends);
}

export const edgeKey = (caller, callee) => `${caller} ${callee}`;

function item(name, height = NODE.height) {
  return { name, height, before: [], after: [], layer: 0, x: 0, y: 0, rank: 0 };
}

function read(names, edges) {
  const nodes = new Map([...names].sort().map((name) => [name, item(name)]));
  const seen = new Set();
  const links = [];
  for (const [caller, callee] of edges) {
    const key = edgeKey(caller, callee);
    if (caller === callee || seen.has(key) || !nodes.has(caller) || !nodes.has(callee)) continue;
    seen.add(key);
    links.push({ key, from: nodes.get(caller), to: nodes.get(callee), isTurned: false });
  }
  open(links);
  return { nodes, links };
}

// Turns the edges that close a cycle with those before them.
function open(links) {
  const out = new Map();
  const reaches = (from, to) => {
    const seen = new Set([from]);
    for (const node of seen) {
      if (node === to) return true;
      for (const next of out.get(node) ?? []) seen.add(next);
    }
    return false;
  };
  for (const link of links) {
    link.isTurned = reaches(link.to, link.from);
    if (link.isTurned) [link.from, link.to] = [link.to, link.from];
    if (!out.has(link.from)) out.set(link.from, []);
    out.get(link.from).push(link.to);
  }
}

function layered({ nodes, links }) {
  for (const { from, to } of links) {
    from.after.push(to);
    to.before.push(from);
  }
  const waiting = new Map([...nodes.values()].map((node) => [node, node.before.length]));
  const ready = [...nodes.values()].filter((node) => node.before.length === 0);
  for (let index = 0; index < ready.length; index += 1) {
    for (const next of ready[index].after) {
      next.layer = Math.max(next.layer, ready[index].layer + 1);
      waiting.set(next, waiting.get(next) - 1);
      if (waiting.get(next) === 0) ready.push(next);
    }
  }
  // Who calls somebody stands right before the nearest of them, so that edges are short.
  for (const node of ready.toReversed()) {
    if (node.after.length > 0) node.layer = Math.max(node.layer, Math.min(...node.after.map((next) => next.layer)) - 1);
  }
  const layers = [];
  for (const node of ready) (layers[node.layer] ??= []).push(node);
  return Array.from(layers, (layer) => layer ?? []);
}

// Puts a bend into each layer that an edge passes.
function bent({ links }, layers) {
  const bends = new Map();
  for (const { key, from, to } of links) {
    if (to.layer - from.layer < 2) continue;
    const chain = [];
    let last = from;
    for (let layer = from.layer + 1; layer < to.layer; layer += 1) {
      const bend = { ...item(null, BEND_HEIGHT), layer, before: [last] };
      last.after = last === from ? [...last.after.filter((next) => next !== to), bend] : [bend];
      layers[layer].push(bend);
      chain.push(bend);
      last = bend;
    }
    last.after = [to];
    to.before = [...to.before.filter((node) => node !== from), last];
    bends.set(key, chain);
  }
  return bends;
}

function order(layers) {
  const number = (layer) => layer.forEach((node, index) => { node.rank = index; });
  layers.forEach(number);
  const mean = (nodes, rank) => (nodes.length === 0 ? rank : nodes.reduce((sum, node) => sum + node.rank, 0) / nodes.length);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const isDown = sweep % 2 === 0;
    for (const layer of isDown ? layers : layers.toReversed()) {
      const weights = new Map(layer.map((node) => [node, mean(isDown ? node.before : node.after, node.rank)]));
      layer.sort((a, b) => weights.get(a) - weights.get(b) || a.rank - b.rank);
      number(layer);
    }
  }
}

// Layers that are too tall stand in several columns.
function folded(layers, count) {
  const tallest = Math.max(10, Math.ceil(Math.sqrt(count) * 1.3));
  return layers.flatMap((layer) => {
    const columns = Math.max(1, Math.ceil(layer.length / tallest));
    const height = Math.ceil(layer.length / columns);
    return Array.from({ length: columns }, (_, index) => layer.slice(index * height, (index + 1) * height));
  });
}

function place(columns) {
  columns.forEach((column, index) => {
    const total = column.reduce((sum, node) => sum + node.height + GAP.y, -GAP.y);
    let y = -total / 2;
    for (const node of column) {
      node.x = index * (NODE.width + GAP.x);
      node.y = y + node.height / 2;
      y += node.height + GAP.y;
    }
  });
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const isDown = sweep % 2 === 0;
    for (const column of isDown ? columns : columns.toReversed()) settle(column, isDown);
  }
}

// Draws each towards its neighbours, in order and apart.
function settle(column, isDown) {
  const wish = (node) => {
    const near = isDown ? node.before : node.after;
    return near.length === 0 ? node.y : near.reduce((sum, other) => sum + other.y, 0) / near.length;
  };
  const wishes = column.map(wish);
  const apart = (a, b) => (a.height + b.height) / 2 + GAP.y;
  const down = [];
  column.forEach((node, index) => {
    down[index] = index === 0 ? wishes[0] : Math.max(wishes[index], down[index - 1] + apart(column[index - 1], node));
  });
  const up = [];
  for (let index = column.length - 1; index >= 0; index -= 1) {
    const below = up[index + 1];
    up[index] = below === undefined ? wishes[index] : Math.min(wishes[index], below - apart(column[index], column[index + 1]));
  }
  // Both are in order and apart, so their mean is.
  column.forEach((node, index) => { node.y = (down[index] + up[index]) / 2; });
}

function measured({ nodes, links }, columns, bends) {
  const all = columns.flat();
  const top = Math.min(...all.map((node) => node.y - node.height / 2), 0);
  const bottom = Math.max(...all.map((node) => node.y + node.height / 2), NODE.height);
  const move = ({ x, y }) => ({ x: x + NODE.width / 2, y: y - top });
  const routes = new Map();
  for (const { key, from, to, isTurned } of links) {
    const points = [from, ...(bends.get(key) ?? []), to].map(move);
    routes.set(key, isTurned ? points.reverse() : points);
  }
  return {
    nodes: new Map([...nodes.values()].map((node) => [node.name, move(node)])),
    routes,
    width: Math.max(1, columns.length) * (NODE.width + GAP.x) - GAP.x,
    height: bottom - top,
  };
}
