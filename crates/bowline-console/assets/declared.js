// What the system's file declares of calls, data and topics, as `/v1/system` tells it.

import { t } from './i18n.js';

// Whether a call is declared, and how: `{ isDeclared, why }`; null where nobody declared a system, or cannot declare that.
export function declaration(system, caller, callee) {
  const services = system?.services ?? [];
  if (services.length === 0) return null;
  const of = (name) => services.find((service) => service.name === name);
  if (caller === 'gateway' && !of(caller)) return byRoute(system, callee);
  if (!of(caller)) return null;
  const call = of(caller).calls.find((call) => call.service === callee);
  if (call) return { isDeclared: true, why: policyOf(call) };
  if (of(callee)) return { isDeclared: false, why: t('{caller} declares no call to {callee}', { caller, callee }) };
  return byBoundary(of(caller), callee);
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
