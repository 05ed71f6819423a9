// Keeps what is shown as it is: the server says what changed, and who shows it asks again.
//
// A hidden page asks for nothing. Where events do not come, everything is asked for again every few seconds.

import { Problem, getEvents } from './api.js';
import { useEffect, useRef, useState } from './html.js';
import { cell } from './state.js';

// Whether changes come: 'live', 'paused' (the page is hidden, or the reader said so), 'polling', 'away'.
export const liveness = cell('away');
export const isPaused = cell(false);

const POLL_MS = 5000;
// How long until it is tried again to hear of changes, more each time in vain.
const RETRY_MS = [1000, 2000, 4000, 8000, 16_000, 30_000];
// The server says something every 15 s: after twice that and more, nobody is there.
const SILENCE_MS = 40_000;
// An event names a few kinds.
const EVENT_MAX = 64 * 1024;

// The first loads wait for the events a moment: what was loaded before they come would have to be loaded again.
const OPENING_MS = 500;

const listeners = new Set();

function tell(kinds) {
  for (const listener of [...listeners]) listener(kinds);
}

let stream = null;
let poll = null;
let retry = null;
let inVain = 0;
let isStarted = false;
let opened = null;
let isOpening = false;

// From now on nothing waits for the events.
let open = () => {};

function begin() {
  isOpening = true;
  opened = new Promise((resolve) => {
    open = () => {
      isOpening = false;
      resolve();
    };
  });
  setTimeout(open, OPENING_MS);
}

// Begins; again after the reader has become another, which starts over.
export function start() {
  isStarted = true;
  inVain = 0;
  begin();
  connect();
}

// Nothing is asked for any more: nobody may.
export function stop() {
  isStarted = false;
  rest();
  liveness.set('away');
}

document.addEventListener('visibilitychange', resume);
isPaused.watch(resume);

function resume() {
  if (!isStarted) return;
  inVain = 0;
  connect();
}

function rest() {
  stream?.abort();
  stream = null;
  clearTimeout(retry);
  clearInterval(poll);
  poll = null;
}

async function connect() {
  stream?.abort();
  clearTimeout(retry);
  if (document.hidden || isPaused.get()) {
    rest();
    open();
    liveness.set('paused');
    return;
  }
  const own = new AbortController();
  stream = own;
  let status = 0;
  try {
    await follow(own);
  } catch (error) {
    status = error.status ?? 0;
  }
  if (stream === own) lost(status);
}

// The server ended the stream, never began it, or is gone.
function lost(status) {
  open();
  liveness.set(status > 0 ? 'polling' : 'away');
  poll ??= setInterval(() => tell(null), POLL_MS);
  retry = setTimeout(connect, RETRY_MS[Math.min(inVain, RETRY_MS.length - 1)]);
  inVain += 1;
}

// Reads the stream to its end.
async function follow(own) {
  let watchdog;
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => own.abort(), SILENCE_MS);
  };
  try {
    alive();
    const { body } = await getEvents('/v1/events', own.signal);
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new Events(hear);
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      alive();
      events.add(part.value);
    }
  } finally {
    clearTimeout(watchdog);
    own.abort();
  }
}

function hear(name, data) {
  if (name === 'hello') {
    clearInterval(poll);
    poll = null;
    inVain = 0;
    liveness.set('live');
    // What happened meanwhile, nobody told; unless everybody waited for this.
    const isAwaited = isOpening;
    open();
    if (!isAwaited) tell(null);
  }
  if (name === 'changed') tell(JSON.parse(data).kinds);
}

// Server-sent events, taken from their text as it comes: `hear(name, data)`.
export class Events {
  #hear;
  #rest = '';
  #name = '';
  #data = [];

  constructor(hear) {
    this.#hear = hear;
  }

  add(text) {
    this.#rest += text;
    // A break of two characters may come in two parts.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
    if (this.#rest.length + this.#data.join('').length > EVENT_MAX) throw new Error('an event is too long');
  }

  #line(line) {
    if (line === '') return this.#end();
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === 'event') this.#name = value;
    if (field === 'data') this.#data.push(value);
    return undefined;
  }

  #end() {
    const [name, data] = [this.#name, this.#data.join('\n')];
    this.#name = '';
    this.#data = [];
    if (data !== '') this.#hear(name || 'message', data);
  }
}

const WAITING = { data: undefined, error: null, isLoading: true, of: null, dataOf: null };
const isSame = (a, b) => a !== null && a.length === b.length && a.every((one, index) => Object.is(one, b[index]));

// What `load(signal)` answers, kept as it is: loaded again when one of `kinds` changed (null: never; [] on every event)
// or when `inputs` did. `data` stays while it is loaded again, but never what was loaded of other inputs: only with
// `isKept`, for figures of another stretch of time, until the new ones come or fail. `error` is the last one, if the
// last load failed.
export function useLive(load, kinds, inputs = [], { isKept = false } = {}) {
  const [state, setState] = useState(WAITING);
  const reload = useRef(() => {});
  useEffect(() => {
    const loading = new Loading(load, inputs, setState);
    reload.current = () => loading.now();
    loading.now();
    const listener = (changed) => {
      const concerns = kinds && (!changed || kinds.length === 0 || changed.some((kind) => kinds.includes(kind)));
      if (concerns) loading.soon();
    };
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
      loading.stop();
    };
  }, inputs);
  const { of, dataOf, data, error, isLoading } = state;
  const shown = {
    data: isSame(dataOf, inputs) || (isKept && error === null) ? data : undefined,
    error: isSame(of, inputs) ? error : null,
    isLoading: isLoading || !isSame(of, inputs),
  };
  return { ...shown, reload: () => reload.current() };
}

const AGAIN_MS = 1000;
const REST = 3;

// One load at a time. The next begins no sooner than a second after the last began, and than three times as long as that
// took: what takes long is not asked for all the time.
class Loading {
  #load;
  #inputs;
  #set;
  #abort = null;
  #timer = null;
  #next = 0;
  #isDue = false;

  constructor(load, inputs, set) {
    this.#load = load;
    this.#inputs = inputs;
    this.#set = set;
    set((state) => ({ ...state, isLoading: true, of: inputs, error: null }));
  }

  soon() {
    this.#isDue = true;
    if (this.#abort || this.#timer) return;
    this.#timer = setTimeout(() => this.now(), Math.max(0, this.#next - performance.now()));
  }

  async now() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#isDue = false;
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    const begun = performance.now();
    const result = await this.#ask(abort.signal);
    if (this.#abort !== abort) return;
    this.#abort = null;
    this.#next = begun + Math.max(AGAIN_MS, REST * (performance.now() - begun));
    this.#set((state) => ({ ...state, ...result, isLoading: false }));
    if (this.#isDue) this.soon();
  }

  async #ask(signal) {
    try {
      await opened;
      return { data: await this.#load(signal), dataOf: this.#inputs, error: null };
    } catch (error) {
      if (!(error instanceof Problem) && !signal.aborted) console.error(error);
      return { error };
    }
  }

  stop() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = null;
  }
}
