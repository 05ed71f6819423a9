// What the pages of configuration know of a document: whose it is, who runs it, how its address is made.

import { Problem, forgetting, get, path } from './api.js';
import { t, tn } from './i18n.js';
import { pick } from './state.js';
import { say } from './ui.js';

export const DOCUMENT_BYTES_MAX = 256 * 1024;
const NAMED_MAX = 10;

export const addressOf = ({ namespace, name }, ...parts) => [path('/v1/config', namespace, name), ...parts].join('/');

export function split(key) {
  const at = key.indexOf('/');
  return { key, namespace: key.slice(0, at), name: key.slice(at + 1) };
}

// Documents of Bowline itself: with them a rule could be weakened, so changing them is an administrator's.
export const isBowlines = (namespace) => namespace === 'bowline' || namespace.startsWith('bowline.');
export const roleOf = ({ namespace }) => (isBowlines(namespace) ? 'admin' : 'editor');

// What the control plane compiles, it alone writes.
export const isCompiled = ({ namespace }) => namespace.startsWith('bowline.');

// What there is, or null where there is nothing.
export async function orNull(asked) {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

// For a button: what goes wrong before anything is asked is said.
export const tried = (act) => () => act().catch((error) => say(error.message));

export const statusOf = (document, signal) => get(addressOf(document, 'status'), signal);

// What an instance makes of the current version: its tone and a word.
export function standing({ version, outcome, runs }, current) {
  if (outcome === 'refused' && version === current) return ['bad', 'refused'];
  if (current === undefined) return ['info', 'runs the last one'];
  if (runs === current) return ['ok', 'up to date'];
  return ['warn', 'behind'];
}

// How many instances follow a document, how many run what is current, how many refused it.
export function reached({ instances, current }) {
  const words = instances.map((instance) => standing(instance, current?.number)[1]);
  return {
    all: instances.length,
    current: words.filter((word) => word === 'up to date').length,
    refused: words.filter((word) => word === 'refused').length,
  };
}

// Whom a change of the document touches, a line a service.
export function touchesOf({ instances }) {
  if (instances.length === 0) return [t('No instance says that it follows this document.')];
  const byService = new Map();
  for (const { service, instance } of instances) {
    if (!byService.has(service)) byService.set(service, []);
    byService.get(service).push(instance);
  }
  return [...byService].map(([service, names]) => {
    const named = names.slice(0, NAMED_MAX).join(', ');
    const rest = names.length - NAMED_MAX;
    const all = tn('{service}: {n} instance', '{service}: {n} instances', names.length, { service });
    return `${all} (${named}${rest > 0 ? ', …' : ''})`;
  });
}

const ORIGINS = { api: 'over the API', file: 'from a file' };
export const originOf = (origin) => t(pick(ORIGINS, origin, origin));

// What has been written and not published, by key: kept while the console is open, and nowhere else, since a document
// may hold what is nobody's business.
export const drafts = new Map();
forgetting(() => drafts.clear());
addEventListener('beforeunload', (event) => drafts.size > 0 && event.preventDefault());

// A text with the line breaks of another: a field of a page has only one kind.
export function brokenAs(model, text) {
  const isOtherwise = /\r\n/.test(model) && !/(^|[^\r])\n/.test(model);
  return isOtherwise ? text.replaceAll('\n', '\r\n') : text;
}

export const plainBreaks = (text) => text.replaceAll('\r\n', '\n');
