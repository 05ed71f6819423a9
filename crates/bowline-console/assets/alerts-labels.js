// The labels of alerts, and the matchers of silences: how they are shown, and whether one fits the other.

import { html } from './html.js';
import { quoted } from './api.js';
import { to } from './route.js';
import { pick } from './state.js';

// What tells an alert from others beside its name, in order; the service leads to its page.
export function Labels({ labels }) {
  const rest = Object.entries(labels).filter(([name]) => name !== 'alertname').sort(([a], [b]) => a.localeCompare(b, 'en'));
  return html`<span class="labels">${rest.map(([name, value]) => html`<span class="label"><span class="quiet">${name}=</span>${name === 'service'
    ? html`<a href=${to('services', value)}>${value}</a>` : value}</span>`)}</span>`;
}

export const Matchers = ({ matchers }) => html`<span class="labels">${matchers.map((matcher) => html`<code class="label">${matcher}</code>`)}</span>`;

// What a filter is held against.
export const hasText = (labels, filter) => filter === ''
  || Object.entries(labels).some(([name, value]) => `${name}=${value}`.toLowerCase().includes(filter));

// A matcher that fits one value, as the server reads it.
export const equal = (name, value) => `${name}=${quoted(value)}`;

// `NAME="VALUE"` with =, !=, =~ or !~, as the server reads it; null where it is none.
export function parsed(text) {
  const [, name, test, rest] = /^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*$/s.exec(text) ?? [];
  if (name === undefined) return null;
  if (!rest.startsWith('"')) return /[",]/.test(rest) ? null : { name, test, value: rest };
  const [, inside] = /^"((?:[^"\\]|\\.)*)"$/s.exec(rest) ?? [];
  if (inside === undefined) return null;
  return { name, test, value: inside.replace(/\\(.)/gs, (all, char) => (char === 'n' ? '\n' : char === '"' || char === '\\' ? char : all)) };
}

// Whether a matcher fits; null where nobody can say here: what it says is no plain list of words with `.*` or `.+` at its
// ends, and other expressions of a browser may never end.
function fits({ name, test, value }, labels) {
  const own = pick(labels, name, '');
  if (test === '=') return own === value;
  if (test === '!=') return own !== value;
  if (!/^(\.[*+])?[\w |:/-]*(\.[*+])?$/.test(value)) return null;
  const isFit = new RegExp(`^(?:${value})$`, 's').test(own);
  return test === '=~' ? isFit : !isFit;
}

// Whether all fit; null where that cannot be said.
export function isMatching(matchers, labels) {
  const all = matchers.map((text) => {
    const matcher = parsed(text);
    return matcher && fits(matcher, labels);
  });
  if (all.includes(false)) return false;
  return all.includes(null) ? null : all.length > 0;
}
