// What operators did: who, when, what, to what, how much, and why.

import { field, h, loading, nothing, refill, table } from './dom.js';
import { count, stamp, words } from './format.js';

const FILTERS = ['since', 'actor', 'action'];
const ACTS = ['replay', 'discard', 'edit', 'skip', 'release', 'pause', 'resume', 'send_back', 'prune'];

export function audit(context) {
  let params = context.params;
  let pages = 1;
  const inputs = {
    since: h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: '2h' }),
    actor: h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false' }),
    action: h(
      'select',
      {},
      h('option', { value: '' }, 'any'),
      ACTS.map((value) => h('option', { value }, words(value))),
    ),
  };
  const form = h(
    'form',
    {
      class: 'card asking',
      role: 'search',
      'aria-label': 'Audit',
      onsubmit: (event) => {
        event.preventDefault();
        pages = 1;
        context.go('audit', Object.fromEntries(FILTERS.map((name) => [name, inputs[name].value.trim()])));
      },
    },
    field('Since', inputs.since),
    field('Who', inputs.actor),
    field('What', inputs.action),
    h('button', { type: 'submit', class: 'main' }, 'Show'),
  );
  const body = h('div', { class: 'stack' }, loading());
  const more = h(
    'button',
    {
      type: 'button',
      hidden: true,
      onclick: () => {
        pages += 1;
        context.refresh();
      },
    },
    'Show more',
  );
  const element = h(
    'div',
    { class: 'stack' },
    h('div', { class: 'head' }, h('h1', {}, 'Audit')),
    form,
    body,
    more,
  );

  async function load(signal) {
    const rows = [];
    let after = null;
    for (let page = 0; page < pages; page += 1) {
      const said = Object.fromEntries(FILTERS.map((name) => [name, params[name]]));
      const answer = await context.get('audit', { ...said, after }, signal);
      rows.push(...answer.rows);
      after = answer.next ?? null;
      if (after === null) break;
    }
    return { rows, next: after };
  }

  function show({ rows, next }) {
    more.hidden = next === null;
    refill(body, rows, () =>
      rows.length
        ? drawn(rows)
        : nothing(
            'Nobody did anything such',
            'Every act of an operator is written down here, whether done on this page or on the command line.',
          ),
    );
  }

  const drawn = (rows) =>
    h(
      'section',
      { class: 'card bare' },
      table(
        'Audit',
        [
          { name: 'At', cell: (row) => h('time', { datetime: row.at, title: row.at }, stamp(row.at)) },
          { name: 'Who', class: 'name', cell: (row) => row.actor },
          { name: 'What', cell: (row) => h('strong', {}, words(row.action)) },
          { name: 'Affected', class: 'number', cell: (row) => count(row.affected) },
          { name: 'Of', class: 'long', cell: (row) => of(row.filter) },
          { name: 'Note', class: 'long', cell: (row) => row.note ?? '' },
        ],
        rows,
      ),
    );

  function move(wanted) {
    params = wanted;
    for (const name of FILTERS) inputs[name].value = params[name] ?? '';
    return true;
  }

  move(params);
  return { element, body, load, show, move };
}

// A filter in short: long lists are counted.
function of(filter) {
  if (!filter || typeof filter !== 'object') return String(filter ?? '');
  return Object.entries(filter)
    .map(([name, value]) => {
      if (!Array.isArray(value))
        return `${words(name)} ${typeof value === 'object' ? JSON.stringify(value) : value}`;
      return value.length === 1
        ? `${words(name).replace(/s$/, '')} ${value[0]}`
        : `${count(value.length)} ${words(name)}`;
    })
    .join(', ');
}
