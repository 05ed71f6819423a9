// A box to narrow a list by a text; what is written stands in the address, so that it can be linked to.

import { html, useEffect, useRef, useState } from './html.js';
import { t } from './i18n.js';
import { goQuery } from './route.js';
import { Field } from './ui.js';

const WRITTEN_AFTER_MS = 250;

// `value`: what the address says under `name`. Answers what is in the box now, and the box.
export function useFilter(value = '', name = 'q') {
  const [text, setText] = useState(value);
  const written = useRef(value);
  useEffect(() => {
    // Another link was followed.
    if (value !== written.current) {
      written.current = value;
      setText(value);
    }
  }, [value]);
  useEffect(() => {
    if (text === written.current) return undefined;
    const timer = setTimeout(() => {
      written.current = text;
      goQuery({ [name]: text });
    }, WRITTEN_AFTER_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return [text.trim().toLowerCase(), { text, setText }];
}

export function FilterBox({ of: { text, setText }, label }) {
  return html`<${Field} name=${label ?? t('Filter')}>
    <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} autocomplete="off" spellcheck=${false} /><//>`;
}
