// Lines over time, drawn by uPlot in the colours of the style sheet.

import uPlot from './vendor/uplot.js';
import { html, useEffect, useRef } from './html.js';
import { ABSENT, clock, count, short } from './format.js';
import { locale, t } from './i18n.js';
import { useCell } from './state.js';
import { theme } from './theme.js';

const COLOURS = 8;
// As wide as `12:00:00` and a gap, in pixels.
const TICKS_APART = 60;
const DAY_S = 86_400;
// Between two ticks, in seconds.
const TICKS = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200,
  ...[1, 2, 5, 10, 30, 90, 365].map((days) => days * DAY_S)];
const SYNC = uPlot.sync('time');

// Between two ticks of what is counted, which comes in wholes.
const WHOLES = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

function styles() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    lines: Array.from({ length: COLOURS }, (_, index) => of(`--line-${index + 1}`)),
    bad: of('--bad'), warn: of('--warn'), text: of('--text-quiet'), grid: of('--rule'),
  };
}

// `times` in seconds; `series`: `[{ label, values, tone? }]`; `format` of values, for axis and legend.
export function Chart({ label, times, series, format = short, height = 160, onPick }) {
  const place = useRef();
  const colours = useCell(theme);
  const shape = JSON.stringify([series.map(({ label, tone }) => [label, tone]), height, colours, locale()]);
  const plot = useRef();
  const data = useRef();
  data.current = [times, ...series.map(({ values }) => values)];
  useEffect(() => {
    plot.current = new uPlot(options(place.current, { series, format, height, onPick }), data.current, place.current);
    const sized = new ResizeObserver(() => place.current && plot.current.setSize({ width: place.current.clientWidth, height }));
    sized.observe(place.current);
    return () => {
      sized.disconnect();
      plot.current.destroy();
    };
  }, [shape]);
  useEffect(() => plot.current.setData(data.current), [times, series]);
  return html`<figure class="chart" role="img" aria-label=${described(label, series, format)}><div ref=${place} /></figure>`;
}

// What the picture says, for who cannot see it: the last value of each line.
function described(label, series, format) {
  const last = series.slice(0, COLOURS).map(({ label: name, values }) => `${name} ${format(values.findLast((value) => value !== null))}`);
  return last.length === 0 ? t('{label}: no data', { label }) : `${label}: ${last.join(', ')}`;
}

function options(place, { series, format, height, onPick }) {
  const style = styles();
  const axis = { stroke: style.text, grid: { stroke: style.grid, width: 1 }, ticks: { stroke: style.grid, width: 1 }, font: '11px system-ui, sans-serif' };
  const line = ({ label, tone }, index) => ({
    label, stroke: tone ? style[tone] : style.lines[index % COLOURS], width: 1.5, points: { show: false },
    value: (_, value) => (value === null || value === undefined ? ABSENT : format(value)), spanGaps: false,
  });
  return {
    width: place.clientWidth || 300, height, padding: [8, 30, 0, 0],
    cursor: { sync: { key: SYNC.key }, drag: { x: Boolean(onPick), y: false, setScale: false }, points: { size: 6 } },
    legend: { live: true, show: series.length > 0 },
    scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.05 : 1] } },
    axes: [{ ...axis, values: ticks, space: TICKS_APART, incrs: TICKS }, { ...axis, size: 64, ...(format === count && { incrs: WHOLES }), values: (_, values) => values.map((value) => format(value)) }],
    series: [{ label: t('Time'), value: (_, at) => (at === null ? ABSENT : clock(at * 1000)) }, ...series.map(line)],
    hooks: { setSelect: [(self) => picked(self, onPick)], setCursor: [legend], setData: [legend], ready: [legend] },
  };
}

// Where nobody points at a moment, the legend tells the last values.
function legend(self) {
  if (self.cursor.idx !== null && self.cursor.idx !== undefined) return;
  const last = self.data[0].findLastIndex((_, index) => self.data.some((values, line) => line > 0 && values[index] !== null));
  if (last >= 0) self.setLegend({ idx: last }, false);
}

// Times of one day by the clock, of several with their day; those less than a minute apart with their seconds, so that
// none stands there twice.
function ticks(self, times, axis, space, apart) {
  const { min, max } = self.scales.x;
  const day = max - min > DAY_S && { day: 'numeric', month: 'numeric' };
  const second = apart < 60 && { second: '2-digit' };
  const format = new Intl.DateTimeFormat(locale(), { ...day, hour: '2-digit', minute: '2-digit', ...second, hour12: false });
  return times.map((at) => format.format(at * 1000));
}

function picked(self, onPick) {
  if (!onPick || self.select.width < 4) return;
  onPick(self.posToVal(self.select.left, 'x'), self.posToVal(self.select.left + self.select.width, 'x'));
  self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}
