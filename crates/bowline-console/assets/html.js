// What every page builds its elements with: preact, its hooks, and htm's templates.
//
// A value in a template becomes text or an attribute, never markup: nothing in the console may set `innerHTML`.

import { Fragment, h, render } from './vendor/preact.js';
import htm from './vendor/htm.js';

export { useCallback, useEffect, useErrorBoundary, useLayoutEffect, useMemo, useRef, useState } from './vendor/hooks.js';
export { Fragment, render };
export const html = htm.bind(h);
