// What operators order of a rollout; each asks first, with what it touches.

import { html } from './html.js';
import { get, path, post, withQuery } from './api.js';
import { bakeText, instancesText, isBack } from './deployments-model.js';
import { t } from './i18n.js';
import { ask, RoleButton, say } from './ui.js';

const INSTANCES_MAX = 1000;

export const instancesOf = async (service, signal) =>
  (await get(withQuery('/v1/instances', { service, limit: INSTANCES_MAX }), signal)).instances;

// What each order is called, what it does, and to whom.
const ORDERS = {
  pause: ({ share, to, service }) => ({
    title: t('Pause the rollout of {to}', { to }),
    word: t('Pause'),
    touches: () => [
      t('It stays where it is: at most {share} of the requests to {service} go to {to}.', { share, service, to }),
      t('What is measured can still end it.'),
    ],
  }),
  resume: ({ to, ...plan }) => ({
    title: t('Resume the rollout of {to}', { to }),
    word: t('Resume'),
    touches: () => [t('It goes on at its step, and bakes anew for {bake}.', { bake: bakeText(plan) })],
  }),
  promote: ({ service, from, to }) => ({
    title: t('Promote {to} of {service}', { to, service }),
    word: t('Promote'),
    touches: (instances) => [
      t('The steps that are left are skipped: all requests to {service} go to {to}, whatever was measured.', {
        service, to,
      }),
      t('These run in full: {instances}', { instances: instancesText(to, instances) }),
      t('These stop: {instances}', { instances: instancesText(from, instances) }),
    ],
  }),
  abort: ({ service, from, to }) => ({
    title: t('Abort the rollout of {to}', { to }),
    word: t('Abort'),
    tone: 'danger',
    touches: (instances) => [
      t('All requests to {service} go back to {from}. Nothing that is ordered later changes that.', { service, from }),
      t('These stop: {instances}', { instances: instancesText(to, instances) }),
    ],
  }),
};

async function order(name, deployment, reload) {
  const { service, id } = deployment;
  const { touches, ...question } = ORDERS[name](deployment);
  try {
    const instances = await instancesOf(service);
    const address = withQuery(path('/v1/deployments', service, name), { id });
    await ask({ ...question, touches: touches(instances), act: () => post(address) });
  } catch (error) {
    say(error.message);
  }
  reload();
}

export function Orders({ deployment, reload }) {
  const { phase, is_live: isLive } = deployment;
  if (!isLive || isBack(deployment)) return null;
  const button = (name, role, word, tone) => html`
    <${RoleButton} role=${role} tone=${tone} onClick=${() => order(name, deployment, reload)}>${word}<//>`;
  return html`
    ${phase === 'paused' && button('resume', 'editor', t('Resume'))}
    ${phase !== 'paused' && phase !== 'promoting' && button('pause', 'editor', t('Pause'))}
    ${phase !== 'promoting' && button('promote', 'admin', t('Promote'), 'main')}
    ${button('abort', 'admin', t('Abort'), 'danger')}`;
}
