// Who may call whom, as a list or a matrix, and what was refused.

import { html } from './html.js';
import { ABSENT, count, nanos, rate, visible } from './format.js';
import { t, tn } from './i18n.js';
import { goQuery, to } from './route.js';
import { Badge, Card, Failure, Select, Table, Time, Waiting } from './ui.js';
import { Aside, Facts, QueryLink } from './aside.js';
import { ErrorShare, fromSpans } from './figures.js';
import { FilterBox, useFilter } from './filter.js';
import { Matrix, fits } from './mesh-matrix.js';
import { NO_RULE } from './mesh-edges.js';

// As the page asks for the service graph.
const WINDOW = () => fromSpans(t('the last {range}', { range: '15 min' }));
const STATES = { all: 'all', refused: 'refused', undeclared: 'not declared', unseen: 'declared, not seen' };
const idOf = ({ caller, callee }) => `${caller} ${callee}`;

// The state of an edge: its tone and a word.
export function stateOf({ isDeclared, seen, allowed, refused, dryRun }) {
  if (isDeclared === false) return ['bad', dryRun > 0 && refused === 0 ? 'not declared, let pass' : 'not declared'];
  if (isDeclared === null) return ['quiet', 'not known'];
  return seen || allowed > 0 ? ['ok', 'declared'] : ['quiet', 'declared, not seen'];
}

const State = ({ edge }) => {
  const [tone, word] = stateOf(edge);
  return html`<${Badge} tone=${tone}>${t(word)}<//>`;
};

function matches(edge, search, state) {
  if (search && !edge.caller.toLowerCase().includes(search) && !edge.callee.toLowerCase().includes(search)) return false;
  if (state === 'refused') return edge.refused + edge.dryRun > 0;
  if (state === 'undeclared') return edge.isDeclared === false;
  return state !== 'unseen' || stateOf(edge)[1] === STATES.unseen;
}

export function Calls({ edges, sources, query }) {
  const [search, box] = useFilter(query.q);
  const state = Object.hasOwn(STATES, query.state) ? query.state : 'all';
  const shown = edges.filter((edge) => matches(edge, search, state));
  const isMatrix = query.view === 'matrix';
  const chosen = query.at && edges.find((edge) => idOf(edge) === query.at);
  const failed = sources.find(({ error }) => error);
  if (sources[0].data === undefined && sources[0].isLoading) return html`<${Waiting} />`;
  return html`
    ${failed && html`<${Failure} error=${failed.error} again=${failed.reload} isStale />`}
    <div class=${chosen ? 'beside' : undefined}>
      <${Card} title=${t('Who may call whom')} about=${`${tn('{n} pair', '{n} pairs', shown.length)} · ${t('rate and errors: {window}; refused: since the sidecars started', { window: WINDOW() })}`}
        actions=${html`<${Filters} query=${query} box=${box} state=${state} />`}>
        ${!isMatrix ? html`<${List} edges=${shown} chosen=${chosen} />`
          : fits(shown) ? html`<${Matrix} edges=${shown} idOf=${idOf} stateOf=${stateOf} named=${named} chosen=${chosen} />`
          : html`<p class="quiet">${t('There are too many for a matrix: narrow them by a name.')}</p>
            <${List} edges=${shown} chosen=${chosen} />`}
      <//>
      ${chosen && html`<${Pair} edge=${chosen} />`}
    </div>`;
}

function Filters({ query, box, state }) {
  const pick = (name, none) => (value) => goQuery({ [name]: value === none ? undefined : value });
  return html`
    <${Select} name=${t('View')} value=${query.view ?? 'list'} onPick=${pick('view', 'list')}
      options=${[['list', t('list')], ['matrix', t('matrix')]]} />
    <${Select} name=${t('State')} value=${state} onPick=${pick('state', 'all')}
      options=${Object.entries(STATES).map(([id, name]) => [id, t(name)])} />
    <${FilterBox} of=${box} label=${t('Caller or callee')} />`;
}

export const Refused = ({ edge: { refused, dryRun, refusedLately } }) => {
  if (refused + dryRun === 0) return '0';
  const [tone, title] = refusedLately > 0 ? ['bad', t('also in the last 5 minutes')] : ['warn', t('none in the last 5 minutes')];
  return html`<${Badge} tone=${tone} title=${title}>${count(refused + dryRun)}<//>`;
};

// The gateway, and whoever is not known, have no page of their own.
const NAMELESS = ['gateway', 'unknown', 'other'];
const named = (name) => (NAMELESS.includes(name) ? t(name) : name);
const Who = ({ name }) => (NAMELESS.includes(name) ? t(name) : html`<a href=${to('services', name)}>${name}</a>`);

const PairLink = ({ edge }) => html`
  <${QueryLink} change=${{ at: idOf(edge) }} label=${`${named(edge.caller)} → ${edge.callee}`}>${named(edge.caller)}<//>`;

function List({ edges, chosen }) {
  const columns = [
    { name: t('Caller'), of: (edge) => html`<${PairLink} edge=${edge} />`, sort: ({ caller }) => caller },
    { name: t('Callee'), of: ({ callee }) => html`<${Who} name=${callee} />`, sort: ({ callee }) => callee },
    { name: t('Mode'), of: ({ mode }) => (mode ? t(mode) : ABSENT), sort: ({ mode }) => mode ?? '' },
    { name: t('State'), of: (edge) => html`<${State} edge=${edge} />`, sort: (edge) => stateOf(edge)[1] },
    { name: t('Refused'), isNumber: true, title: t('calls that sidecars refused, or would have, since they started'),
      of: (edge) => html`<${Refused} edge=${edge} />`, sort: ({ refused, dryRun }) => refused + dryRun },
    { name: t('Rate'), isNumber: true, title: t('calls seen in the last 15 minutes'), of: ({ seen }) => rate(seen?.figures.rate),
      sort: ({ seen }) => seen?.figures.rate },
    { name: t('Errors'), isNumber: true, of: ({ seen }) => html`<${ErrorShare} figures=${seen?.figures} />`,
      sort: ({ seen }) => seen?.figures.error_rate },
    { name: t('May ask for'), class: 'cut', of: (edge) => mayAsk(edge) },
  ];
  return html`<${Table} label=${t('Who may call whom')} columns=${columns} rows=${edges} keyOf=${idOf} empty=${t('Nothing matches.')}
    onRow=${(edge) => goQuery({ at: idOf(edge) })} isSelected=${(edge) => edge === chosen} />`;
}

function mayAsk({ call, routes }) {
  if (routes.length > 0) return t('routes: {names}', { names: routes.join(', ') });
  if (!call) return ABSENT;
  const parts = [...(call.operations ?? []), ...(call.topics ?? [])];
  return parts.length > 0 ? parts.join(', ') : call.mode === 'message' ? ABSENT : t('all that it offers');
}

// One caller and one callee, with all that is known of them.
function Pair({ edge }) {
  const { caller, callee, call, routes, seen, rules } = edge;
  const trace = seen?.sample_trace_id;
  return html`
    <${Aside} id=${idOf(edge)} title=${`${named(caller)} → ${callee}`} onClose=${() => goQuery({ at: undefined })}>
      <p><${State} edge=${edge} /></p>
      ${edge.isDeclared === false && html`<p>${t('Declare the call, or find out who makes it:')}
        ${' '}<code>${`[service.${caller}.calls.${callee}]`}</code></p>`}
      <${Facts} of=${[
        [t('Caller'), html`<${Who} name=${caller} />`],
        [t('Callee'), html`<${Who} name=${callee} />`],
        [t('Mode'), edge.mode && t(edge.mode)],
        [t('Routes'), routes.length > 0 && routes.join(', ')],
        [t('Rate'), seen && rate(seen.figures.rate)],
        [t('Errors'), seen && html`<${ErrorShare} figures=${seen.figures} />`],
        ['p99', seen && nanos(seen.figures.p99_nanos)],
        [t('Last seen'), seen && html`<${Time} at=${seen.last_seen_unix_nanos / 1e6} />`],
        [t('A trace of it'), trace && html`<a href=${to('traces', trace)}><code>${trace}</code></a>`],
      ]} />
      ${seen && html`<p class="quiet figures-about">${t('Rate, errors and p99: {window}.', { window: WINDOW() })}</p>`}
      ${call?.operations?.length > 0 && html`<h3>${t('May ask for')}</h3>
        <ul class="mono">${call.operations.map((one) => html`<li>${one}</li>`)}</ul>`}
      ${call?.topics?.length > 0 && html`<h3>${t('Topics')}</h3>
        <ul>${call.topics.map((one) => html`<li><a href=${to('messages', one)}>${one}</a></li>`)}</ul>`}
      <${Policy} policy=${call?.policy} />
      ${rules.length > 0 && html`<h3>${t('What sidecars decided')} <span class="quiet">${t('since they started')}</span></h3><${Rules} rules=${rules} />`}
    <//>`;
}

const inWords = (value) => {
  if (Array.isArray(value)) return value.map(inWords).join(' | ');
  return value !== null && typeof value === 'object'
    ? Object.entries(value).map(([name, inner]) => `${name} ${inWords(inner)}`).join(', ') : String(value);
};

export function Policy({ policy }) {
  const parts = Object.entries(policy ?? {});
  if (parts.length === 0) return null;
  return html`<h3>${t('Policy')}</h3>
    <dl class="facts">${parts.map(([name, value]) => html`<dt><code>${name}</code></dt><dd>${inWords(value)}</dd>`)}</dl>`;
}

const DECISIONS = { allowed: ['ok', 'let in'], denied: ['bad', 'refused'], dry_run: ['warn', 'let pass in a dry run'] };

function Rules({ rules }) {
  const columns = [
    { name: t('Rule'), of: ({ rule }) => (rule === NO_RULE ? t('no rule') : visible(rule)), sort: ({ rule }) => rule },
    { name: t('Decision'), of: ({ decision }) => html`<${Badge} tone=${DECISIONS[decision][0]}>${t(DECISIONS[decision][1])}<//>` },
    { name: t('Calls'), isNumber: true, of: ({ value }) => count(value), sort: ({ value }) => value },
  ];
  return html`<${Table} label=${t('What sidecars decided')} columns=${columns} rows=${rules}
    keyOf=${({ rule, decision }) => `${rule} ${decision}`} />`;
}
