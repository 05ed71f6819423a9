// The console's languages. The English text is the key, so that a page reads as it is shown.

import { cell, keep, kept, pick } from './state.js';
import chinese from './zh.js';

const KEPT = 'bowline.language';
export const LANGUAGES = { en: 'English', zh: '中文' };

function chosen() {
  const wish = kept(KEPT);
  if (Object.hasOwn(LANGUAGES, wish)) return wish;
  return navigator.language.startsWith('zh') ? 'zh' : 'en';
}

export const language = cell(chosen());
document.documentElement.lang = language.get();

export function speak(name) {
  keep(KEPT, name);
  document.documentElement.lang = name;
  language.set(name);
}

// A text in the reader's language, with values in place of their names: `t('{n} instances', { n: 3 })`.
export function t(text, values) {
  const spoken = language.get() === 'zh' ? pick(chinese, text, text) : text;
  return values ? spoken.replace(/\{(\w+)\}/g, (all, name) => pick(values, name) ?? all) : spoken;
}

// One or several: `tn('{n} instance', '{n} instances', 3)`.
export const tn = (one, several, n, values) => t(n === 1 ? one : several, { n: Intl.NumberFormat(locale()).format(n), ...values });

export const locale = () => (language.get() === 'zh' ? 'zh-CN' : 'en-GB');
