// The schema that a document is held against: as a list of what may be in it, and as it is written.

import { html, useState } from './html.js';
import { del, getResponse, put, withQuery } from './api.js';
import { addressOf, isBowlines, isCompiled, orNull, tried } from './config-about.js';
import { faultsOf } from './config-place.js';
import { Code, CodeEditor } from './code.js';
import { t } from './i18n.js';
import { ask, Button, Card, Empty, RoleButton, Table, say } from './ui.js';

const DEPTH_MAX = 6;
const FIELDS_MAX = 500;
const MEDIA_TYPE = 'application/schema+json';
const EMPTY = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {}
}
`;

// The schema as it was written, with the tag by which it is known again: `{ text, tag }`; or null.
export async function schemaOf(document, signal) {
  const response = await orNull(getResponse(addressOf(document, 'schema'), signal));
  return response && { text: await response.text(), tag: /"([^"]*)"/.exec(response.headers.get('etag') ?? '')?.[1] };
}

// Where a change of the schema goes, so that it changes the one that was read alone.
const NONE = 'none';
const changing = (document, expect) => withQuery(addressOf(document, 'schema'), { expect });

export function Schema({ document, schema, reload }) {
  const [draft, setDraft] = useState(null);
  if (draft !== null) {
    const close = () => setDraft(null);
    return html`<${SchemaEditor} document=${document} ...${draft} onClose=${close} reload=${reload} />`;
  }
  if (isBowlines(document.namespace)) {
    return html`<${Empty}>${isCompiled(document)
      ? t('The control plane compiles this document; nobody else writes it.')
      : t('Bowline judges this document itself, by its own rules.')}<//>`;
  }
  const edit = (text, expect) => html`<${RoleButton} role="editor"
    onClick=${() => setDraft({ text, expect })}>${schema ? t('Edit') : t('Write a schema')}<//>`;
  if (!schema) return html`<${Empty}>${t('It has no schema: the document may hold anything.')} ${edit(EMPTY, NONE)}<//>`;
  const { text, tag } = schema;
  const actions = html`${edit(text, tag)}<${RoleButton} role="editor"
    onClick=${tried(() => remove(document, tag, reload))}>${t('Remove')}<//>`;
  return html`
    <${Card} title=${t('What it may hold')} about=${titleOf(text)}><${Fields} schema=${text} /><//>
    <${Card} title=${t('JSON Schema')} actions=${actions}><${Code} label=${t('JSON Schema')} text=${text} /><//>`;
}

function remove(document, tag, reload) {
  return ask({
    title: t('Remove the schema of {key}', { key: document.key }),
    touches: [t('From then on the document may hold anything.')],
    tone: 'danger',
    word: t('Remove'),
    act: async () => {
      await del(changing(document, tag));
      reload();
    },
  });
}

function SchemaEditor({ document, text, expect, onClose, reload }) {
  const [state, setState] = useState({ text, faults: [] });
  const publish = async () => {
    setState({ ...state, isSending: true });
    try {
      await put(changing(document, expect), state.text, { headers: { 'content-type': MEDIA_TYPE } });
      say(t('The schema of {key} is set', { key: document.key }));
      onClose();
      reload();
    } catch (error) {
      setState({ ...state, error, faults: faultsOf(error, '', 'text'), isSending: false });
    }
  };
  return html`
    <${Card} title=${t('Schema of {key}', { key: document.key })} about=${t('the current document has to fit it')}>
      ${state.error && html`<p class="failure" role="alert">${state.error.message}</p>`}
      ${state.faults.length > 1 && html`<ul
        class="faults">${state.faults.map(({ path, text: said }) => html`<li><code>${path}</code> ${said}</li>`)}</ul>`}
      <${CodeEditor} label=${t('JSON Schema')} value=${state.text}
        onInput=${(written) => setState({ text: written, faults: [] })} />
      <div class="actions">
        <${RoleButton} role="editor" tone="main" isDisabled=${state.isSending || state.text === text}
          onClick=${publish}>${t('Set the schema')}<//>
        <${Button} onClick=${onClose}>${t('Cancel')}<//>
      </div>
    <//>`;
}

function parsed(schema) {
  try {
    return JSON.parse(schema);
  } catch {
    return null;
  }
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

function titleOf(schema) {
  const title = parsed(schema)?.title;
  return typeof title === 'string' ? title : undefined;
}

// The members that a schema names, a row each.
export function Fields({ schema }) {
  const fields = fieldsOf(parsed(schema));
  const columns = [
    { name: t('Name'), class: 'nowrap', of: nameOf },
    { name: t('Type'), of: ({ type }) => type },
    { name: t('Rules'), of: ({ rules }) => rules },
    { name: t('Meaning'), class: 'config-why', of: ({ meaning }) => meaning },
  ];
  return html`<${Table} label=${t('What it may hold')} columns=${columns} rows=${fields} keyOf=${({ name }) => name}
    empty=${t('It names no members.')} />`;
}

const nameOf = ({ name, isRequired }) => html`
  <code>${name}</code>${isRequired && html` <span class="quiet">${t('required')}</span>`}`;

function fieldsOf(schema, prefix = '', depth = 0, found = []) {
  if (!isObject(schema?.properties) || depth > DEPTH_MAX) return found;
  const required = Array.isArray(schema.required) ? schema.required : [];
  for (const [key, field] of Object.entries(schema.properties)) {
    if (found.length >= FIELDS_MAX) return found;
    if (!isObject(field)) continue;
    const name = prefix + key;
    const said = { type: typeOf(field), rules: rulesOf(field), meaning: meaningOf(field) };
    found.push({ name, isRequired: required.includes(key), ...said });
    fieldsOf(field, `${name}.`, depth + 1, found);
    if (isObject(field.items)) fieldsOf(field.items, `${name}[].`, depth + 1, found);
  }
  return found;
}

const typeOf = ({ type, $ref: ref }) => (Array.isArray(type) ? type.join(' | ') : [type, ref].find((one) => typeof one === 'string'));
const meaningOf = ({ description }) => (typeof description === 'string' ? description : '');

const RULES = [
  ['minimum', '≥'], ['exclusiveMinimum', '>'], ['maximum', '≤'], ['exclusiveMaximum', '<'],
  ['minLength', 'minLength'], ['maxLength', 'maxLength'], ['minItems', 'minItems'], ['maxItems', 'maxItems'], ['pattern', 'pattern'],
  ['format', 'format'], ['multipleOf', 'multipleOf'], ['default', 'default'],
];

function rulesOf(field) {
  const said = RULES.filter(([key]) => ['number', 'string', 'boolean'].includes(typeof field[key]));
  const rules = said.map(([key, word]) => `${word} ${field[key]}`);
  if (Array.isArray(field.enum)) rules.unshift(field.enum.slice(0, 20).map((value) => JSON.stringify(value)).join(' | '));
  if (field.const !== undefined) rules.unshift(`= ${JSON.stringify(field.const)}`);
  return rules.join(', ');
}
