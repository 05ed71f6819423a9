// What a service's processes wrote last, and what they go on to write.
//
// Lines are what anybody may have made a service write: they are shown as text, without terminal codes.

import { html, useEffect, useLayoutEffect, useRef, useState } from './html.js';
import { get, path, withQuery } from './api.js';
import { FilterBox, useFilter } from './filter.js';
import { clock, moment, visible } from './format.js';
import { t, tn } from './i18n.js';
import { isPaused, useLive } from './live.js';
import { goQuery } from './route.js';
import { INSTANCES_MAX } from './service-instances.js';
import { useCell } from './state.js';
import { Card, Empty, Failure, Field, Select, Waiting, classes } from './ui.js';

const LINES_MAX = 2000;
const FIRST = 500;
const AGAIN_MS = 2000;

export function Logs({ service: { name }, query }) {
  const isFollowing = query.follow !== 'no';
  const [filter, box] = useFilter(query.text, 'text');
  const isHeld = useCell(isPaused);
  const { lines, isCut, error, again } = useLines(name, query.instance ?? '', isFollowing && !isHeld);
  const of = withQuery('/v1/instances', { service: name, limit: INSTANCES_MAX });
  const instances = useLive((signal) => get(of, signal), ['services'], [of]);
  const ids = (instances.data?.instances ?? []).map(({ id }) => id);
  if (query.instance && !ids.includes(query.instance)) ids.unshift(query.instance);
  const shown = lines?.filter(({ low }) => low.includes(filter));
  return html`
    <${Card} title=${t('Logs')} about=${lines && tally(lines.length, shown.length)} actions=${html`
      <${Select} name=${t('Instance')} value=${query.instance ?? ''} options=${[['', t('all')], ...ids.map((id) => [id, id])]}
        onPick=${(picked) => goQuery({ instance: picked })} />
      <${FilterBox} of=${box} label=${t('Lines with')} />
      <${Field} name=${t('Follow')}><input type="checkbox" checked=${isFollowing}
        onChange=${(event) => goQuery({ follow: event.target.checked ? '' : 'no' })} /><//>`}>
      ${error && html`<${Failure} error=${error} again=${again} isStale=${Boolean(lines)} />`}
      ${isCut && html`<p class="quiet">${t('More was written than is kept: lines are missing.')}</p>`}
      ${shown ? html`<${Lines} lines=${shown} isFollowing=${isFollowing} />` : !error && html`<${Waiting} />`}
    <//>`;
}

const tally = (all, shown) => (all === shown ? tn('the last line', 'the last {n} lines', all) : t('{shown} of the last {all} lines', { shown, all }));

// The lines so far, the oldest first; asked for again while they are followed.
function useLines(name, instance, isFollowing) {
  const [state, setState] = useState({ lines: null });
  const [round, setRound] = useState(0);
  const next = useRef({});
  useEffect(() => {
    next.current = {};
    setState({ lines: null });
  }, [name, instance]);
  useEffect(() => {
    const abort = new AbortController();
    let timer;
    const load = async () => {
      if (!document.hidden) await read(name, instance, next, abort.signal, setState);
      if (!abort.signal.aborted && isFollowing) timer = setTimeout(load, AGAIN_MS);
    };
    if (isFollowing || next.current.after === undefined || round > 0) load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [name, instance, isFollowing, round]);
  return { ...state, again: () => setRound(round + 1) };
}

async function read(name, instance, next, signal, setState) {
  const { after, count = 0 } = next.current;
  try {
    const limit = after === undefined ? FIRST : LINES_MAX;
    const page = await get(withQuery(path('/v1/logs', name), { instance, after, limit }), signal);
    if (signal.aborted) return;
    next.current = { after: page.next, count: count + page.lines.length };
    const added = page.lines.map((line, index) => lineOf(line, count + index));
    setState(({ lines, isCut }) => ({ lines: [...(lines ?? []), ...added].slice(-LINES_MAX), isCut: isCut || page.is_cut }));
  } catch (error) {
    if (!signal.aborted) setState((state) => ({ ...state, error }));
  }
}

// Colours and cursor movements are for terminals.
const TERMINAL = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|.)/g;
// What a line begins with where its writer knows the time, too: ours stands beside it.
const OWN_TIME = /^\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?\]?\s+/;
const LEVEL = /\b(ERROR|FATAL|PANIC|panicked|WARN|WARNING)\b|"level":\s*"(error|warn)/i;

function lineOf({ at_unix_ms: at, instance, stream, text }, key) {
  const plain = visible(text.replace(TERMINAL, '').replace(/\r$/, ''));
  const level = LEVEL.exec(plain.slice(0, 200));
  const word = (level?.[1] ?? level?.[2] ?? '').toLowerCase();
  return { key, at, instance, stream, text: plain.replace(OWN_TIME, ''), low: plain.toLowerCase(), tone: word === '' ? null : word.startsWith('warn') ? 'warn' : 'bad' };
}

// Stays at its end while lines are added, unless the reader went up.
function Lines({ lines, isFollowing }) {
  const place = useRef();
  const isAtEnd = useRef(true);
  useLayoutEffect(() => {
    if (isFollowing && isAtEnd.current) place.current?.scrollTo(0, place.current.scrollHeight);
  }, [lines.length, lines.at(-1)?.key, isFollowing]);
  if (lines.length === 0) return html`<${Empty}>${t('No such line was written lately.')}<//>`;
  const onScroll = ({ currentTarget: box }) => {
    isAtEnd.current = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  };
  return html`
    <div class="log-lines" ref=${place} onScroll=${onScroll} tabindex="0" role="log" aria-live="off" aria-label=${t('Log lines')}>
      ${lines.map((line) => html`
        <div key=${line.key} class=${classes('log-line', line.tone && `tone-text-${line.tone}`)}>
          <time datetime=${new Date(line.at).toISOString()} title=${moment(line.at)}>${clock(line.at)}</time>
          <span class="log-from">${line.instance}${line.stream === 'stderr' && html`<span title=${t('written to standard error')}> err</span>`}</span>
          <span class="log-text">${line.text}</span>
        </div>`)}
    </div>`;
}
