// Where in a document a fault is that the server tells of.
//
// Faults of the syntax, of routes and of alerts say it as line and column. Those of a schema name a value by a JSON
// pointer, whose place is looked for here. Where it is not found nothing is marked: the fault is told all the same.

const JSON_TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const TOML_TOKEN =
  /#[^\n]*|"""(?:[^\\]|\\[^])*?"{3,5}|'''[^]*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\n|[[\]{},=.]|[^\s[\]{},=.#"']+/g;
const LINE_AND_COLUMN = /^line (\d+), column (\d+)$/;
const UNEXPECTED = /\('([^']+)'[^)]* unexpected\)/;

// What a refusal says of a document: `[{ text, rule?, path?, line?, column? }]`; none where it is about something else.
export function faultsOf(problem, text, format) {
  const { violations, syntax, schema_fault: schema } = problem.members ?? {};
  if (syntax) return [{ text: syntax.reason, line: syntax.line, column: syntax.column }];
  if (schema) return [{ text: schema }];
  if (!Array.isArray(violations)) return [];
  const find = placesOf(text, format);
  return violations.map((violation) => {
    const { path, rule, detail } = violation;
    const said = LINE_AND_COLUMN.exec(path);
    if (said) return { text: detail, rule, line: Number(said[1]), column: Number(said[2]) };
    return { text: detail, rule, path, ...find(pointerOf(violation)) };
  });
}

// A member that may not be there is at fault itself, though the schema names what it is a member of.
function pointerOf({ path, rule, detail }) {
  const unexpected = rule === 'additionalProperties' && UNEXPECTED.exec(detail);
  return unexpected ? `${path}/${escaped(unexpected[1])}` : path;
}

const escaped = (key) => String(key).replaceAll('~', '~0').replaceAll('/', '~1');

// What finds the line and column of a pointer in a text, or of the nearest that holds it.
function placesOf(text, format) {
  const offsets = { json: jsonOffsets, toml: tomlOffsets }[format]?.(text) ?? new Map();
  return (pointer) => {
    let at = pointer;
    while (at !== '' && !offsets.has(at)) at = at.slice(0, at.lastIndexOf('/'));
    return at === '' ? {} : placeOf(text, offsets.get(at));
  };
}

function placeOf(text, offset) {
  const before = text.slice(0, offset);
  return { line: before.split('\n').length, column: offset - before.lastIndexOf('\n') };
}

// Where the values of a well-formed JSON text are, by their pointers; a member is where its name is.
function jsonOffsets(text) {
  const offsets = new Map();
  const open = [];
  for (const { 0: token, index } of text.matchAll(JSON_TOKEN)) {
    const top = open.at(-1);
    if (token === '}' || token === ']') open.pop();
    else if (token === ',' && top) [top.index, top.key] = [top.index + 1, null];
    else if (token === ':' || token === ',') continue;
    else if (top && !top.isList && top.key === null) {
      top.key = unquoted(token);
      offsets.set(`${top.pointer}/${escaped(top.key)}`, index);
    } else {
      const pointer = top ? `${top.pointer}/${escaped(top.isList ? top.index : top.key)}` : '';
      if (!offsets.has(pointer)) offsets.set(pointer, index);
      if (token === '{' || token === '[') open.push({ pointer, isList: token === '[', index: 0, key: null });
    }
  }
  return offsets;
}

function unquoted(token) {
  if (token.startsWith("'")) return token.slice(1, -1);
  if (!token.startsWith('"')) return token;
  try {
    return JSON.parse(token);
  } catch {
    return token.slice(1, -1);
  }
}

const tomlOffsets = (text) => new TomlReader(text).read();

// Reads a well-formed TOML text for where things are, not for what they are.
class TomlReader {
  #tokens;
  #at = 0;
  #offsets = new Map();
  // Of each list of tables, the place of its last one.
  #lasts = new Map();

  constructor(text) {
    this.#tokens = [...text.matchAll(TOML_TOKEN)].filter(([token]) => !token.startsWith('#'));
  }

  read() {
    let table = '';
    while (this.#at < this.#tokens.length) {
      if (this.#take('\n')) continue;
      if (this.#take('[')) table = this.#header();
      else this.#member(table);
    }
    return this.#offsets;
  }

  get #token() {
    return this.#tokens[this.#at]?.[0];
  }

  #take(token) {
    if (this.#token !== token) return false;
    this.#at += 1;
    return true;
  }

  // `[a.b]` or `[[a.b]]`, behind its first bracket: the pointer of the table.
  #header() {
    const isList = this.#take('[');
    const place = this.#tokens[this.#at]?.index;
    const keys = this.#keys(']');
    while (this.#take(']'));
    let pointer = '';
    keys.forEach((key, index) => {
      pointer += `/${escaped(key)}`;
      if (isList && index === keys.length - 1) this.#lasts.set(pointer, (this.#lasts.get(pointer) ?? -1) + 1);
      this.#note(pointer, place);
      if (this.#lasts.has(pointer)) pointer += `/${this.#lasts.get(pointer)}`;
    });
    this.#note(pointer, place);
    return pointer;
  }

  // The parts of a dotted key, until what ends it.
  #keys(end) {
    const keys = [];
    while (this.#token !== undefined && this.#token !== end && this.#token !== '\n') {
      if (this.#token !== '.') keys.push(unquoted(this.#token));
      this.#at += 1;
    }
    return keys;
  }

  #member(table) {
    const place = this.#tokens[this.#at]?.index;
    let pointer = table;
    for (const key of this.#keys('=')) {
      pointer += `/${escaped(key)}`;
      this.#note(pointer, place);
    }
    if (this.#take('=')) this.#value(pointer);
    // What could not be read on this line is passed over.
    while (this.#token !== undefined && !['\n', ',', '}'].includes(this.#token)) this.#at += 1;
  }

  #value(pointer) {
    if (this.#take('[')) return this.#items(']', (index) => this.#item(`${pointer}/${index}`));
    if (this.#take('{')) return this.#items('}', () => this.#member(pointer));
    while (this.#token !== undefined && !['\n', ',', ']', '}'].includes(this.#token)) this.#at += 1;
  }

  #item(pointer) {
    this.#note(pointer, this.#tokens[this.#at]?.index);
    this.#value(pointer);
  }

  #items(end, read) {
    let index = 0;
    while (this.#token !== undefined && !this.#take(end)) {
      if (this.#take('\n') || this.#take(',')) continue;
      const begun = this.#at;
      read(index);
      index += 1;
      if (this.#at === begun) this.#at += 1;
    }
  }

  #note(pointer, place) {
    if (place !== undefined && !this.#offsets.has(pointer)) this.#offsets.set(pointer, place);
  }
}
