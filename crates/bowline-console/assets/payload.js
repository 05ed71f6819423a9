// What a message holds: JSON, text or bytes, as much of it as can be read.
//
// Whoever publishes writes all of it. What would draw something else than it is, is shown by its code.

import { html } from './html.js';
import { bytes, visible } from './format.js';
import { t } from './i18n.js';
import { Empty, withCode } from './ui.js';

const TEXT_MAX = 64 * 1024;
// What is longer is not laid out, but shown as it came.
const PRETTY_MAX = 256 * 1024;
const HEX_MAX = 512;
const HEX_WIDTH = 16;
const SUMMARY_BYTES = 120;
const INDENTED_MAX = 40;

const decoded = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

// How many bytes that base64 holds.
export function sizeOf(base64 = '') {
  const padding = base64.endsWith('==') ? 2 : base64.endsWith('=') ? 1 : 0;
  return (base64.length / 4) * 3 - padding;
}

// The text of bytes, or null where they are none; a character that was cut at the end is left out.
function textOf(content) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content, { stream: true });
  } catch {
    return null;
  }
}

const hexOf = (content) => Array.from(content, (byte) => byte.toString(16).padStart(2, '0'));

// The beginning of a payload, for a row of a table.
export function summary(base64 = '') {
  const begin = decoded(base64.slice(0, (SUMMARY_BYTES / 3) * 4));
  const text = textOf(begin);
  const more = sizeOf(base64) > begin.length ? '…' : '';
  if (text === null) return `${hexOf(begin.slice(0, HEX_WIDTH)).join(' ')}${sizeOf(base64) > HEX_WIDTH ? ' …' : ''}`;
  return visible(text.replace(/\s+/g, ' ')) + more;
}

// `{ kind: 'empty' | 'json' | 'text' | 'bytes', size, text, isCut }`.
export function read(base64 = '') {
  const content = decoded(base64);
  const size = content.length;
  if (size === 0) return { kind: 'empty', size, text: '', isCut: false };
  const text = textOf(content);
  if (text === null) return { kind: 'bytes', size, text: dump(content.slice(0, HEX_MAX)), isCut: size > HEX_MAX };
  const isJson = size <= PRETTY_MAX && parses(text);
  const shown = isJson ? laidOut(text) : text;
  return { kind: isJson ? 'json' : 'text', size, text: visible(shown.slice(0, TEXT_MAX)), isCut: shown.length > TEXT_MAX };
}

function parses(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

// JSON, an item a line. The tokens stay as they were written: read and written anew, long numbers would change.
function laidOut(json) {
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  const line = (depth) => `\n${'  '.repeat(Math.min(depth, INDENTED_MAX))}`;
  const parts = [];
  let depth = 0;
  tokens.forEach((token, index) => {
    const isEmpty = tokens[index - 1] === '{' || tokens[index - 1] === '[';
    if (token === '{' || token === '[') {
      depth += 1;
      parts.push(token, '}]'.includes(tokens[index + 1]) ? '' : line(depth));
    } else if (token === '}' || token === ']') {
      depth -= 1;
      parts.push(isEmpty ? '' : line(depth), token);
    } else {
      parts.push(token, token === ',' ? line(depth) : token === ':' ? ' ' : '');
    }
  });
  return parts.join('');
}

// Bytes as they are looked at: where, what, and what of it is ASCII.
function dump(content) {
  const lines = [];
  for (let at = 0; at < content.length; at += HEX_WIDTH) {
    const row = content.slice(at, at + HEX_WIDTH);
    const ascii = Array.from(row, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(4, '0')}  ${hexOf(row).join(' ').padEnd(HEX_WIDTH * 3 - 1)}  ${ascii}`);
  }
  return lines.join('\n');
}

const NAMES = { json: '{size} of JSON', text: '{size} of text', bytes: '{size}, no text' };

export function Payload({ base64 }) {
  const { kind, size, text, isCut } = read(base64);
  if (kind === 'empty') return html`<${Empty}>${t('It is empty.')}<//>`;
  return html`
    <p class="quiet">${t(NAMES[kind], { size: bytes(size) })}</p>
    <pre class=${kind === 'bytes' ? 'payload payload-bytes' : 'payload'} tabindex="0">${text}</pre>
    ${isCut && html`<p class="quiet">${withCode(t('This is its beginning. `bowline messages show` with `--output json` has all of it.'))}</p>`}`;
}
