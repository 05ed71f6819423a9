// Traces: what requests did. The search at /ui/traces, one of them at /ui/traces/ID.

import { html } from './html.js';
import { Search } from './traces-search.js';
import { Trace } from './traces-one.js';

export default function TracesPage({ path, query }) {
  const [id] = path;
  return id ? html`<${Trace} id=${id} query=${query} />` : html`<${Search} query=${query} />`;
}
