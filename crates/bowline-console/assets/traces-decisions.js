// What Bowline decided about a call, in sentences: of the attributes and events that it puts on its spans.

import { count, millis } from './format.js';
import { t } from './i18n.js';
import { pick } from './state.js';
import { attemptsOf, faultsOf } from './traces-model.js';

// What came of an attempt. Who is to blame decides on the breaker, and whether it was sent on the retry's budget.
const OUTCOMES = {
  ok: ['ok', 'answered'],
  server_error: ['bad', 'answered with an error of the server'],
  connect: ['bad', 'no connection: nothing was sent, another instance may be asked at no cost'],
  refused: ['warn', 'refused before it was worked on'],
  reset: ['bad', 'the connection broke off'],
  timeout: ['bad', 'no answer in time'],
  caller: ['warn', 'failed on the side of the caller: the instance is not to blame'],
};
export const outcome = (name) => {
  const [tone, text] = pick(OUTCOMES, name, ['quiet', name ?? '']);
  return { tone, text: t(text), isOk: name === 'ok' };
};

// Why Bowline itself answered.
const REASONS = {
  breaker_open: 'The breakers of all instances were open: nobody was asked.',
  no_instance: 'No instance was there that could be asked.',
  no_backend: 'The route has no backend that takes requests.',
  no_route: 'No route matched.',
  no_credentials: 'Whoever asked showed no credential.',
  bad_token: 'The credential was refused.',
  rate_limited: 'The limit of the route was used up.',
  timeout: 'The time of the call was over.',
  pool_full: 'Too many requests waited for a connection.',
  body_too_large: 'The body was larger than the route takes.',
  client_gone: 'The client left before the end of the answer.',
  bad_host: 'The request did not say clearly which host it is for.',
  bad_path: 'The path can be read in more than one way.',
  method_not_allowed: 'The route takes other methods.',
  not_admitted: 'The listener admits others only.',
  upstream_connect: 'No instance took a connection.',
  upstream_refused: 'The instance refused the request before it worked on it.',
  upstream_reset: 'The connection to the instance broke off.',
  upstream_malformed: 'The instance answered what is not HTTP.',
  egress_not_declared: 'The file does not say that the service may call this host.',
  mesh_not_declared: 'The mesh refused it: the file does not say that the caller calls this service.',
  mesh_operation: 'The mesh refused it: the rule does not allow this operation.',
  mesh_no_identity: 'The mesh refused it: the caller came without a certificate.',
  fault: 'A fault was injected on purpose.',
};

// `[{ tone, text }]`, in the order in which it was decided.
export function decisionsOf(span) {
  const said = [];
  const say = (tone, text, values) => said.push({ tone, text: t(text, values) });
  const at = (name) => span.attributes?.[name];
  routing(at, say);
  mesh(at, say);
  calling(span, at, say);
  for (const { attributes = {} } of faultsOf(span)) fault(attributes, say);
  const reason = at('bowline.reason');
  if (reason) say('bad', pick(REASONS, reason, 'Bowline itself answered: {reason}.'), { reason });
  const dropped = at('bowline.dropped');
  if (dropped) say('warn', '{n} attributes or events were dropped at the bounds of a span.', { n: dropped });
  return said;
}

function routing(at, say) {
  if (at('bowline.route')) {
    say('info', 'The route {route} matched; it goes to {backend}.', { route: at('bowline.route'), backend: at('bowline.backend') ?? '?' });
  }
  const [provider, who] = [at('bowline.auth'), at('enduser.id')];
  if (provider && who) say('ok', '{provider} knows the caller as {who}.', { provider, who });
  else if (provider) say('warn', '{provider} did not know the caller.', { provider });
  if (at('bowline.limit') === 'refused') say('bad', 'The limit refused it.');
  else if (at('bowline.limit')) {
    say('ok', 'The limit let it through, and {n} more at that moment.', { n: count(at('bowline.limit_remaining')) });
  }
}

function mesh(at, say) {
  const [caller, rule] = [at('bowline.caller'), at('bowline.rule')];
  if (at('bowline.dry_run')) say('warn', 'The mesh would have refused {caller} by {rule}, were its rules enforced.', { caller, rule });
  else if (caller && rule && rule !== 'none') say('ok', 'The rule {rule} of the mesh let {caller} pass.', { caller, rule });
  else if (caller === 'unknown') say('warn', 'The caller came without a certificate.');
  else if (caller) say('info', 'Called by {caller}.', { caller });
}

function calling(span, at, say) {
  const instance = at('bowline.instance');
  const attempts = attemptsOf(span);
  if (at('bowline.version')) say('info', 'The split of traffic chose version {version}.', { version: at('bowline.version') });
  if (!instance) return;
  const failed = attempts.filter(({ attributes }) => attributes?.['bowline.outcome'] !== 'ok');
  const tried = Number(at('bowline.attempts')) || attempts.length;
  if (tried <= 1 && failed.length === 0) say('ok', '{instance} was picked and answered at the first attempt.', { instance });
  else if (failed.length < attempts.length) say('warn', '{n} attempts: {instance} answered the last one.', { n: tried, instance });
  else if (tried > 1) say('bad', '{n} attempts: none was answered, {instance} was asked last.', { n: tried, instance });
  else say('bad', '{instance} was picked; it was not tried again.', { instance });
}

function fault(attributes, say) {
  const { 'bowline.fault': id = '?', 'bowline.fault.delay_ms': delay, 'bowline.fault.abort': status } = attributes;
  if (delay !== undefined) say('warn', 'The fault {id} held it up for {length}, on purpose.', { id, length: millis(Number(delay)) });
  if (status !== undefined) say('warn', 'The fault {id} answered {status} in the place of the service, on purpose.', { id, status });
}
