// What the system's file declares of calls, data and topics, as `/v1/system` tells it.

import { get } from './api.js';
import { t } from './i18n.js';
import { useLive } from './live.js';

// The system as it is declared. It stays the same while the server runs: of its own no event tells of it, but after one
// came back it is asked for again.
export const useSystem = () => useLive((signal) => get('/v1/system', signal), ['system'], []);

const indexes = new WeakMap();

// The services by name, each with its calls by whom they go to; made once for an answer.
function indexOf(system) {
  if (!indexes.has(system)) {
    indexes.set(system, new Map(system.services.map((service) => {
      const calls = new Map(service.calls.toReversed().map((call) => [call.service, call]));
      return [service.name, { ...service, calls }];
    })));
  }
  return indexes.get(system);
}

// Whether a call is declared, and how: `{ isDeclared, why }`; null where nobody declared a system, or cannot declare that.
export function declaration(system, caller, callee) {
  if (!system || system.services.length === 0) return null;
  const services = indexOf(system);
  const own = services.get(caller);
  if (caller === 'gateway' && !own) return byRoute(system, callee);
  if (!own) return null;
  const call = own.calls.get(callee);
  if (call) return { isDeclared: true, why: policyOf(call) };
  if (services.has(callee)) return { isDeclared: false, why: t('{caller} declares no call to {callee}', { caller, callee }) };
  return byBoundary(own, callee);
}

// The routes of the file; the gateway may have got others since, so that a missing one says nothing.
function byRoute(system, callee) {
  const routes = (system.routes ?? []).filter(({ services }) => services.includes(callee));
  return routes.length > 0 ? { isDeclared: true, why: t('routes: {names}', { names: routes.map(({ name }) => name).join(', ') }) } : null;
}

// A database or a topic is declared by who owns it.
function byBoundary(service, resource) {
  const [kind] = resource.split(':');
  const { data, state } = service.boundary;
  if (!resource.includes(':')) return null;
  const isHeld = [...data, ...state].some((own) => own === resource || own.startsWith(`${resource}/`));
  if (isHeld) return { isDeclared: true, why: t('in its boundary') };
  return data.some((own) => own.startsWith(`${kind}:`)) ? { isDeclared: false, why: t('not in its boundary') } : null;
}

// Time, failure and choice of a call, in the words of the file.
export function policyOf({ mode, policy = {}, operations = [], topics = [] }) {
  const parts = Object.entries(policy).map(([name, value]) => `${name} = ${typeof value === 'object' ? JSON.stringify(value) : value}`);
  return [`mode = ${mode}`, ...operations, ...topics.map((topic) => `topic:${topic}`), ...parts].join('\n');
}
