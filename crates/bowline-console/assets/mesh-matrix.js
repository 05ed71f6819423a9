// Callers down, callees across: a mark where one may call the other, or did.

import { html } from './html.js';
import { t } from './i18n.js';
import { QueryLink } from './aside.js';

const SIDE_MAX = 40;
// Whoever waits for an answer has no letter.
const LETTERS = { async: 'A', message: 'M' };
const MARKS = { bad: '■', warn: '▲', ok: '●', quiet: '○' };
const WORDS = { ok: 'declared', quiet: 'declared, not seen', warn: 'declared, and some refused', bad: 'not declared' };

const callersOf = (edges) => [...new Set(edges.map(({ caller }) => caller))].sort();
const calleesOf = (edges) => [...new Set(edges.map(({ callee }) => callee))].sort();

export const fits = (edges) => callersOf(edges).length <= SIDE_MAX && calleesOf(edges).length <= SIDE_MAX;

export function Matrix({ edges, idOf, stateOf, named, chosen }) {
  const callees = calleesOf(edges);
  const at = new Map(edges.map((edge) => [idOf(edge), edge]));
  return html`
    <div class="table-wrap" tabindex="0" role="region" aria-label=${t('Who may call whom')}>
      <table class="matrix">
        <caption class="sr">${t('Callers down, callees across')}</caption>
        <thead><tr><td></td>${callees.map((callee) => html`<th scope="col"><span>${callee}</span></th>`)}</tr></thead>
        <tbody>${callersOf(edges).map((caller) => html`<tr key=${caller}>
          <th scope="row">${named(caller)}</th>
          ${callees.map((callee) => html`<${Cell} edge=${at.get(idOf({ caller, callee }))} isSame=${caller === callee}
            idOf=${idOf} stateOf=${stateOf} chosen=${chosen} />`)}
        </tr>`)}</tbody>
      </table>
    </div>
    <p class="legend">
      ${Object.entries(WORDS).map(([tone, word]) => html`<span><${Mark} tone=${tone} /> ${t(word)}</span>`)}
      ${Object.entries(LETTERS).map(([mode, letter]) => html`<span><sup aria-hidden="true">${letter}</sup> ${t(mode)}</span>`)}
    </p>`;
}

const Mark = ({ tone, mode }) => html`
  <span class=${`mark-${tone}`} aria-hidden="true">${MARKS[tone]}${LETTERS[mode] && html`<sup>${LETTERS[mode]}</sup>`}</span>`;

function Cell({ edge, isSame, idOf, stateOf, chosen }) {
  if (!edge) return html`<td class=${isSame ? 'is-same' : undefined}></td>`;
  const [tone, word] = stateOf(edge);
  const isPartly = tone !== 'bad' && edge.refused + edge.dryRun > 0;
  const words = [edge.mode && t(edge.mode), t(isPartly ? WORDS.warn : word)].filter(Boolean);
  const label = `${edge.caller} → ${edge.callee}: ${words.join(', ')}`;
  return html`<td class=${edge === chosen ? 'is-selected' : undefined} title=${label}>
    <${QueryLink} change=${{ at: idOf(edge) }} label=${label}><${Mark} tone=${isPartly ? 'warn' : tone} mode=${edge.mode} /><//></td>`;
}
