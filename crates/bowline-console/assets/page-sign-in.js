// Signing in with a token, which the browser then keeps where no script can read it.

import { html, useState } from './html.js';
import { signIn } from './api.js';
import { t } from './i18n.js';
import { go, to, useRoute } from './route.js';
import { Button, Field, Page, withCode } from './ui.js';

export default function SignIn({ who }) {
  const { path } = useRoute();
  const [state, setState] = useState({ token: '' });
  const submit = async (event) => {
    event.preventDefault();
    setState({ token: state.token, isSending: true });
    try {
      await signIn(state.token.trim());
      setState({ token: '' });
      // Whoever was asked to sign in sees then what they came for.
      if (path[0] === 'sign-in') go(to(), { replace: true });
    } catch (error) {
      setState({ token: '', error });
    }
  };
  return html`
    <${Page} title=${t('Sign in')}>
      <form class="card narrow" onSubmit=${submit}>
        <p>${who.is_away ? t('The server does not answer.') : t('What you may see and change depends on the token that you sign in with.')}</p>
        ${who.why && html`<p class="failure" role="status">${t('You are not signed in:')} ${who.why}</p>`}
        <${Field} name=${t('Token')} hint=${withCode(t('One that `bowline token create` made, or the root token in the data folder.'))}>
          <input type="password" name="token" autocomplete="off" required autofocus value=${state.token}
            onInput=${(event) => setState({ ...state, token: event.target.value })} />
        <//>
        ${state.error && html`<p class="failure" role="alert">${state.error.message}</p>`}
        <${Button} kind="submit" tone="main" isDisabled=${state.isSending || !state.token}>${t('Sign in')}<//>
      </form>
    <//>`;
}
