// Questions before something is done. Each says what will happen; Escape and Cancel do nothing.

import { h, field, fill } from './dom.js';

// Opens a dialog. `fields`: { name, label, control, hint?, needed? }. Resolves to the fields' values by name, or null.
// With `act`, the dialog stays open until that has succeeded, and says what went wrong.
export function ask({ title, says, fields = [], yes, tone = '', act }) {
  return new Promise((resolve) => {
    const wrong = h('div', { class: 'wrong', role: 'alert' });
    const confirm = h('button', { type: 'submit', class: tone || 'main' }, yes);
    const cancel = h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
    const form = h(
      'form',
      { novalidate: true },
      h('h2', { id: 'dialog-title' }, title),
      says.map((sentence) => (sentence instanceof Node ? sentence : h('p', {}, sentence))),
      fields.map(({ label, control, hint }) => field(label, control, hint)),
      wrong,
      h('footer', {}, cancel, confirm),
    );
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, form);
    let answer = null;

    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const missing = fields.find(({ control, needed }) => needed && !control.value.trim());
      for (const { control } of fields) control.removeAttribute('aria-invalid');
      if (missing) {
        missing.control.setAttribute('aria-invalid', 'true');
        fill(wrong, missing.needed);
        missing.control.focus();
        return;
      }
      const values = Object.fromEntries(fields.map(({ name, control }) => [name, control.value.trim()]));
      if (act) {
        confirm.disabled = true;
        fill(wrong);
        try {
          answer = await act(values);
        } catch (error) {
          fill(wrong, [error.message, error.cure].filter(Boolean).join(': '));
          confirm.disabled = false;
          return;
        }
      } else {
        answer = values;
      }
      dialog.close();
    });
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    (fields[0]?.control ?? (tone === 'danger' ? cancel : confirm)).focus();
  });
}

let clearing;

// Tells what was done, to everybody who looks or listens.
export function say(sentence) {
  const place = document.getElementById('said');
  fill(place, h('p', {}, sentence));
  clearTimeout(clearing);
  clearing = setTimeout(() => fill(place), 8000);
}
