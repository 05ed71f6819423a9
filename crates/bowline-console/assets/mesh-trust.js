// Whom everybody in the system believes: the roots of its certificate authority.

import { html } from './html.js';
import { get, serverNow } from './api.js';
import { t } from './i18n.js';
import { useLive } from './live.js';
import { Badge, Card, Loaded, Time } from './ui.js';
import { Facts } from './aside.js';
import { readCertificate } from './certificate.js';

async function load(signal) {
  const { system, roots } = await get('/v1/mesh/roots', signal);
  return { system, roots: await Promise.all(roots.map(readCertificate)) };
}

export function Trust() {
  const trust = useLive(load, ['mesh']);
  return html`<${Loaded} of=${trust} isEmpty=${({ roots }) => roots.length === 0} empty=${t('There is no root yet.')}>
    ${({ system, roots }) => html`
      <${Card} title=${t('Trust domain')} about=${t('the names that certificates of this system carry')}>
        <${Facts} of=${[[t('Services'), 'service/…'], [t('Gateway'), 'gateway'], ['Bowline', 'bowline']]
          .map(([who, name]) => [who, html`<code>${`spiffe://${system}/${name}`}</code>`])} />
      <//>
      ${roots.map((root) => html`<${Root} root=${root} />`)}`}
  <//>`;
}

function Root({ root }) {
  if (!root) return html`<${Card} title=${t('Root')}><p class="warning">${t('This certificate cannot be read here.')}</p><//>`;
  const now = serverNow();
  const [tone, word] = now < root.from ? ['bad', t('not valid yet')] : now < root.until ? ['ok', t('valid')] : ['bad', t('no longer valid')];
  return html`<${Card} title=${root.subject ?? t('Root')}>
    <${Facts} of=${[
      [t('State'), html`<${Badge} tone=${tone}>${word}<//>`],
      [t('Valid from'), html`<${Time} at=${root.from} />`],
      [t('Expires'), html`<${Time} at=${root.until} />`],
      [t('Serial number'), html`<code>${root.serial}</code>`],
      // The browser makes no fingerprint where the page came over plain HTTP from another machine.
      [t('SHA-256 fingerprint'), root.fingerprint && html`<code>${root.fingerprint}</code>`],
    ]} />
  <//>`;
}
