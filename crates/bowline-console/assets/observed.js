// What was seen of a service held against what it declares: the rules B0101 and B0103 to B0109 of `bowline check --observed`, as
// far as they are about one service. The command proves the whole system, and names the line of its file.

import { t } from './i18n.js';
import { pick } from './state.js';

const TOPIC = 'topic';
const KINDS = { postgresql: 'postgres', 'microsoft.sql_server': 'mssql' };
const kindOf = (kind) => pick(KINDS, kind, kind);

// What breaks a rule: `[{ rule, severity, text, count, sample }]`, errors first.
export function findings({ services }, observed, name) {
  const of = (wanted) => services.find((service) => service.name === wanted);
  if (services.length === 0) return [];
  const concerns = ({ caller, callee }) => caller === name || callee === name;
  const found = [
    ...observed.edges.filter(concerns).flatMap((edge) => ofEdge(edge, of)),
    ...observed.uses.flatMap((use) => ofUse(use, services, name)),
    ...observed.breaches.filter(concerns).map(ofBreach),
  ];
  return found.sort((a, b) => (a.severity === b.severity ? a.rule.localeCompare(b.rule) : a.severity === 'error' ? -1 : 1));
}

const finding = (rule, severity, text, { count, sample }) => ({ rule, severity, text, count, sample });
const few = (texts) => texts.slice(0, 5).join(', ') + (texts.length > 5 ? ' …' : '');

function ofEdge(edge, of) {
  const { caller, callee, operations, topics, is_denied: isDenied } = edge;
  if (!of(callee)) return [];
  const end = isDenied ? t('the mesh refused it') : t('it got through');
  const asked = operations.map(({ method, path }) => `${method} ${path}`);
  const purpose = few([...asked, ...topics.map((topic) => `topic:${topic}`)]) || '–';
  const names = { caller, callee, purpose, end };
  if (!caller) return [finding('B0109', 'warning', t('Nobody knows who called {callee} ({purpose}); {end}', names), edge)];
  if (!of(caller)) {
    // Others of this system's trust domain are not in the file.
    if (!caller.includes('://')) return [];
    return [finding('B0101', 'error', t('{caller} of another system called {callee} ({purpose}); {end}', names), edge)];
  }
  const call = of(caller).calls.find(({ service }) => service === callee);
  if (!call) return [finding('B0101', 'error', t('{caller} called {callee} ({purpose}), which is not declared; {end}', names), edge)];
  return [wrongOperations(edge, call, of(callee)), wrongTopics(edge, call), wrongWait(edge, call)].filter(Boolean);
}

// What the call does not name, or where it names nothing, the callee does not offer.
function wrongOperations(edge, call, callee) {
  const named = call.operations ?? [];
  const allowed = named.length > 0 ? named : callee.boundary.api;
  const wrong = edge.operations.filter((asked) => allowed.length > 0 && !allowed.some((one) => isOperation(one, asked)));
  if (wrong.length === 0) return null;
  const { caller } = edge;
  const what = few(wrong.map(({ method, path }) => `${method} ${path}`));
  const text = named.length > 0
    ? t('{caller} asked {callee} for {what}, which the call does not name', { caller, callee: callee.name, what })
    : t('{caller} asked {callee} for {what}, which it does not offer', { caller, callee: callee.name, what });
  return finding('B0101', 'error', text, { ...edge, count: wrong.reduce((sum, { count }) => sum + count, 0) });
}

// Whether what was asked for may be that operation: of a template, its parameters may be any text.
export function isOperation(operation, { method, path }) {
  const [ownMethod, ownPath = ''] = operation.split(' ');
  if (ownMethod.toUpperCase() !== method.toUpperCase()) return false;
  const own = ownPath.split('/').filter(Boolean);
  const asked = path.split('/').filter(Boolean);
  const isRest = (part) => part === '**' || part.startsWith('{*');
  for (const [index, part] of own.entries()) {
    if (isRest(part) || isRest(asked[index] ?? '')) return true;
    if (asked[index] === undefined) return false;
    if (!/^\{.*\}$/.test(asked[index]) && !/^\{.*\}$/.test(part) && part !== asked[index]) return false;
  }
  return asked.length <= own.length || isRest(asked[own.length]);
}

function wrongTopics(edge, call) {
  const named = call.topics;
  // An older server does not say which.
  if (named === undefined && call.mode === 'message') return null;
  const wrong = edge.topics.filter((topic) => !(named ?? []).includes(topic));
  const isWrongMode = edge.mode === 'message' && call.mode !== 'message' && (named ?? []).length === 0;
  if (wrong.length === 0 && !isWrongMode) return null;
  const names = { caller: edge.caller, callee: edge.callee, topics: few(wrong) };
  return finding('B0101', 'error', t('{caller} sent messages to {callee} ({topics}), which the call does not declare', names), edge);
}

function wrongWait({ is_denied: isDenied, caller, callee, mode, waited, count, sample }, call) {
  if (isDenied) return null;
  if (call.mode !== 'sync' && waited > 0) {
    const names = { caller, callee, mode: call.mode };
    const text = t('{caller} waited for {callee}, in a call that is declared {mode}', names);
    return finding('B0105', 'error', text, { count: waited, sample });
  }
  if (call.mode !== 'sync' || mode !== 'async') return null;
  return finding('B0106', 'error', t('{caller} went on before {callee} was through', { caller, callee }), { count, sample });
}

// Data that a stranger touched, or a topic that one wrote: by this service, or of this service.
function ofUse(use, services, name) {
  if (use.kind === TOPIC && !use.is_written) return [];
  const ownedBy = ({ boundary }) => (use.kind === TOPIC ? boundary.state : boundary.data);
  const owners = services.filter((service) => ownedBy(service).some((own) => holds(own, use)));
  const isConcerned = use.service === name || owners.some((owner) => owner.name === name);
  if (!isConcerned || owners.some((owner) => owner.name === use.service)) return [];
  const what = resourceOf(use);
  const rule = use.kind === TOPIC ? 'B0104' : 'B0103';
  const { service: user } = use;
  if (owners.length > 0) {
    return [finding(rule, 'error', t('{user} used {what}, which {owner} owns', { user, what, owner: owners[0].name }), use)];
  }
  // Somebody outside of the system, and what is not the system's.
  if (!services.some((service) => service.name === user)) return [];
  return [finding(rule, 'warning', t('{user} used {what}, and nobody owns it', { user, what }), use)];
}

export const resourceOf = ({ kind, name, table }) => `${kindOf(kind)}:${name}${table ? `/${table}` : ''}`;

// Whether a resource of the file is, or holds, what was used. A SQLite file may be told by its path.
export function holds(own, { kind, name, table }) {
  const [, ownKind, rest] = /^([^:]*):(.*)$/s.exec(own) ?? [];
  if (ownKind === undefined || kindOf(ownKind) !== kindOf(kind)) return false;
  if (kind === TOPIC) return rest === name || (rest.endsWith('.*') && name.startsWith(rest.slice(0, -1)));
  const [database, ...tables] = rest.split('/');
  const file = kind === 'sqlite' ? name.split('/').at(-1) : name;
  if (database !== file) return false;
  const wanted = tables.join('.');
  return wanted === '' || !table || table === wanted || table.endsWith(`.${wanted}`);
}

const BREACHES = { sync: 'B0106', async: 'B0107', message: 'B0108' };

function ofBreach({ caller, callee, mode, expected, got, count, sample }) {
  const text = expected
    ? t('{caller} to {callee}: {got} came where {expected} was due', { caller, callee, got, expected })
    : t('{caller} to {callee}: {got} came after the end', { caller, callee, got });
  return finding(pick(BREACHES, mode, 'B0106'), 'error', text, { count, sample });
}

// Declared calls that no trace shows, as `caller → callee`: no violation, and only where all was observed.
export function unseen({ services }, observed, name) {
  if (observed.gaps.length > 0 || observed.sample || observed.spans === 0) return [];
  const seen = new Set(observed.edges.map(({ caller, callee }) => `${caller} ${callee}`));
  const declared = services.flatMap((service) => service.calls.map((call) => [service.name, call.service]));
  const ofIt = declared.filter(([caller, callee]) => caller === name || callee === name);
  return ofIt.filter(([caller, callee]) => !seen.has(`${caller} ${callee}`)).map((ends) => ends.join(' → '));
}
