// Dead letters: finding them, choosing some, replaying and discarding. One of them opens beside the list.

import { discard, replay } from './acts.js';
import { badge, field, fill, h, link, loading, nothing, refill, table, text } from './dom.js';
import { ago, count, many, words } from './format.js';
import { letter } from './letter.js';

const PAGE = 50;
// As many as one act takes.
const MOST = 500;
const FILTERS = ['event_id', 'event_type', 'aggregate_type', 'aggregate_id', 'reason', 'since', 'until'];
const REASONS = [
  'unroutable',
  'refused',
  'nacked',
  'payload_too_large',
  'invalid_headers',
  'invalid_name',
  'forbidden_exchange',
  'exhausted',
];

export function deadLetters(context) {
  let params = context.params;
  let rows = [];
  let next = null;
  let pages = 1;
  const chosen = new Map();

  const inputs = Object.fromEntries(
    FILTERS.map((name) => [
      name,
      name === 'reason'
        ? h('input', { type: 'search', list: 'dead-reasons', autocomplete: 'off', spellcheck: 'false' })
        : h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false' }),
    ]),
  );
  inputs.since.placeholder = inputs.until.placeholder = '2h';
  const form = h(
    'form',
    {
      class: 'filters',
      role: 'search',
      'aria-label': 'Dead letters',
      onsubmit: (event) => {
        event.preventDefault();
        const said = Object.fromEntries(FILTERS.map((name) => [name, inputs[name].value.trim()]));
        chosen.clear();
        pages = 1;
        context.go('dead', said);
      },
    },
    field('Event id', inputs.event_id),
    field('Event type', inputs.event_type),
    field('Aggregate type', inputs.aggregate_type),
    field('Aggregate id', inputs.aggregate_id),
    field('Reason', inputs.reason),
    field('Died since', inputs.since),
    field('Until', inputs.until),
    h(
      'datalist',
      { id: 'dead-reasons' },
      REASONS.map((value) => h('option', { value })),
    ),
    h(
      'div',
      { class: 'buttons' },
      h('button', { type: 'submit', class: 'main' }, 'Search'),
      h(
        'button',
        {
          type: 'button',
          onclick: () => {
            chosen.clear();
            pages = 1;
            context.go('dead');
          },
        },
        'Clear',
      ),
    ),
  );
  const roomy = matchMedia('(min-width: 900px)').matches;
  const search = h(
    'details',
    { class: 'card search', open: roomy },
    h('summary', {}, 'Filters', h('span', { class: 'hint said-filters' })),
    form,
  );

  const all = h('input', {
    type: 'checkbox',
    'aria-label': 'Choose all that are shown',
    onchange: () => {
      for (const row of rows) {
        if (all.checked && chosen.size < MOST) chosen.set(row.event_id, row);
        else if (!all.checked) chosen.delete(row.event_id);
      }
      marks();
    },
  });
  const number = h('span', { class: 'number', role: 'status' });
  const doReplay = h('button', { type: 'button', class: 'main', onclick: () => act(replay) }, 'Replay…');
  const doDiscard = h('button', { type: 'button', onclick: () => act(discard) }, 'Discard…');
  const acts = h('div', { class: 'acts' }, number, doReplay, doDiscard);
  const list = h('div', { class: 'list' }, loading());
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
  const body = h('div', { class: 'list-side stack' }, list, more);
  const aside = h('div', { class: 'beside' });
  const split = h(
    'div',
    { class: 'split' },
    h('div', { class: 'stack list-box' }, search, acts, body),
    aside,
  );
  const element = h(
    'div',
    { class: 'stack' },
    h('div', { class: 'head' }, h('h1', {}, 'Dead letters')),
    split,
  );
  let opened = null;

  const filters = () => Object.fromEntries(FILTERS.map((name) => [name, params[name]]));
  const said = () => FILTERS.filter((name) => params[name]);

  async function act(what) {
    if (await what(context, [...chosen.values()])) {
      chosen.clear();
      marks();
    }
  }

  function marks() {
    for (const box of list.querySelectorAll('input[type=checkbox]')) {
      if (box !== all) box.checked = chosen.has(box.value);
    }
    const shown = rows.filter((row) => chosen.has(row.event_id)).length;
    all.checked = rows.length > 0 && shown === rows.length;
    all.indeterminate = shown > 0 && shown < rows.length;
    text(number, chosen.size ? `${count(chosen.size)} chosen` : '');
    doReplay.disabled = doDiscard.disabled = chosen.size === 0 || chosen.size > MOST;
    acts.hidden = rows.length === 0;
  }

  // The address bar says something else: without building the view anew.
  function move(wanted) {
    params = wanted;
    for (const name of FILTERS) inputs[name].value = params[name] ?? '';
    const filtered = said()
      .map((name) => `${words(name)} ${params[name]}`)
      .join(', ');
    text(search.querySelector('.said-filters'), filtered);
    if (filtered) search.open = true;
    open(params.open ?? null);
    return true;
  }

  function open(which) {
    split.classList.toggle('opened', Boolean(which));
    for (const row of list.querySelectorAll('tr[data-id]'))
      row.classList.toggle('current', row.dataset.id === which);
    if (which === (opened?.which ?? null)) return;
    const closed = opened?.which;
    opened = which ? letter(context, which, () => context.go('dead', filters())) : null;
    fill(aside, opened?.element ?? null);
    if (opened) opened.element.focus();
    else list.querySelector(`tr[data-id="${CSS.escape(closed)}"] a`)?.focus();
  }

  async function load(signal) {
    const found = [];
    let after = null;
    for (let page = 0; page < pages; page += 1) {
      const answer = await context.get('dead', { ...filters(), after, limit: PAGE }, signal);
      found.push(...answer.rows);
      after = answer.next;
      if (after === null || after === undefined) break;
    }
    await opened?.load(signal);
    return { rows: found, next: after ?? null };
  }

  function show(data) {
    ({ rows, next } = data);
    // What has been dealt with elsewhere is not to be chosen any more.
    const there = new Set(rows.map((row) => row.event_id));
    for (const id of chosen.keys()) if (!there.has(id)) chosen.delete(id);
    refill(
      list,
      rows.map((row) => [row.event_id, row.dead_at, row.replays, row.last_error]),
      () => (rows.length ? drawn() : none()),
    );
    for (const time of list.querySelectorAll('time')) text(time, ago(time.dateTime));
    more.hidden = next === null;
    marks();
    open(params.open ?? null);
    opened?.show();
  }

  const none = () =>
    said().length
      ? nothing('No dead row matches', 'Search for less, or clear the search.')
      : nothing('No dead rows', 'What can’t be published ends here, with the reason. There is nothing.');

  const drawn = () =>
    table(
      `Dead letters, ${many(rows.length, 'row')} shown`,
      [
        {
          name: '',
          head: all,
          class: 'pick',
          cell: (row) =>
            h('input', {
              type: 'checkbox',
              value: row.event_id,
              'aria-label': `Choose row ${row.seq}`,
              onchange: (event) => {
                if (event.target.checked) chosen.set(row.event_id, row);
                else chosen.delete(row.event_id);
                marks();
              },
            }),
        },
        {
          name: 'Seq',
          class: 'number',
          cell: (row) =>
            link(
              context.path('dead', { ...filters(), open: row.event_id }),
              { 'aria-label': `Open row ${row.seq}` },
              row.seq,
            ),
        },
        { name: 'Reason', cell: (row) => badge(words(row.dead_reason), 'bad') },
        { name: 'Event', class: 'name', cell: (row) => row.event_type },
        { name: 'Key', class: 'name', cell: (row) => `${row.aggregate_type}/${row.aggregate_id}` },
        {
          name: 'Died',
          cell: (row) => h('time', { datetime: row.dead_at, title: row.dead_at }, ago(row.dead_at)),
        },
        {
          name: 'Attempts',
          class: 'number',
          cell: (row) => (row.replays ? `${row.attempts}, replayed ${row.replays}×` : row.attempts),
        },
        { name: 'Error', class: 'long', cell: (row) => row.last_error },
      ],
      rows,
      (row) => ({
        'data-id': row.event_id,
        onclick: (event) => {
          if (!event.target.closest('a, input, button') && !getSelection().toString())
            context.go('dead', { ...filters(), open: row.event_id });
        },
      }),
    );

  move(params);
  marks();
  return { element, body: list, load, show, move };
}
