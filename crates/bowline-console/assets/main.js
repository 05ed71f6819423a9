// The frame of the console: who is here, where to go, the page itself.

import { html, render, useEffect, useErrorBoundary, useRef, useState } from './html.js';
import { identify, session, signOut } from './api.js';
import { LANGUAGES, language, speak, t } from './i18n.js';
import { isPaused, liveness, start, stop } from './live.js';
import { to, useRoute } from './route.js';
import { anew, isFirst, useCell } from './state.js';
import { flip, theme } from './theme.js';
import { Asking, Button, Empty, Failure, Page, Saying, Waiting, classes, say, useInSight } from './ui.js';
import SignIn from './page-sign-in.js';

const PAGES = [
  ['', 'Overview', () => import('./page-overview.js')],
  ['services', 'Services', () => import('./page-service.js')],
  ['traces', 'Traces', () => import('./page-traces.js')],
  ['metrics', 'Metrics', () => import('./page-metrics.js')],
  ['alerts', 'Alerts', () => import('./page-alerts.js')],
  ['config', 'Configuration', () => import('./page-config.js')],
  ['messages', 'Messages', () => import('./page-messages.js')],
  ['mesh', 'Mesh', () => import('./page-mesh.js')],
  ['deployments', 'Deployments', () => import('./page-deployments.js')],
];

function App() {
  const who = useCell(session);
  useCell(language);
  const route = useRoute();
  const isLost = useLost(Boolean(who?.role));
  if (!who) return html`<main><${Waiting} /></main>`;
  const [first = ''] = route.path;
  const mustSignIn = who.role === null || who.role === undefined;
  return html`
    <a class="skip" href="#content">${t('Skip to the content')}</a>
    <${Sidebar} current=${first} />
    <div class="frame">
      <${Bar} who=${who} />
      <main id="content" tabindex="-1" class=${isLost && 'is-lost'}>
        ${isLost && html`<p class="lost" role="status">${t('Bowline does not answer: what is shown is from before.')}</p>`}
        ${mustSignIn || first === 'sign-in' ? html`<${SignIn} who=${who} />` : html`
          <${Guarded} key=${language.get() + route.path.join('/')}><${Current} name=${first} route=${route} /><//>`}
      </main>
    </div>
    <${Guarded}><${Asking} /><//><${Saying} />`;
}

// One that is back sooner nobody need know of.
const LOST_MS = 3000;

// Whether there was a connection, and has been none for a while, to whoever still wants one.
function useLost(isWanted) {
  const isAway = useCell(liveness) === 'away';
  const wasThere = useRef(false);
  const [isLost, setLost] = useState(false);
  useEffect(() => {
    wasThere.current = isWanted && (wasThere.current || !isAway);
    setLost(false);
    if (!wasThere.current || !isAway) return undefined;
    const timer = setTimeout(() => setLost(true), LOST_MS);
    return () => clearTimeout(timer);
  }, [isAway, isWanted]);
  return isLost;
}

// What is wrong with one page leaves the rest of the console as it is.
function Guarded({ children }) {
  const [error, again] = useErrorBoundary((wrong) => console.error(wrong));
  if (!error) return children;
  return html`
    <${Page} title=${t('This page could not be shown')}>
      <div class="failure" role="alert"><p>${error.message}</p>
        <${Button} onClick=${again}>${t('Try again')}<//></div>
    <//>`;
}

function Sidebar({ current }) {
  const nav = useInSight(current, '[aria-current]');
  return html`
    <nav class="sidebar" ref=${nav} aria-label=${t('Pages')}>
      <a class="brand" href=${to()}><img src="/ui/assets/icon.svg" alt="" width="24" height="24" /> Bowline</a>
      <ul>${PAGES.map(([id, name]) => html`<li><a href=${to(...(id ? [id] : []))} aria-current=${id === current ? 'page' : undefined}>${t(name)}</a></li>`)}</ul>
    </nav>`;
}

const LIVENESS = { live: ['ok', 'Live'], paused: ['quiet', 'Paused'], polling: ['info', 'Every 5 s'], away: ['bad', 'No connection'] };

function Bar({ who }) {
  const [tone, word] = LIVENESS[useCell(liveness)];
  const paused = useCell(isPaused);
  const isDark = useCell(theme) === 'dark';
  const other = language.get() === 'zh' ? 'en' : 'zh';
  return html`
    <header class="bar">
      <strong class="system">${who.system ?? t('no system')}</strong>
      <button type="button" class=${classes('liveness', `tone-${tone}`)} aria-pressed=${paused}
        title=${paused ? t('Go on') : t('Pause')} onClick=${() => isPaused.set(!paused)}><span aria-hidden="true">●</span> ${t(word)}</button>
      <span class="space" />
      <button type="button" class="plain" lang=${other} onClick=${() => speak(other)}>${LANGUAGES[other]}</button>
      <button type="button" class="plain" onClick=${flip}>${isDark ? t('Light') : t('Dark')}</button>
      <${Who} who=${who} />
    </header>`;
}

function Who({ who }) {
  const leave = () => signOut().catch((error) => say(t('You are still signed in: {why}', { why: error.message })));
  if (who.by === 'cookie') {
    return html`<span class="who" title=${t('role {role}', { role: who.role })}>${who.name} · ${t(who.role)}</span>
      <button type="button" class="plain" onClick=${leave}>${t('Sign out')}</button>`;
  }
  return html`<span class="who">${who.role ? t('this machine') : ''}</span><a class="plain" href=${to('sign-in')}>${t('Sign in')}</a>`;
}

function Current({ name, route }) {
  const [state, setState] = useState({});
  const page = PAGES.find(([id]) => id === name);
  useEffect(() => {
    page?.[2]().then((module) => {
      anew(RELOADED + name);
      setState({ View: module.default });
    }, (error) => setState({ error }));
  }, [name]);
  if (!page) return html`<${Page} title=${t('Not found')}><${Empty}>${t('There is no such page.')} <a href=${to()}>${t('Overview')}</a><//><//>`;
  if (state.error) return html`<${Unloaded} name=${name} />`;
  return state.View ? html`<${state.View} path=${route.path.slice(1)} query=${route.query} />` : html`<${Waiting} />`;
}

// Under which it is remembered that a page was loaded again for its script.
const RELOADED = 'bowline.reloaded.';

// A page's script could not be had. Browsers remember that of a script, so that only a new page asks for it again: when
// Bowline is back, and once, since what is not to be had of a Bowline that answers would be asked for for ever.
function Unloaded({ name }) {
  const isAway = useCell(liveness) === 'away';
  useEffect(() => {
    let wasAway = liveness.get() === 'away';
    return liveness.watch((state) => {
      wasAway ||= state === 'away';
      if (wasAway && ['live', 'polling'].includes(state) && isFirst(RELOADED + name)) location.reload();
    });
  }, []);
  const message = isAway
    ? t('Its script did not come: Bowline does not answer. It is loaded again once it does.')
    : t('Its script did not come, though Bowline answers.');
  return html`<${Page} title=${t('This page could not be loaded')}><${Failure} error=${{ message }} again=${() => location.reload()} /><//>`;
}

render(html`<${App} />`, document.getElementById('app'));
// Who else the reader has become may see other things; nobody may see none.
let known = null;
session.watch(({ role, name, by }) => {
  const reader = role ? JSON.stringify([role, name, by]) : null;
  if (reader === known) return;
  known = reader;
  if (role) start();
  else stop();
});
identify();
