// How long traces took over time: a point each, one that failed as a square, one with errors inside as a triangle. The
// list beside it says the same in words.

import { html, useLayoutEffect, useMemo, useRef, useState } from './html.js';
import { clock, nanos, visible } from './format.js';
import { t } from './i18n.js';
import { outcomeOf, wordOf } from './traces-outcome.js';

const HEIGHT = 190;
const LEFT = 62;
const RIGHT = 14;
const TOP = 10;
const BOTTOM = 24;

// The width that an element has, as it changes.
function useWidth(initial = 600) {
  const place = useRef();
  const [width, setWidth] = useState(initial);
  useLayoutEffect(() => {
    const sized = new ResizeObserver(() => place.current && setWidth(place.current.clientWidth || initial));
    sized.observe(place.current);
    return () => sized.disconnect();
  }, []);
  return [place, width];
}

export function Scatter({ traces, pointed, onPoint, onOpen }) {
  const [place, width] = useWidth();
  const scale = useMemo(() => scaleOf(traces, width), [traces, width]);
  const of = (wanted) => traces.filter((trace) => outcomeOf(trace) === wanted).length;
  const label = t('{all} traces by time and duration: {failed} failed, {inside} with errors inside; the list below has them, too',
    { all: traces.length, failed: of('failed'), inside: of('inside') });
  const about = pointed && traces.find((trace) => trace.trace_id === pointed);
  return html`
    <div class="scatter" ref=${place}>
      <svg width=${width} height=${HEIGHT} role="img" aria-label=${label} onPointerLeave=${() => onPoint(null)}>
        ${scale.durations.map(({ at, text }) => html`<g class="tick" key=${`y${text}`}>
          <line x1=${LEFT} x2=${width - RIGHT} y1=${at} y2=${at} /><text x=${LEFT - 8} y=${at + 4} text-anchor="end">${text}</text></g>`)}
        ${scale.times.map(({ at, text }, index) => html`
          <text class="tick-time" key=${`x${index}`} x=${at} y=${HEIGHT - 6} text-anchor="middle">${text}</text>`)}
        ${traces.map((trace) => html`<${Point} key=${trace.trace_id} trace=${trace} scale=${scale} isPointed=${trace.trace_id === pointed}
          onPoint=${onPoint} onOpen=${onOpen} />`)}
      </svg>
      <p class="scatter-legend quiet">
        <span><i class="scatter-mark" /> ${t('no errors')}</span><span><i class="scatter-mark is-inside" /> ${t('errors inside')}</span>
        <span><i class="scatter-mark is-failed" /> ${t('failed')}</span>
        <span class="scatter-about"><bdi>${about ? told(about) : t('Point at one to see what it is; press it to open it.')}</bdi></span>
      </p>
    </div>`;
}

const told = (trace) => {
  const { start_unix_nanos: at, service, name, duration_nanos: length } = trace;
  return `${clock(at / 1e6)} · ${visible(`${service} · ${name}`)} · ${nanos(length)} · ${wordOf(trace)}`;
};

function Point({ trace, scale, isPointed, onPoint, onOpen }) {
  const x = scale.x(trace.start_unix_nanos);
  const y = scale.y(trace.duration_nanos);
  const size = (isPointed ? 3 : 0) + Math.min(6, 3 + Math.log10(Math.max(1, trace.span_count)));
  const on = { onPointerEnter: () => onPoint(trace.trace_id), onClick: () => onOpen(trace.trace_id) };
  const outcome = outcomeOf(trace);
  if (outcome === 'failed') {
    return html`<rect class="scatter-point is-failed" x=${x - size} y=${y - size} width=${size * 2} height=${size * 2} ...${on} />`;
  }
  if (outcome === 'ok') return html`<circle class="scatter-point" cx=${x} cy=${y} r=${size} ...${on} />`;
  const high = size * 1.25;
  return html`<path class="scatter-point is-inside" d=${`M${x} ${y - high} L${x + high} ${y + size} L${x - high} ${y + size} z`} ...${on} />`;
}

// Time from left to right, durations by their logarithm, so that fast and slow ones are both told apart.
function scaleOf(traces, width) {
  const starts = traces.map((trace) => trace.start_unix_nanos);
  const durations = traces.map((trace) => Math.max(1000, trace.duration_nanos));
  const [from, until] = [Math.min(...starts), Math.max(...starts)];
  const low = Math.floor(Math.log10(Math.min(...durations)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...durations))));
  const inner = Math.max(1, width - LEFT - RIGHT - 16);
  const x = (at) => LEFT + 8 + (until > from ? ((at - from) / (until - from)) * inner : inner / 2);
  const y = (length) => TOP + (1 - (Math.log10(Math.max(1000, length)) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const powers = Array.from({ length: high - low + 1 }, (_, step) => 10 ** (low + step));
  const steps = width < 500 ? 2 : 4;
  const fraction = (at) => (until - from < 5e9 ? `.${String(Math.floor(at / 1e6) % 1000).padStart(3, '0')}` : '');
  const text = (at) => clock(at / 1e6) + fraction(at);
  const times = Array.from({ length: steps + 1 }, (_, step) => from + ((until - from) * step) / steps);
  return {
    x, y,
    durations: powers.map((power) => ({ at: y(power), text: nanos(power) })),
    times: (until > from ? times : [from]).map((at) => ({ at: Math.min(width - 38, Math.max(LEFT + 22, x(at))), text: text(at) })),
  };
}
