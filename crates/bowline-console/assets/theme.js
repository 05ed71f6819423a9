// Dark or light: as the reader's system is, unless the reader says otherwise here.

import { cell, keep, kept } from './state.js';

const KEPT = 'bowline.theme';
const dark = matchMedia('(prefers-color-scheme: dark)');
const THEMES = ['dark', 'light'];
const wish = () => THEMES.find((name) => name === kept(KEPT));
const current = () => wish() ?? (dark.matches ? 'dark' : 'light');

export const theme = cell(current());

function apply() {
  document.documentElement.dataset.theme = current();
  theme.set(current());
}

export function flip() {
  keep(KEPT, current() === 'dark' ? 'light' : 'dark');
  apply();
}

dark.addEventListener('change', apply);
apply();
