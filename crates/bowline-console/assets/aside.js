// A list and what stands beside it about one of its rows; and what only some may see.

import { html, useEffect, useRef } from './html.js';
import { may } from './api.js';
import { t } from './i18n.js';
import { goQuery, to, useRoute } from './route.js';
import { Button, Empty } from './ui.js';

// A link that changes the query of this page, without going to its top.
export function QueryLink({ change, label, children }) {
  const { path, query } = useRoute();
  const onClick = (event) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    goQuery(change);
  };
  return html`<a href=${to(...path, { ...query, ...change })} aria-label=${label} onClick=${onClick}>${children}</a>`;
}

// What stands beside a list, about one of its rows: it comes into sight when it is asked for, and takes the focus from
// the row, which gets it back.
export function Aside({ id, title, onClose, children }) {
  const [place, heading] = [useRef(), useRef()];
  useEffect(() => {
    const [own, row] = [place.current, document.activeElement];
    own.scrollIntoView({ block: 'nearest' });
    // Who came by a link begins at the top of the page.
    if (!row?.closest('.table-wrap')) return undefined;
    heading.current.focus({ preventScroll: true });
    return () => {
      const isLost = document.activeElement === document.body || own.contains(document.activeElement);
      if (isLost && row.isConnected) row.focus({ preventScroll: true });
    };
  }, [id]);
  return html`
    <section class="card aside" ref=${place}>
      <header class="card-head"><h2 ref=${heading} tabindex="-1">${title}</h2>
        <div class="actions"><${Button} onClick=${onClose}>${t('Close')}<//></div></header>
      ${children}
    </section>`;
}

// What a role is needed for, or who else may see it.
export function Guarded({ role, what, children }) {
  if (may(role)) return children;
  return html`<${Empty}>${what} ${t('This needs the role {role}: sign in with a token that has it.', { role })}<//>`;
}

// Names and values, the absent ones left out: `[[name, value], …]`.
export function Facts({ of: facts }) {
  const known = facts.filter(([, value]) => value !== undefined && value !== null && value !== false);
  return html`<dl class="facts">${known.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}
