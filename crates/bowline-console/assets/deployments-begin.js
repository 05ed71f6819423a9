// A new release: what it runs, and how it takes the place of the one before.

import { html, useState } from './html.js';
import { path, post, session } from './api.js';
import { useSystem } from './declared.js';
import { instancesOf } from './deployments-acts.js';
import { instancesText } from './deployments-model.js';
import { visible } from './format.js';
import { t } from './i18n.js';
import { go, to } from './route.js';
import { ask, Button, Card, Field, RoleButton, Select, say } from './ui.js';

const EMPTY = {
  version: '', run: '', build: '', env: '', replicas: '', strategy: '', steps: '', bake: '', abort_when: '',
  min_requests: '',
};

const NAMES = {
  replicas: 'Instances', strategy: 'Strategy', steps: 'Steps', bake: 'Bake', abort_when: 'Ended when',
  min_requests: 'Requests at least',
};

const COUNT = { type: 'number', min: 1 };
// As the server reads them: units from the largest on, each once; shares one above the other, which it says itself.
const DURATION = String.raw`(?=.*\d)\s*${['d', 'h', 'm', 's', 'ms', 'us', 'ns'].map((unit) => String.raw`(\d+${unit}\s*)?`).join('')}`;
const SHARES = String.raw`\s*\d{1,2}(\.\d)?%(\s*,\s*\d{1,2}(\.\d)?%)*\s*`;
const CODE = { class: 'code-input' };

// What is said of it; what is not said is as declared.
function releaseOf({ env, steps, replicas, min_requests: least, ...texts }) {
  const said = Object.entries(texts).map(([name, text]) => [name, text.trim()]).filter(([, text]) => text !== '');
  const release = Object.fromEntries(said);
  if (env.trim()) release.env = Object.fromEntries(env.trim().split('\n').filter((line) => line.trim()).map(variableOf));
  if (steps.trim()) release.steps = steps.split(',').map((step) => step.trim()).filter(Boolean);
  if (replicas) release.replicas = Number(replicas);
  if (least) release.min_requests = Number(least);
  return release;
}

function variableOf(line) {
  const at = line.indexOf('=');
  if (at < 1) throw new Error(t('{line}: a variable is written as NAME=VALUE', { line }));
  return [line.slice(0, at).trim(), line.slice(at + 1)];
}

const fits = (text, pattern) => text === '' || new RegExp(`^(?:${pattern})$`, 'v').test(text);

const runText = (command) => t('On the machine of `bowline up` this is run: {command}', { command: visible(command) });

// What is said of the release, a line each, for whoever confirms it.
function textsOf({ build, run, env = {}, version, ...how }) {
  const named = Object.entries(how).map(([name, value]) => [t(NAMES[name]), Array.isArray(value) ? value.join(', ') : value]);
  const variables = Object.entries(env).map(([name, value]) => [t('Environment'), `${name}=${value}`]);
  return [
    ...[build, run].filter(Boolean).map(runText),
    ...[...variables, ...named].map(([name, value]) => t('{name}: {value}', { name, value: visible(value) })),
    ...(how.abort_when === 'off' ? [t('Nothing that is measured ends it.')] : []),
  ];
}

async function begin(service, version, form) {
  try {
    const release = releaseOf(form);
    const instances = await instancesOf(service);
    const isDone = await ask({
      title: t('Roll out a release of {service}', { service }),
      touches: [
        t('{name} takes the place of {version}, step by step: both run meanwhile.', {
          name: visible(release.version ?? t('the next release')), version,
        }),
        t('These run now: {instances}', { instances: instancesText(version, instances) }),
        ...textsOf(release),
      ],
      word: t('Begin'),
      act: () => post(path('/v1/deployments', service), release),
    });
    if (isDone) drafts.delete(draftOf(service));
    if (isDone) go(to('deployments', service));
  } catch (error) {
    say(error.message);
  }
}

// What was typed and not begun yet, by who typed it and the service: whoever comes back finds it.
const drafts = new Map();
const draftOf = (service) => `${session.get()?.name ?? ''}/${service}`;

// What holds where nothing is said: the value that is declared, or the default.
function heldTexts(rollout) {
  if (!rollout) return {};
  const { strategy, steps, bake, abort_when: condition, min_requests: least } = rollout;
  return { strategy: t(strategy), steps: steps.join(', '), bake, abort_when: condition ?? 'off', min_requests: String(least) };
}

export function Begin({ service, version }) {
  const { data: system } = useSystem();
  const held = heldTexts(system?.services.find(({ name }) => name === service)?.rollout);
  const [form, draw] = useState(drafts.get(draftOf(service)) ?? EMPTY);
  const setForm = (next) => {
    drafts.set(draftOf(service), next);
    draw(next);
  };
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const input = (name, word, hint, { wrong, ...more } = {}) => html`<${Field} name=${word} hint=${hint}>
    <input value=${form[name]} onInput=${set(name)} autocomplete="off" spellcheck="false" title=${wrong} ...${more} />
    ${wrong && !fits(form[name], more.pattern) && html`<small class="field-wrong" role="alert">${wrong}</small>`}<//>`;
  // How it is said, and what holds where it is not.
  const how = (name, hint) => [hint, held[name] && t('Empty: {value}.', { value: held[name] })].filter(Boolean).join(' ');
  const isEmpty = Object.values(form).every((text) => text.trim() === '');
  const submit = (event) => {
    event.preventDefault();
    begin(service, version, form);
  };
  return html`
    <form onSubmit=${submit} class="begin">
      <${Card} title=${t('What runs')} about=${t('what is left empty is as the service says')}>
        ${input('run', t('Command'), t(
          'The shell command that runs one instance; both releases run at once, so it needs artefacts of its own.',
        ), CODE)}
        ${input('build', t('Build'), t('The one that makes it ready to run; none is run where this is empty.'), CODE)}
        <${Field} name=${t('Environment')} hint=${t('NAME=VALUE, a line each; over that of the service.')}>
          <textarea rows="2" value=${form.env} onInput=${set('env')} spellcheck="false" /><//>
        ${input('version', t('Version'), t('Empty: the one that follows {version}.', { version }))}
      <//>
      <${Card} title=${t('How it is rolled out')}
        about=${t('what is left empty is as [deploy.{service}] declares, else by default', { service })}>
        <div class="grid">
          <${Select} name=${t('Strategy')} value=${form.strategy} onPick=${(strategy) => setForm({ ...form, strategy })}
            options=${[['', held.strategy ? t('as declared: {value}', { value: held.strategy }) : t('as declared')], ...['rolling', 'blue-green', 'canary'].map((one) => [one, t(one)])]} />
          ${input('steps', t('Steps'), how('steps', t('Of a canary alone, as in 10%, 50%.')), {
            pattern: SHARES, wrong: t('Shares in percent, with commas between them: 5%, 25%, 50%'),
          })}
          ${input('bake', t('Bake'), how('bake', t('How long each step is watched, as in 90s or 1h 30m.')), {
            pattern: DURATION, wrong: t('Numbers with a unit, the larger first: 250ms, 2m, 1h 30m'),
          })}
          ${input('abort_when', t('Ended when'), how('abort_when', t('As in error_rate > 1% or p99 > 400ms; off: never.')))}
          ${input('min_requests', t('Requests at least'), how('min_requests', t('Before it is judged.')), { ...COUNT, max: 1_000_000 })}
          ${input('replicas', t('Instances'), t('Empty: as many as now.'), COUNT)}
        </div>
      <//>
      <div class="actions">
        <${RoleButton} role="admin" kind="submit" tone="main" isDisabled=${isEmpty}>${t('Begin the rollout')}<//>
        <${Button} onClick=${() => go(to('deployments', service))}>${t('Back')}<//>
        ${!isEmpty && html`<${Button} onClick=${() => setForm(EMPTY)}>${t('Clear')}<//>
          <span class="quiet">${t('What you typed is kept here until it is begun.')}</span>`}
      </div>
    </form>`;
}
