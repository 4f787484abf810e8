// Tokens and names: reading where that takes a token, and acting, which always does.

import * as api from './api.js';
import { ask } from './dialog.js';
import { field, fill, h } from './dom.js';

// What stands at the top right.
export function whoIs(session) {
  return session.may.operate ? `${api.actor() || 'operator'} · may act` : 'read only';
}

function secret(label) {
  return h('input', {
    type: 'password',
    autocomplete: 'off',
    spellcheck: 'false',
    'aria-label': label,
    required: true,
  });
}

// Fills the page with the question for a token, until one is taken.
export function askIn(main, open) {
  return new Promise((resolve) => {
    const token = secret('Token');
    const wrong = h('div', { class: 'wrong', role: 'alert' });
    const button = h('button', { type: 'submit', class: 'main' }, 'Look');
    if (api.hasToken()) fill(wrong, 'The token was not taken.');
    api.signOut();
    const form = h(
      'form',
      {
        class: 'card sign',
        novalidate: true,
        onsubmit: async (event) => {
          event.preventDefault();
          if (!token.value.trim()) {
            fill(wrong, 'Enter the token.');
            token.focus();
            return;
          }
          button.disabled = true;
          api.signIn(token.value);
          try {
            resolve(await open());
          } catch (error) {
            api.signOut();
            fill(wrong, error.status === 401 ? 'The token was not taken.' : error.message);
            button.disabled = false;
            token.select();
          }
        },
      },
      h('h2', {}, 'This page takes a token'),
      h(
        'p',
        {},
        'It is page.read_token of relay’s configuration; page.operator_token does as well. It stays in this tab.',
      ),
      field('Token', token),
      wrong,
      h('footer', {}, button),
    );
    fill(main, form);
    token.focus();
  });
}

// Asks for what acting takes. Resolves to the session then, or null.
export async function askOperator(session, open) {
  if (!session.may.operate && session.sign_in === false) {
    await ask({
      title: 'This page is read only',
      says: [
        session.why_not ?? 'No operator token is configured.',
        'The command line does the same: relay replay-dlq, dlq, key, pause, resume.',
      ],
      yes: 'Understood',
    });
    return null;
  }
  const token = secret('Operator token');
  const name = h('input', {
    type: 'text',
    autocomplete: 'off',
    spellcheck: 'false',
    maxlength: 64,
    value: api.actor(),
  });
  const fields = session.may.operate
    ? []
    : [
        {
          name: 'token',
          label: 'Operator token',
          control: token,
          needed: 'Enter the operator token.',
          hint: 'page.operator_token of relay’s configuration. It stays in this tab.',
        },
      ];
  fields.push({
    name: 'name',
    label: 'Your name',
    control: name,
    needed: 'Enter your name.',
    hint: 'For the audit.',
  });
  return ask({
    title: 'Acting takes a token and a name',
    says: ['Every act is written down under your name.'],
    fields,
    yes: 'Go on',
    act: async (values) => {
      const before = api.hasToken();
      if (session.may.operate) {
        api.signIn(api.tokenOf(), values.name);
        return session;
      }
      const kept = api.tokenOf();
      api.signIn(values.token, values.name);
      let answer = null;
      try {
        answer = await open();
      } catch (error) {
        api.signIn(kept);
        throw error.status === 401 ? new Error('The token was not taken.') : error;
      }
      if (answer.may.operate) return answer;
      api.signIn(kept);
      throw new Error(
        before || answer.may.read ? 'That token does not allow acting.' : 'The token was not taken.',
      );
    },
  });
}

// Who may act stops, or goes by another name. Resolves to 'left', a session, or null.
export async function leave(open) {
  const name = h('input', {
    type: 'text',
    autocomplete: 'off',
    spellcheck: 'false',
    maxlength: 64,
    value: api.actor(),
  });
  let left = false;
  const answer = await ask({
    title: 'You may act',
    says: [
      'Every act is written down under this name.',
      h(
        'p',
        {},
        h(
          'button',
          {
            type: 'button',
            onclick: (event) => {
              left = true;
              api.signOut();
              event.target.closest('dialog').close();
            },
          },
          'Forget the token',
        ),
      ),
    ],
    fields: [{ name: 'name', label: 'Your name', control: name, needed: 'Enter your name.' }],
    yes: 'Keep',
    act: async (values) => {
      api.signIn(api.tokenOf(), values.name);
      return open();
    },
  });
  return left ? 'left' : answer;
}
