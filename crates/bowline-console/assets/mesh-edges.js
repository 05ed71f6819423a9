// Who may call whom and who did: what is declared, what spans show, and what sidecars decided, put together.

import { declaration } from './declared.js';
import { pick } from './state.js';

// `rule` of decisions where there is none.
export const NO_RULE = 'none';

const nameOf = (caller) => caller.replace(/^service\//, '');

// Edges `{ caller, callee, mode, call, routes, seen, isDeclared, allowed, refused, refusedLately, dryRun, rules }`: first
// those that are not declared, then those with calls that were refused. What is not known yet may be absent.
export function edgesOf({ system, graph, decisions = [], refused = [] }) {
  const edges = new Map();
  const edge = (caller, callee) => {
    const key = `${caller} ${callee}`;
    if (!edges.has(key)) edges.set(key, { caller, callee, routes: [], rules: [], allowed: 0, refused: 0, dryRun: 0, refusedLately: 0 });
    return edges.get(key);
  };
  addDeclared(system, edge);
  addSeen(system, graph, edge);
  for (const { metric, value } of decisions) addDecision(edge, metric, value);
  for (const { metric: { caller, service }, value } of refused) {
    if (caller && service) edge(nameOf(caller), service).refusedLately += value;
  }
  const told = [...edges.values()].filter(isTold);
  for (const one of told) one.isDeclared = declaredOf(one, system);
  return told.sort((a, b) => weightOf(a) - weightOf(b) || a.caller.localeCompare(b.caller) || a.callee.localeCompare(b.callee));
}

const weightOf = ({ isDeclared, refused, dryRun }) => (isDeclared === false ? 0 : refused + dryRun > 0 ? 1 : 2);

function addDeclared(system, edge) {
  for (const { name, calls } of system?.services ?? []) {
    for (const call of calls) Object.assign(edge(name, call.service), { call, mode: call.mode });
  }
  for (const { name, services } of system?.routes ?? []) {
    for (const service of services) {
      const one = edge('gateway', service);
      one.mode = 'sync';
      one.routes.push(name);
    }
  }
}

// Databases and topics are no workloads; hosts elsewhere are none of the mesh's.
function addSeen(system, graph, edge) {
  const declared = new Set((system?.services ?? []).map(({ name }) => name));
  const known = new Set((graph?.services ?? []).filter((service) => service.is_instrumented).map(({ name }) => name));
  for (const seen of graph?.edges ?? []) {
    if (!declared.has(seen.callee) && !known.has(seen.callee)) continue;
    const one = edge(seen.caller, seen.callee);
    one.mode ??= seen.mode;
    // Of two modes the one that is declared, else the one with more calls.
    if (!one.seen || seen.figures.count > one.seen.figures.count) one.seen = seen;
  }
}

const COUNTED = { allowed: 'allowed', denied: 'refused', dry_run: 'dryRun' };

function addDecision(edge, { caller, service, rule, decision }, value) {
  // Whoever is scraped may leave out what it likes.
  if (value === 0 || !caller || !service) return;
  const one = edge(nameOf(caller), service);
  const name = pick(COUNTED, decision);
  if (!name) return;
  one[name] += value;
  one.rules.push({ rule, decision, value });
}

const isTold = (edge) => edge.call || edge.routes.length > 0 || edge.seen || edge.allowed + edge.refused + edge.dryRun > 0;

// Whether it is declared; null where nobody can say. A rule that let a call pass was compiled from what is declared.
function declaredOf({ caller, callee, rules }, system) {
  const declared = declaration(system, caller, callee);
  if (declared?.isDeclared) return true;
  if (rules.some(({ rule, decision }) => decision === 'allowed' && rule !== NO_RULE)) return true;
  return declared ? false : rules.some(({ rule, decision }) => decision !== 'allowed' && rule === NO_RULE) ? false : null;
}
