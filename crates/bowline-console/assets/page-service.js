// Services: all of them, or one with all that is known of it.

import { html } from './html.js';
import { ServiceList } from './services-list.js';
import { ServiceView } from './service-view.js';

export default function ServicePage({ path, query }) {
  const [name] = path;
  return name === undefined ? html`<${ServiceList} query=${query} />` : html`<${ServiceView} name=${name} query=${query} />`;
}
