// One aggregate key: what it waits for, how it goes on, and its latest rows.

import { goOn, pause } from './acts.js';
import { badge, field, h, link, loading, nothing, pairs, refill, table } from './dom.js';
import { count, many, stamp } from './format.js';
import { state } from './letter.js';

const WAITS = {
  retrying: ['retrying', 'warn', 'Its head failed and is tried again; what is behind it waits, in order.'],
  parked: [
    'parked',
    'bad',
    'Its head is dead, and the rest of the key waits until somebody replays or discards the head, or releases the key.',
  ],
  releasing: ['releasing', 'plain', 'It is on its way: rows that waited go out.'],
  paused: ['paused', 'plain', 'An operator paused it.'],
};

export function keyView(context) {
  let key = wanted(context.params);
  const type = h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false' });
  const id = h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false' });
  const form = h(
    'form',
    {
      class: 'card asking',
      role: 'search',
      'aria-label': 'Key',
      onsubmit: (event) => {
        event.preventDefault();
        context.go('key', { aggregate_type: type.value.trim(), aggregate_id: id.value.trim() });
      },
    },
    field('Aggregate type', type),
    field('Aggregate id', id),
    h('button', { type: 'submit', class: 'main' }, 'Show'),
  );
  const body = h('div', { class: 'stack' }, loading());
  const element = h('div', { class: 'stack' }, h('div', { class: 'head' }, h('h1', {}, 'Key')), form, body);

  async function load(signal) {
    if (!key) return { key: null };
    try {
      return { key: await context.get('key', key, signal) };
    } catch (error) {
      if (error.status === 404 || error.status === 400) return { unknown: error };
      throw error;
    }
  }

  function show({ key: found, unknown }) {
    // Ages alone are no reason to build it anew.
    const { held_seconds: _, due_in_seconds: __, ...shown } = found ?? {};
    refill(body, [key, shown, unknown?.message], () => {
      if (unknown)
        return nothing(
          unknown.message,
          unknown.cure ?? 'The type and the id are those of the row: order and 4711, say.',
        );
      if (!found)
        return nothing(
          'Which key?',
          'Rows of one aggregate go out in order, one behind the other. Name its type and id.',
        );
      return [waits(found, context), timelineOf(found, context)];
    });
  }

  function move(params) {
    key = wanted(params);
    type.value = key?.aggregate_type ?? '';
    id.value = key?.aggregate_id ?? '';
    return true;
  }

  move(context.params);
  if (!key) queueMicrotask(() => type.focus());
  return { element, body, load, show, move };
}

function wanted({ aggregate_type, aggregate_id }) {
  return aggregate_type && aggregate_id ? { aggregate_type, aggregate_id } : null;
}

function waits(key, context) {
  const name = `${key.aggregate_type}/${key.aggregate_id}`;
  const [word, tone, meaning] =
    WAITS[key.reason] ??
    (key.reason ? [key.reason, 'plain', ''] : ['goes on', 'good', 'Nothing holds it up.']);
  const way = { skip: 'Skip its head…', release: 'Release the key…' }[key.way_on];
  return h(
    'section',
    { class: 'card' },
    h('header', {}, h('h2', { class: 'name' }, name), badge(word, tone)),
    h('p', {}, meaning),
    key.reason
      ? pairs(
          [
            'Waits behind',
            key.head_seq === null || key.head_seq === undefined
              ? null
              : link(context.path('event', { event: key.head_seq }), {}, `row ${key.head_seq}`),
          ],
          ['Event', key.event_type],
          ['Attempts', key.attempts],
          [
            'Behind it',
            key.behind === null || key.behind === undefined
              ? null
              : `${count(key.behind)}${key.behind >= 10000 ? '+' : ''} rows`,
          ],
          ['Held since', from(-key.held_seconds)],
          ['Tried again', from(key.due_in_seconds)],
          ['Paused by', key.paused_by],
        )
      : null,
    key.last_error ? h('pre', { class: 'error' }, key.last_error) : null,
    h(
      'div',
      { class: 'buttons' },
      way
        ? h(
            'button',
            {
              type: 'button',
              class: key.way_on === 'skip' ? 'danger' : 'main',
              onclick: () => goOn(context, key, key.way_on),
            },
            way,
          )
        : null,
      key.reason === 'paused'
        ? link(context.path('overview'), { class: 'button' }, 'See the pauses')
        : h(
            'button',
            { type: 'button', onclick: () => pause(context, { what: 'key', ...key }) },
            'Pause the key…',
          ),
    ),
  );
}

function timelineOf(key, context) {
  const rows = key.rows ?? [];
  if (!rows.length) return null;
  return h(
    'section',
    { class: 'card' },
    h(
      'header',
      {},
      h('h2', {}, 'Its rows, the latest first'),
      h('span', { class: 'hint' }, many(rows.length, 'row')),
    ),
    table(
      'Rows of the key',
      [
        {
          name: 'Seq',
          class: 'number',
          cell: (row) => link(context.path('event', { event: row.event_id }), {}, row.seq),
        },
        { name: 'State', cell: state },
        { name: 'Event', class: 'name', cell: (row) => row.event_type },
        { name: 'Created', cell: (row) => time(row.created_at) },
        {
          name: 'Published or dead',
          cell: (row) =>
            time(row.published_at ?? row.dead_at) ??
            (row.state === 'waiting' ? ['due ', time(row.available_at)] : '–'),
        },
        { name: 'Attempts', class: 'number', cell: (row) => row.attempts },
        { name: 'Error', class: 'long', cell: (row) => row.last_error ?? '' },
      ],
      rows,
    ),
    key.looked_back_to
      ? h(
          'p',
          { class: 'hint' },
          `Published rows before seq ${count(key.looked_back_to)} were not looked for.`,
        )
      : null,
  );
}

// So many seconds from now.
function from(seconds) {
  return Number.isFinite(seconds) ? stamp(Date.now() + seconds * 1000) : null;
}

function time(value) {
  return value ? h('time', { datetime: value, title: value }, stamp(value)) : null;
}
