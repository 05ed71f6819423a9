// The service map: who calls whom, how much, how well, drawn from spans and declarations.

import { html, useEffect, useMemo, useRef, useState } from './html.js';
import { errorTone, isSlow } from './figures.js';
import { nanos, percent, rate, visible } from './format.js';
import { language, t } from './i18n.js';
import { NODE, edgeKey, layout } from './map-layout.js';
import { curve, midst, wordPlaces } from './map-lines.js';
import { go, to } from './route.js';
import { pick } from './state.js';
import { Button, classes, healthTone } from './ui.js';

const ZOOM = { least: 0.08, readable: 0.55, most: 2.5, step: 1.25 };
const PAD = 24;

// `services`: `[{ name, health, figures, slow, isDeclared }]`; `edges`: `[{ caller, callee, mode, figures, slow, isDeclared }]`.
export function ServiceMap({ services, edges, chosen, onEdge }) {
  // Figures change all the time, places only with who is there.
  const shape = JSON.stringify([services.map(({ name }) => name), edges.map(({ caller, callee }) => [caller, callee])]);
  const map = useMemo(() => {
    const strongFirst = [...edges].sort((a, b) => (a.mode !== 'sync') - (b.mode !== 'sync'));
    return layout(services.map(({ name }) => name), strongFirst.map(({ caller, callee }) => [caller, callee]));
  }, [shape]);
  const [view, setView, place] = useView(map);
  const [at, setAt, items] = useItems(map, services, edges);
  const drawn = useDrawn(map);
  const places = useWords(map, edges);
  const most = edges.reduce((all, { figures }) => Math.max(all, figures?.rate ?? 0), 0.001);
  const onKey = (event) => walk(event, { items, setAt, setView, place: place.current }) || steer(event, view, setView, place.current);
  const onFocus = (event) => event.target.dataset.item && setAt(event.target.dataset.item);
  return html`
    <div class="map" ref=${place} onPointerDown=${(event) => drag(event, view, setView)} onKeyDown=${onKey} onFocusin=${onFocus}>
      <svg role="group" aria-label=${t('Service map')} aria-describedby="map-keys" tabindex="0">
        <${Arrows} />
        <g transform=${`translate(${view.x} ${view.y}) scale(${view.zoom})`}>
          ${edges.map((edge) => {
            const key = edgeKey(edge.caller, edge.callee);
            const thick = 1.25 + 2.75 * Math.sqrt(Math.min(1, (edge.figures?.rate ?? 0) / most));
            const [isChosen, isStop] = [chosen === key, at === callId(edge)];
            return drawn(callId(edge), [edge, thick.toFixed(1), isChosen, isStop, places.get(key)], (id) => html`<${Edge} key=${id} edge=${edge} thick=${thick.toFixed(1)}
              onEdge=${onEdge} points=${map.routes.get(key)} foot=${places.get(key)} isChosen=${isChosen} isStop=${isStop} />`);
          })}
          ${services.map((service) => drawn(serviceId(service), [service, at === serviceId(service)], (id) => html`<${Node} key=${id}
            service=${service} at=${map.nodes.get(service.name)} isStop=${at === serviceId(service)} />`))}
        </g>
      </svg>
      <p class="sr" id="map-keys">${t('The arrow keys go from one service or call to the next; on the map itself they move it.')}</p>
      ${view.isCut && html`<p class="map-more">${t('It goes on beyond the edge: drag it.')}</p>`}
      <div class="map-tools">
        <${Button} title=${t('Closer')} onClick=${() => setView(zoomed(view, ZOOM.step, place.current))}>+<//>
        <${Button} title=${t('Further')} onClick=${() => setView(zoomed(view, 1 / ZOOM.step, place.current))}>−<//>
        <${Button} onClick=${() => setView(fitted(map, place.current))}>${t('All')}<//>
      </div>
    </div>`;
}

// What is drawn, by name: no service is called like a call.
const serviceId = ({ name }) => `service ${name}`;
const callId = ({ caller, callee }) => `call ${edgeKey(caller, callee)}`;

// Figures come every second, most of them as they were: what is the same is not drawn again.
function useDrawn(map) {
  const before = useRef({ map: null, all: new Map() });
  const last = before.current.map === map ? before.current.all : new Map();
  const all = new Map();
  before.current = { map, all };
  return (key, of, make) => {
    const print = JSON.stringify([of, language.get()]);
    const was = last.get(key);
    const one = was?.print === print ? was : { print, element: make(key) };
    all.set(key, one);
    return one.element;
  };
}

// Where the words about calls stand: as long as they keep their length, where they stood.
function useWords(map, edges) {
  const words = edges.map((edge) => ({ caller: edge.caller, callee: edge.callee, lines: wordsOf(edge) }));
  const lengths = JSON.stringify(words.map(({ lines }) => lines.map((text) => Math.ceil(text.length / 5))));
  return useMemo(() => wordPlaces(map, words), [map, lengths]);
}

// === the keyboard ===

// Where the services and the middles of the calls are, and which of them the tab key stops at: one of all.
function useItems(map, services, edges) {
  const [picked, setAt] = useState(null);
  const items = useMemo(() => {
    const ends = services.map((service) => [serviceId(service), map.nodes.get(service.name)]);
    const calls = edges.map((edge) => [callId(edge), map.routes.get(edgeKey(edge.caller, edge.callee))]);
    return new Map([...ends, ...calls.filter(([, points]) => points).map(([id, points]) => [id, midst(points)])]);
  }, [map]);
  const at = items.has(picked) ? picked : services[0] && serviceId(services[0]);
  return [at, setAt, items];
}

const SIDES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
// What lies aside is further than what lies ahead.
const ASIDE = 3;

// From one to the nearest on that side; whether the key was for that.
function walk(event, { items, setAt, setView, place }) {
  const from = items.get(event.target.dataset?.item);
  const [x, y] = pick(SIDES, event.key, []);
  if (!from || x === undefined) return false;
  event.preventDefault();
  let best = null;
  for (const [key, to] of items) {
    const [ahead, aside] = [(to.x - from.x) * x + (to.y - from.y) * y, Math.abs((to.x - from.x) * y) + Math.abs((to.y - from.y) * x)];
    const far = ahead + ASIDE * aside;
    if (ahead > 1 && far < (best?.far ?? Infinity)) best = { key, to, far };
  }
  if (!best) return true;
  setAt(best.key);
  setView((view) => moved(view, best.to, place));
  place.querySelector(`[data-item="${CSS.escape(best.key)}"]`)?.focus({ preventScroll: true });
  return true;
}

// The view with a place in it, no further moved than that takes.
function moved(view, { x, y }, { clientWidth, clientHeight }) {
  const shift = (at, size, half) => {
    const [low, high] = [half * view.zoom + PAD, size - half * view.zoom - PAD];
    return at < low ? low - at : at > high ? high - at : 0;
  };
  return {
    ...view,
    x: view.x + shift(view.x + x * view.zoom, clientWidth, NODE.width / 2),
    y: view.y + shift(view.y + y * view.zoom, clientHeight, NODE.height / 2),
  };
}

// === what is drawn ===

const KINDS = ['plain', 'bad', 'warn'];
const Arrows = () => html`<defs>${KINDS.map((kind) => html`
  <marker id=${`arrow-${kind}`} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">
    <path d="M0 0 L8 4 L0 8 z" class=${`arrow-${kind}`} /></marker>`)}</defs>`;

function toneOf({ figures, slow, isDeclared }) {
  const tone = errorTone(figures?.error_rate);
  return tone ?? (isDeclared === false || isSlow(figures, slow) ? 'warn' : 'plain');
}

function Edge({ edge, points, foot, thick, isChosen, isStop, onEdge }) {
  if (!points) return null;
  const { caller, callee, mode, figures, slow } = edge;
  // What is chosen keeps its colour: it tells how the call does.
  const kind = toneOf(edge);
  const name = `${visible(caller)} → ${visible(callee)}: ${figures ? `${rate(figures.rate)}, ${percent(figures.error_rate)}, p99 ${nanos(figures.p99_nanos)}` : t('declared, not seen')}`;
  const limit = isSlow(figures, slow) && t('slow: {limit} and more', { limit: nanos(slow) });
  const choose = () => onEdge(edge);
  return html`
    <g class=${classes('edge', `edge-${kind}`, isChosen && 'is-chosen', mode !== 'sync' && 'is-message', !figures && 'is-unseen')} role="button" aria-pressed=${isChosen ? 'true' : 'false'} tabindex=${isStop ? 0 : -1}
      data-item=${callId(edge)} aria-label=${name} onClick=${choose} onKeyDown=${(event) => pressed(event, choose)}>
      <title>${limit ? `${name} (${limit})` : name}</title>
      <path class="edge-reach" d=${curve(points)} />
      <path class="edge-line" d=${curve(points)} stroke-width=${thick} marker-end=${`url(#arrow-${kind})`} />
      ${wordsOf(edge).map((text, index) => html`<text x=${foot.x.toFixed(1)} y=${(foot.y + index * 13).toFixed(1)}>${text}</text>`)}
    </g>`;
}

const WORDS_MAX = 19;

// What matters of a call: how often, and what is wrong with it.
function wordsOf({ figures, slow, isDeclared }) {
  const wrong = [errorTone(figures?.error_rate) && percent(figures.error_rate), isSlow(figures, slow) && `p99 ${nanos(figures.p99_nanos)}`];
  const often = figures?.rate > 0 && rate(figures.rate);
  const told = often ? [often, ...wrong].filter(Boolean).join(' · ') : '';
  // What is longer than services stand apart would run into them.
  const lines = told.length > WORDS_MAX ? [often, wrong.filter(Boolean).join(' · ')] : [told];
  return [...lines, isDeclared === false && t('not declared')].filter(Boolean);
}

const Node = (all) => (all.service.kind === 'resource' ? html`<${Resource} ...${all} />` : html`<${Service} ...${all} />`);

const corner = (at) => `translate(${at.x - NODE.width / 2} ${at.y - NODE.height / 2})`;
const figuresOf = ({ rate: requests, error_rate: errors, p99_nanos: p99 }) => [rate(requests), percent(errors), nanos(p99)];

// A database or the like: nobody's page, and what was asked of it.
function Resource({ service: { name, figures }, at, isStop }) {
  const bad = errorTone(figures?.error_rate);
  return html`
    <g class=${classes('node node-resource', bad && `node-error-${bad}`)} transform=${corner(at)} role="img" tabindex=${isStop ? 0 : -1}
      data-item=${serviceId({ name })} aria-label=${[visible(name), ...(figures ? figuresOf(figures) : [])].join(', ')}>
      <title>${visible(name)}</title>
      <rect class="node-box" x="8" y="6" width=${NODE.width - 16} height=${NODE.height - 12} rx=${(NODE.height - 12) / 2} />
      <text class="node-name" x=${NODE.width / 2} y="26">${fitting(name, NODE.width - 40, FONTS.resource)}</text>
      <text class="node-figures" x=${NODE.width / 2} y="42" ...${squeezed(figures, NODE.width - 36)}>${figures && figuresOf(figures).join(' · ')}</text>
    </g>`;
}

function Service({ service, at, isStop }) {
  const { name, health, figures, slow, alerts, faults, isDeclared } = service;
  const alert = alerts.find(({ state }) => state === 'firing') ?? alerts[0];
  const alarm = alert && (alert.state === 'firing' ? 'bad' : 'warn');
  const open = () => go(to('services', name));
  const tone = health ? healthTone(health) : 'quiet';
  const bad = errorTone(figures?.error_rate);
  const room = NODE.width - 32 - (alarm ? 16 : 0) - (faults.length > 0 ? 18 : 0);
  const label = [visible(name), health && t(health), ...alerts.map((one) => `${t(one.state)}: ${one.name}`), ...faults, figures && `${rate(figures.rate)}, ${percent(figures.error_rate)} ${t('errors')}, p99 ${nanos(figures.p99_nanos)}`];
  return html`
    <g class=${classes('node', `node-${tone}`, bad && `node-error-${bad}`, alarm && `node-alarm-${alarm}`)} transform=${corner(at)}
      role="link" tabindex=${isStop ? 0 : -1} data-item=${serviceId(service)} aria-label=${label.filter(Boolean).join(', ')} onClick=${open} onKeyDown=${(event) => pressed(event, open)}>
      <title>${[visible(name), ...alerts.map((one) => one.name), ...faults].join(', ')}</title>
      <rect class="node-box" width=${NODE.width} height=${NODE.height} rx="8" />
      <rect class="node-mark" width="5" height=${NODE.height - 16} x="8" y="8" rx="2.5" />
      <text class="node-name" x="22" y="24">${fitting(name, room, FONTS.name)}</text>
      ${alarm && html`<text class="node-alarm" x=${NODE.width - 20} y="24">${alarm === 'bad' ? '■' : '▲'}</text>`}
      ${faults.length > 0 && html`<text class="node-fault" x=${NODE.width - (alarm ? 38 : 20)} y="24">◆</text>`}
      ${figures
        ? html`<text class="node-figures" x="22" y="43" ...${squeezed(figures, NODE.width - 32)}>${rate(figures.rate)} · <tspan class=${bad && 'node-bad'}>${percent(figures.error_rate)}</tspan> · <tspan class=${isSlow(figures, slow) && 'node-slow'}>${nanos(figures.p99_nanos)}</tspan></text>`
        : html`<text class="node-figures" x="22" y="43">${isDeclared ? t('no requests seen') : ''}</text>`}
    </g>`;
}

// As the style sheet writes them.
const FONTS = { name: '650 14px', resource: '550 12px', figures: '11.5px' };
const FITS_MAX = 2000;
const pen = document.createElement('canvas').getContext('2d');
const fits = new Map();

function widthOf(text, font) {
  pen.font = `${font} ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

// Figures are shown whole: those that are too long stand closer.
function squeezed(figures, room) {
  const isLong = figures && widthOf(figuresOf(figures).join(' · '), FONTS.figures) > room;
  return isLong ? { textLength: room, lengthAdjust: 'spacingAndGlyphs' } : {};
}

// As much of a text as there is room for, in pixels; what was measured is remembered.
function fitting(text, room, font) {
  const key = `${font} ${room} ${text}`;
  if (fits.has(key)) return fits.get(key);
  const isFit = (part) => widthOf(part, font) <= room;
  const letters = [...visible(text)];
  let [low, high] = [0, letters.length];
  while (low < high && !isFit(letters.join(''))) {
    const middle = Math.ceil((low + high) / 2);
    if (isFit(`${letters.slice(0, middle).join('')}…`)) low = middle;
    else high = middle - 1;
  }
  const shown = low < letters.length && !isFit(letters.join('')) ? `${letters.slice(0, low).join('')}…` : letters.join('');
  if (fits.size >= FITS_MAX) fits.clear();
  fits.set(key, shown);
  return shown;
}

function pressed(event, act) {
  if (event.key !== 'Enter' && event.key !== ' ') return;
  event.preventDefault();
  event.stopPropagation();
  act();
}

// What is seen of the map, and how it is moved.
function useView(map) {
  const place = useRef();
  const [view, setView] = useState({ x: PAD, y: PAD, zoom: 1 });
  useEffect(() => {
    // What could not be read is not shown whole at first: it is moved, or looked for by name.
    const fit = () => place.current && setView(fitted(map, place.current, ZOOM.readable));
    const sized = new ResizeObserver(fit);
    sized.observe(place.current);
    return () => sized.disconnect();
  }, [map]);
  useEffect(() => {
    // A wheel scrolls the page; with Ctrl it zooms, as on maps elsewhere.
    const wheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      setView((now) => zoomed(now, event.deltaY < 0 ? ZOOM.step : 1 / ZOOM.step, place.current, event));
    };
    place.current.addEventListener('wheel', wheel, { passive: false });
    return () => place.current?.removeEventListener('wheel', wheel);
  }, []);
  return [view, setView, place];
}

function fitted(map, element, least = ZOOM.least) {
  const { clientWidth: width, clientHeight: height } = element;
  const zoom = Math.min(1, (width - 2 * PAD) / map.width, (height - 2 * PAD) / map.height);
  const shown = Math.max(zoom, least);
  return { zoom: shown, isCut: shown > zoom, x: Math.max(PAD, (width - map.width * shown) / 2), y: Math.max(PAD, (height - map.height * shown) / 2) };
}

function zoomed(view, by, element, at) {
  const zoom = Math.min(ZOOM.most, Math.max(ZOOM.least, view.zoom * by));
  const box = element.getBoundingClientRect();
  const [x, y] = at ? [at.clientX - box.left, at.clientY - box.top] : [box.width / 2, box.height / 2];
  const ratio = zoom / view.zoom;
  return { ...view, zoom, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
}

function drag(event, view, setView) {
  if (event.button !== 0 || event.target.closest('[role], button')?.matches('.node, .edge, button')) return;
  const element = event.currentTarget;
  const move = (now) => setView({ ...view, x: view.x + now.clientX - event.clientX, y: view.y + now.clientY - event.clientY });
  const end = () => {
    element.removeEventListener('pointermove', move);
    element.removeEventListener('pointerup', end);
    element.removeEventListener('pointercancel', end);
  };
  element.setPointerCapture(event.pointerId);
  element.addEventListener('pointermove', move);
  element.addEventListener('pointerup', end);
  element.addEventListener('pointercancel', end);
}

const STEPS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
function steer(event, view, setView, place) {
  if (event.target.closest('button')) return;
  const step = STEPS[event.key];
  if (step) setView({ ...view, x: view.x + step[0], y: view.y + step[1] });
  else if (event.key === '+' || event.key === '-') setView(zoomed(view, event.key === '+' ? ZOOM.step : 1 / ZOOM.step, place));
  else return;
  event.preventDefault();
}
