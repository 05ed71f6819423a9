// Writing a version: the text, then what it changes and whom it touches, then it is published. Where somebody else was
// faster, both sides are shown.

import { html, useEffect, useRef, useState } from './html.js';
import { Problem, post, put } from './api.js';
import { addressOf, brokenAs, DOCUMENT_BYTES_MAX, drafts, plainBreaks, roleOf, touchesOf } from './config-about.js';
import { Conflict } from './config-conflict.js';
import { faultsOf } from './config-place.js';
import { Fields } from './config-schema.js';
import { CodeEditor, Diff, show } from './code.js';
import { bytes } from './format.js';
import { t } from './i18n.js';
import { Button, Card, Field, RoleButton, Select, say } from './ui.js';

const formats = () => [['toml', 'TOML'], ['json', 'JSON'], ['text', t('plain text')]];
const COMMENT_MAX = 500;

// A draft of a document: what it is based on, and what it became. `base` is null where there is none yet.
function draftOf(document, base) {
  const kept = drafts.get(document.key);
  if (kept) return kept;
  return { base, format: base?.document.format ?? 'toml', text: plainBreaks(base?.document.text ?? ''), comment: '' };
}

export const isChanged = ({ base, format, text }) =>
  format !== (base?.document.format ?? 'toml') || text !== baseText(base);

const baseText = (base) => plainBreaks(base?.document.text ?? '');

// `stage` is where it is: 'edit', 'review' or 'conflict'. `current` is the version there is now.
export function Edit({ document, current, status, schema, onClose }) {
  const [draft, setDraft] = useState(() => draftOf(document, current));
  const [at, setAt] = useState({ stage: 'edit', faults: [] });
  const keep = (next) => {
    setDraft(next);
    if (isChanged(next) || next.comment) drafts.set(document.key, next);
    else drafts.delete(document.key);
  };
  const drop = () => {
    drafts.delete(document.key);
    onClose();
  };
  // What is wrong with it is said before anybody reads what it changes.
  const review = async (asked = draft) => {
    const asking = { stage: 'edit', faults: [], isAsking: true };
    keep(asked);
    setAt(asking);
    const found = await foreseen(document, asked);
    // What was written meanwhile was not asked about.
    setAt((now) => (now === asking ? found : now));
  };
  const publish = async () => {
    setAt({ ...at, isSending: true });
    try {
      const { number } = await put(addressOf(document), publicationOf(draft));
      drafts.delete(document.key);
      say(t('{key} is published as version {n}', { key: document.key, n: number }));
      onClose();
    } catch (error) {
      setAt(answered(error, draft));
    }
  };
  const shared = { document, draft, keep, at, setAt, review, drop, current };
  if (at.stage === 'conflict') return html`<${Conflict} ...${shared} theirs=${at.theirs ?? current} />`;
  if (at.stage === 'review') return html`<${Review} ...${shared} status=${status} publish=${publish} />`;
  return html`<${Write} ...${shared} schema=${schema} />`;
}

function publicationOf({ base, format, text, comment }) {
  const written = brokenAs(base?.document.text ?? '', text);
  return { format, text: written, expect: base?.number ?? 0, comment: comment.trim() };
}

// Where one is once it is known whether it would be published.
async function foreseen(document, draft) {
  try {
    await post(addressOf(document, 'check'), publicationOf(draft));
    return { stage: 'review', faults: [] };
  } catch (error) {
    // A document that is not there yet may be published: what is not there is the question.
    if (error.status === 404) {
      return { stage: 'edit', faults: [], error: new Problem(404, { detail: t('This server is too old to check without publishing.') }) };
    }
    const { stage, ...rest } = answered(error, draft);
    return { ...rest, stage: stage === 'review' ? 'edit' : stage };
  }
}

// Where one is after a refusal.
function answered(error, { text, format }) {
  const theirs = error.members?.current;
  if (error.status === 409 && theirs !== undefined) return { stage: 'conflict', theirs, faults: [] };
  const faults = faultsOf(error, text, format);
  return faults.length > 0 ? { stage: 'edit', faults, error } : { stage: 'review', faults, error };
}

function Write({ document, draft, keep, at, setAt, drop, current, schema, review }) {
  const field = useRef();
  const { faults, error } = at;
  useEffect(() => {
    const first = faults.find(({ line }) => line);
    if (first) show(field.current, first);
  }, [faults]);
  const size = new Blob([draft.text]).size;
  const write = (changes) => {
    keep({ ...draft, ...changes });
    if (faults.length > 0 || error || at.isAsking) setAt({ stage: 'edit', faults: [] });
  };
  const isBehind = (current?.number ?? 0) !== (draft.base?.number ?? 0);
  return html`
    <${Card} title=${draft.base ? t('A change of version {n}', { n: draft.base.number }) : t('Version 1')}
      class="config-edit"
      actions=${html`<${Select} name=${t('Format')} value=${draft.format} options=${formats()}
        onPick=${(format) => write({ format })} />`}>
      ${isBehind && html`<div class="notice">${t('It was changed meanwhile.')} <${Button}
        onClick=${() => setAt({ stage: 'conflict', faults: [] })}>${t('See both sides')}<//></div>`}
      ${error && faults.length === 0 && html`<p class="failure" role="alert">${error.message}</p>`}
      ${faults.length > 0 && html`<${Faults} faults=${faults} onPick=${(fault) => show(field.current, fault)} />`}
      <${CodeEditor} area=${field} label=${t('Text of {key}', { key: document.key })} value=${draft.text}
        faults=${faults} toldBy="faults"
        onInput=${(text) => write({ text })} />
      <div class="actions">
        <${RoleButton} role=${roleOf(document)} tone="main"
          isDisabled=${!isChanged(draft) && draft.base !== null} onClick=${() => review()}>${t('Review the change')}<//>
        <${Button} onClick=${drop}>${isChanged(draft) ? t('Discard') : t('Cancel')}<//>
        <span class=${size > DOCUMENT_BYTES_MAX ? 'tone-text-bad' : 'quiet'}>
          ${t('{size} of {most}', { size: bytes(size), most: bytes(DOCUMENT_BYTES_MAX) })}</span>
      </div>
    <//>
    ${schema && html`<${Card} title=${t('What it may hold')}><${Fields} schema=${schema} /><//>`}`;
}

// What is wrong, each with a way to where.
export function Faults({ faults, onPick }) {
  return html`
    <div class="failure" role="alert" id="faults">
      <p><strong>${t('It cannot be published:')}</strong></p>
      <ul class="faults">${faults.map((fault) => html`<li>
        ${fault.line && html`<button type="button" class="fault-place"
          onClick=${() => onPick(fault)}>${t('line {line}, column {column}', fault)}</button> `}
        ${fault.path && html`<code>${fault.path}</code> `}${fault.text}${fault.rule && html` <span
          class="quiet">(${fault.rule})</span>`}</li>`)}</ul>
    </div>`;
}

function Review({ document, draft, keep, at, setAt, drop, status, publish }) {
  const { base, format, text, comment } = draft;
  const old = base?.document.format;
  return html`
    <${Card} title=${base ? t('What changes from version {n}', { n: base.number }) : t('What is new')}>
      ${old && old !== format && html`
        <p>${t('The format changes from {from} to {now}.', { from: old, now: format })}</p>`}
      <${Diff} label=${t('What will change')} old=${baseText(base)} now=${text} />
    <//>
    <${Card} title=${t('Publish {key}', { key: document.key })}>
      <p>${t('This will touch:')}</p>
      <ul class="touches">${touchesOf(status).map((line) => html`<li>${line}</li>`)}</ul>
      <${Field} name=${t('Why')} hint=${t('One line that is kept with the version; may be empty.')}>
        <input value=${comment} maxlength=${COMMENT_MAX}
          onInput=${(event) => keep({ ...draft, comment: event.target.value })} /><//>
      <p class="quiet">${t('It is recorded in the audit, with your name.')}</p>
      ${at.error && html`<p class="failure" role="alert">${at.error.message}</p>`}
      <div class="actions">
        <${RoleButton} role=${roleOf(document)} tone="main" isDisabled=${at.isSending}
          onClick=${publish}>${t('Publish')}<//>
        <${Button} onClick=${() => setAt({ stage: 'edit', faults: [] })}>${t('Back to the text')}<//>
        <${Button} onClick=${drop}>${t('Discard')}<//>
      </div>
    <//>`;
}
