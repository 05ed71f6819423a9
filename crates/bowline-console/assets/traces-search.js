// Finding traces: what they are searched by, how long each took at a glance, and the list, newest or slowest first.

import { html, useEffect, useMemo, useState } from './html.js';
import { get, withQuery } from './api.js';
import { count, nanos, visible } from './format.js';
import { t, tn } from './i18n.js';
import { useLive } from './live.js';
import { go, goQuery, to } from './route.js';
import { Badge, Button, Card, Empty, Failure, Field, Loaded, Page, Select, Table, Time } from './ui.js';
import { Gap, Growing, Outcome, rankOf, tallied } from './traces-outcome.js';
import { Reach, sinces } from './traces-reach.js';
import { Scatter } from './traces-scatter.js';

const PAGE = 200;
const SINCE = '1h';
const FIELDS = ['service', 'operation', 'min_duration', 'max_duration', 'since', 'error', 'attr', 'order'];

// What the API is asked, of what the address says. Attributes stand in it one a line.
function asked({ service, operation, min_duration, max_duration, since = SINCE, error, attr, order }) {
  return {
    service, operation, min_duration, max_duration,
    since: since === 'all' ? undefined : since,
    error, attr: lines(attr), order: order === 'slowest' ? order : undefined, limit: PAGE,
  };
}

const lines = (text) => (text ?? '').split('\n').map((line) => line.trim()).filter(Boolean).map(unfolded);

// An attribute may hold a line break itself: it stands as `\n` in its line, a backslash as two.
export const lineOf = (attribute) => attribute.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
const unfolded = (line) => line.replace(/\\([\\n])/g, (_, sign) => (sign === 'n' ? '\n' : sign));

// What reads the spans themselves, or goes through all there are, costs the server more than the newest of the index do:
// such a search is not repeated by itself.
const isCheap = ({ operation, attr, order }) => !operation && attr.length === 0 && !order;

export function Search({ query }) {
  const wanted = useMemo(() => asked(query), [JSON.stringify(query)]);
  const key = JSON.stringify(wanted);
  const pages = usePages(wanted, key);
  const held = useHeld(pages);
  return html`
    <${Page} title=${t('Traces')} about=${t('What requests did, each with the services that took part.')}
      actions=${html`<${ById} />`}>
      <${Filters} query=${query} seen=${held.shown.data} />
      <${Loaded} of=${held.shown}>${(list) => html`<${Found} list=${list} pages=${pages} held=${held} query=${query} />`}<//>
    <//>`;
}

// The pages that were asked for: the first is kept as it is, until the reader goes on to older ones.
function usePages(wanted, key) {
  const [kept, setKept] = useState({ key: null });
  const isKept = kept.key === key;
  const kinds = isCheap(wanted) && !isKept ? ['traces'] : null;
  const load = async (signal) => ({ ...(await get(withQuery('/v1/traces', wanted), signal)), key });
  const live = useLive(load, kinds, [key, isKept]);
  const older = async () => {
    const from = isKept ? kept.data : live.data;
    setKept({ key, data: from, isLoading: true });
    try {
      const next = await get(withQuery('/v1/traces', { ...wanted, cursor: from.next_cursor }));
      setKept({ key, data: { ...next, key, traces: [...from.traces, ...next.traces] } });
    } catch (error) {
      setKept({ key, data: from, error });
    }
  };
  const newest = () => setKept({ key: null });
  const shown = isKept ? { ...live, data: kept.data, error: null } : live;
  return { live: shown, older, newest, isKept, isLoading: isKept && kept.isLoading, error: isKept ? kept.error : null };
}

// What is pointed at does not move away: the list stands still while the pointer or the keyboard is in it.
function useHeld({ live, isKept }) {
  const [held, setHeld] = useState(null);
  const isHeld = !isKept && held !== null && held.key === live.data?.key;
  const shown = isHeld ? { ...live, data: held } : live;
  const hold = () => live.data && setHeld((data) => (data?.key === live.data.key ? data : live.data));
  const release = () => setHeld(null);
  const on = {
    onPointerEnter: hold,
    onPointerLeave: release,
    onFocusin: (event) => event.target.matches(':focus-visible') && hold(),
    onFocusout: (event) => event.currentTarget.contains(event.relatedTarget) || release(),
  };
  return { shown, on, isHeld };
}

function ById() {
  const [id, setId] = useState('');
  const open = (event) => {
    event.preventDefault();
    if (id.trim()) go(to('traces', id.trim().toLowerCase()));
  };
  return html`<form class="actions" onSubmit=${open}>
    <${Field} name=${t('Trace by its id')}><input type="text" class="mono" size="34" value=${id} placeholder=${t('32 hexadecimal digits')}
      spellcheck=${false} autocomplete="off" onInput=${(event) => setId(event.target.value)} /><//>
    <${Button} kind="submit" isDisabled=${!id.trim()}>${t('Open')}<//>
  </form>`;
}

// === what is searched by ===

function Filters({ query, seen }) {
  const [draft, setDraft] = useState(() => ({ since: SINCE, ...query }));
  useEffect(() => setDraft({ since: SINCE, ...query }), [JSON.stringify(query)]);
  const services = useLive((signal) => get('/v1/services', signal), null);
  const apply = (changes = {}) => {
    const next = { ...draft, ...changes };
    setDraft(next);
    goQuery(Object.fromEntries(FIELDS.map((name) => [name, next[name]?.trim()])), { replace: false });
  };
  const text = (name) => ({
    value: draft[name] ?? '', autocomplete: 'off', spellcheck: false,
    onInput: (event) => setDraft({ ...draft, [name]: event.target.value }),
  });
  const submit = (event) => {
    event.preventDefault();
    apply();
  };
  const names = useMemo(() => [...new Set((seen?.traces ?? []).map(({ name }) => name))].sort(), [seen]);
  const registered = services.data?.services.map(({ name }) => name) ?? [];
  const known = [...new Set(['gateway', ...registered])].sort();
  return html`
    <form class="card" role="search" aria-label=${t('Search traces')} onSubmit=${submit}>
      <div class="filters traces-filters">
        <${Field} name=${t('Service')}><input type="text" list="trace-services" placeholder=${t('any')} ...${text('service')} /><//>
        <${Field} name=${t('Name of a span')}><input type="text" list="trace-names" placeholder="GET /orders/{id}" ...${text('operation')} /><//>
        <${Field} name=${t('At least')}><input type="text" size="7" placeholder="100ms" ...${text('min_duration')} /><//>
        <${Field} name=${t('At most')}><input type="text" size="7" placeholder="2s" ...${text('max_duration')} /><//>
        <${Select} name=${t('Outcome')} value=${draft.error ?? ''} onPick=${(error) => apply({ error })}
          options=${[['', t('any')], ['true', t('with errors')], ['false', t('no errors')]]} />
        <${Select} name=${t('Began')} value=${draft.since} onPick=${(since) => apply({ since })} options=${sinces(draft.since)} />
        <${Select} name=${t('Order')} value=${draft.order ?? ''} onPick=${(order) => apply({ order })}
          options=${[['', t('newest first')], ['slowest', t('slowest first')]]} />
        <${Button} kind="submit" tone="main">${t('Search')}<//>
      </div>
      <${Attributes} value=${draft.attr} onChange=${(attr) => apply({ attr })} />
      <datalist id="trace-services">${known.map((name) => html`<option value=${name} />`)}</datalist>
      <datalist id="trace-names">${names.map((name) => html`<option value=${name} />`)}</datalist>
    </form>`;
}

// Attributes of one and the same span: `key=value`, each with a way to take it off again.
const joined = (all) => all.map(lineOf).join('\n');
const ATTRIBUTES_MAX = 16;
function Attributes({ value, onChange }) {
  const [text, setText] = useState('');
  const all = lines(value);
  const isWrong = text.trim() !== '' && !/^[^=]+=/.test(text.trim());
  const add = () => {
    if (isWrong || !text.trim()) return;
    onChange(joined([...new Set([...all, text.trim()])].slice(0, ATTRIBUTES_MAX)));
    setText('');
  };
  const without = (line) => onChange(joined(all.filter((other) => other !== line)));
  const onKey = (event) => {
    if (event.key !== 'Enter' || !text.trim()) return;
    event.preventDefault();
    add();
  };
  return html`
    <div class="trace-attributes">
      <${Field} name=${t('Attribute of the span')} hint=${isWrong ? t('Write key=value.') : undefined}>
        <input type="text" class="mono" size="34" placeholder="http.response.status_code=502" value=${text}
          autocomplete="off" spellcheck=${false} aria-invalid=${isWrong ? 'true' : undefined} onInput=${(event) => setText(event.target.value)} onKeyDown=${onKey} /><//>
      <${Button} isDisabled=${isWrong || !text.trim() || all.length >= ATTRIBUTES_MAX} onClick=${add}>${t('Add')}<//>
      ${all.map((line) => html`<span class="chip mono" key=${line}><bdi>${visible(line)}</bdi>
        <button type="button" class="plain" aria-label=${t('Take off {what}', { what: line })}
          onClick=${() => without(line)}>×</button></span>`)}
    </div>`;
}

// === what was found ===

function Found({ list, pages, held, query }) {
  const { traces, is_cut: isCut, next_cursor: next } = list;
  const [pointed, setPointed] = useState(null);
  const isFiltered = FIELDS.some((name) => query[name] && name !== 'since' && name !== 'order');
  const about = [tn('{n} trace', '{n} traces', traces.length), ...tallied(traces)].join(' · ');
  const reach = html`<${Reach} list=${list} since=${query.since || SINCE} order=${query.order} limit=${PAGE} />`;
  if (traces.length === 0 && !isCut) {
    return html`<${Empty}>${isFiltered ? t('No trace matches.') : t('No request was traced in this time.')}<//>${reach}`;
  }
  return html`
    <div class="stack" ...${held.on}>
      <${Card} title=${t('How long they took')} about=${about} actions=${html`<${Standing} pages=${pages} held=${held} />`}>
        ${reach}
        <${Scatter} traces=${traces} pointed=${pointed} onPoint=${setPointed} onOpen=${(id) => go(to('traces', id))} />
      <//>
      <${Card} title=${t('Found')}>
        <${Table} label=${t('Traces')} columns=${columns()} rows=${traces} size=${traces.length}
          keyOf=${(trace) => trace.trace_id} isSelected=${(trace) => trace.trace_id === pointed} />
        ${isCut && html`<p class="more"><${Badge} tone="warn">${t('The search ended at its bound of work')}<//>
          <span class="quiet">${t('Older traces were not looked at: add a service, or go on.')}</span></p>`}
        ${pages.error && html`<${Failure} error=${pages.error} again=${pages.older} />`}
        ${next && html`<p class="more"><${Button} isDisabled=${pages.isLoading} onClick=${pages.older}>${t('Older traces')}<//>
          <span class="quiet">${t('{n} are shown', { n: count(traces.length) })}</span></p>`}
      <//>
    </div>`;
}

// Whether what is shown moves, and why not.
function Standing({ pages, held }) {
  if (pages.isKept) return html`<${Button} onClick=${pages.newest}>${t('Back to the newest')}<//>`;
  return html`${held.isHeld && html`<span class="quiet">${t('stands still while you are in it')}</span>`}
    <${Button} onClick=${pages.live.reload}>${t('Search again')}<//>`;
}

const named = (trace) => html`<a href=${to('traces', trace.trace_id)}><bdi>${visible(`${trace.service} · ${trace.name}`)}</bdi></a> <${Gap} trace=${trace} isBrief />`;
const ended = (trace) => html`<${Outcome} trace=${trace} />`;
const began = (trace) => html`<${Time} at=${trace.start_unix_nanos / 1e6} />`;

const columns = () => [
  { name: t('First span'), of: named, sort: (trace) => `${trace.service} ${trace.name}` },
  { name: t('Outcome'), of: ended, sort: rankOf },
  { name: t('Began'), class: 'nowrap', of: began, sort: (trace) => trace.start_unix_nanos },
  { name: t('Duration'), isNumber: true, class: 'nowrap', of: (trace) => nanos(trace.duration_nanos), sort: (trace) => trace.duration_nanos },
  { name: t('Spans'), of: (trace) => html`${count(trace.span_count)}<${Growing} trace=${trace} />`, sort: (trace) => trace.span_count, isNumber: true },
  { name: t('Services'), of: (trace) => html`<bdi>${visible(trace.services.join(', '))}</bdi>`, sort: (trace) => trace.services.length },
];
