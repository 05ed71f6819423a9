// Keeps what is shown as it is: the server says what changed, and who shows it asks again.
//
// A hidden page asks for nothing. Where events do not come, everything is asked for again every few seconds.

import { Problem } from './api.js';
import { useEffect, useRef, useState } from './html.js';
import { cell } from './state.js';

// Whether changes come: 'live', 'paused' (the page is hidden, or the reader said so), 'polling', 'away'.
export const liveness = cell('away');
export const isPaused = cell(false);

const POLL_MS = 5000;
const AGAIN_MS = 1000;
const listeners = new Set();
let source = null;
let poll = null;

function tell(kinds) {
  for (const listener of [...listeners]) listener(kinds);
}

function connect() {
  disconnect();
  if (document.hidden || isPaused.get()) {
    liveness.set('paused');
    return;
  }
  source = new EventSource('/v1/events');
  source.addEventListener('hello', () => {
    clearInterval(poll);
    poll = null;
    liveness.set('live');
    // What happened meanwhile, nobody told.
    tell(null);
  });
  source.addEventListener('changed', (event) => tell(JSON.parse(event.data).kinds));
  source.addEventListener('error', () => {
    liveness.set(source?.readyState === EventSource.CLOSED ? 'polling' : 'away');
    poll ??= setInterval(() => {
      if (source?.readyState === EventSource.CLOSED) connect();
      tell(null);
    }, POLL_MS);
  });
}

function disconnect() {
  source?.close();
  source = null;
  clearInterval(poll);
  poll = null;
}

// Begins; again after signing in, which starts over.
let isStarted = false;
export function start() {
  if (isStarted) return connect();
  isStarted = true;
  document.addEventListener('visibilitychange', connect);
  isPaused.watch(connect);
  connect();
}

// What `load(signal)` answers, kept as it is: loaded again when one of `kinds` changed (null: never; [] on every event)
// or when `inputs` did. `data` stays while it is loaded again; `error` is the last one, if the last load failed.
export function useLive(load, kinds, inputs = []) {
  const [state, setState] = useState({ data: undefined, error: null, isLoading: true });
  const reload = useRef(() => {});
  useEffect(() => {
    const loading = new Loading(load, setState);
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
  return { ...state, reload: () => reload.current() };
}

// One load at a time, and the next no sooner than a second after the last began.
class Loading {
  #load;
  #set;
  #abort = null;
  #timer = null;
  #begun = 0;
  #isDue = false;

  constructor(load, set) {
    this.#load = load;
    this.#set = set;
    set((state) => ({ ...state, isLoading: true }));
  }

  soon() {
    this.#isDue = true;
    if (this.#abort || this.#timer) return;
    this.#timer = setTimeout(() => this.now(), Math.max(0, this.#begun + AGAIN_MS - Date.now()));
  }

  async now() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#isDue = false;
    this.#begun = Date.now();
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    try {
      const data = await this.#load(abort.signal);
      if (!abort.signal.aborted) this.#set({ data, error: null, isLoading: false });
    } catch (error) {
      if (abort.signal.aborted) return;
      if (!(error instanceof Problem)) console.error(error);
      this.#set((state) => ({ ...state, error, isLoading: false }));
    }
    if (this.#abort !== abort) return;
    this.#abort = null;
    if (this.#isDue) this.soon();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = null;
  }
}
