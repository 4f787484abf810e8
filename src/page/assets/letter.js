// One row, dead or not: every column, and its payload only when somebody asks for it.

import { discard, replay } from './acts.js';
import { badge, fill, h, link, pairs, refill, text, trouble } from './dom.js';
import { pretty, stamp, words } from './format.js';

const TIMES = new Set([
  'created_at',
  'available_at',
  'published_at',
  'dead_at',
  'first_failed_at',
  'resolved_at',
]);
// In this order; what a later version adds comes after.
const FIRST = [
  'event_id',
  'created_at',
  'first_failed_at',
  'dead_at',
  'resolved_at',
  'published_at',
  'available_at',
  'attempts',
  'replays',
  'exchange',
  'routing_key',
  'lane',
  'generation',
];
// Shown above, or of no use to people.
const APART = new Set([
  'payload',
  'original_payload',
  'headers',
  'last_error',
  'seq',
  'dead_reason',
  'event_type',
  'aggregate_type',
  'aggregate_id',
  'state',
]);

export function letter(context, which, close) {
  const title = h('h2', {}, 'Row');
  const content = h('div', { class: 'stack' });
  const payload = h('div', { class: 'payload' });
  const element = h(
    'section',
    {
      class: 'card letter',
      tabindex: -1,
      'aria-label': 'One row',
      onkeydown: (event) => {
        if (event.key === 'Escape') close();
      },
    },
    h(
      'header',
      {},
      title,
      h('button', { type: 'button', class: 'quiet', onclick: close, 'aria-label': 'Close' }, '✕'),
    ),
    content,
    payload,
  );
  let answer = null;
  let shownOnce = false;

  async function load(signal) {
    try {
      answer = { row: await context.get(`dead/${encodeURIComponent(which)}`, {}, signal) };
    } catch (error) {
      // It is but a part of what is seen: its own trouble stays here.
      if (signal.aborted || error.status === 401 || !error.status) throw error;
      answer = { error };
    }
  }

  function show() {
    if (!answer) return;
    if (answer.error) {
      fill(content, trouble(answer.error));
      fill(payload);
      return;
    }
    const { row } = answer;
    text(title, `Row ${row.seq}`);
    refill(content, row, () => about(row));
    if (!shownOnce) hide(row);
    shownOnce = true;
  }

  function about(row) {
    const dead = row.dead_at && !row.resolved_at;
    const key = { aggregate_type: row.aggregate_type, aggregate_id: row.aggregate_id };
    return [
      h(
        'p',
        { class: 'line' },
        state(row),
        h('span', { class: 'name' }, row.event_type),
        ' of ',
        link(context.path('key', key), { class: 'name' }, `${row.aggregate_type}/${row.aggregate_id}`),
      ),
      row.last_error ? h('pre', { class: 'error' }, row.last_error) : null,
      h(
        'div',
        { class: 'buttons' },
        dead
          ? h('button', { type: 'button', class: 'main', onclick: () => replay(context, [row]) }, 'Replay…')
          : null,
        dead ? h('button', { type: 'button', onclick: () => discard(context, [row]) }, 'Discard…') : null,
        link(context.path('event', { event: row.event_id }), { class: 'button' }, 'What happened to it'),
      ),
      pairs(...named(row).map((name) => [words(name), shown(name, row[name])])),
      Object.keys(row.headers ?? {}).length
        ? [h('h3', {}, 'Headers'), h('pre', {}, pretty(row.headers))]
        : null,
    ];
  }

  function hide(row) {
    fill(
      payload,
      h('h3', {}, 'Payload'),
      h(
        'p',
        { class: 'hint' },
        'Hidden: it may hold what not everybody should read.',
        row.edited ? ' An operator has edited it.' : '',
      ),
      h('button', { type: 'button', onclick: (event) => reveal(row, event.target) }, 'Show the payload'),
    );
  }

  async function reveal(row, button) {
    button.disabled = true;
    try {
      const whole = await context.get(`dead/${encodeURIComponent(which)}`, { payload: true });
      const close = h(
        'button',
        {
          type: 'button',
          onclick: () => {
            hide(row);
            payload.querySelector('button').focus();
          },
        },
        'Hide the payload',
      );
      fill(
        payload,
        h('h3', {}, 'Payload'),
        h('pre', { class: 'body', tabindex: 0, 'aria-label': 'Payload' }, pretty(whole.payload)),
        whole.original_payload === undefined || whole.original_payload === null
          ? null
          : [
              h('h3', {}, 'As its producer wrote it'),
              h('pre', { class: 'body', tabindex: 0 }, pretty(whole.original_payload)),
            ],
        close,
      );
      close.focus();
    } catch (error) {
      fill(payload, h('h3', {}, 'Payload'), trouble(error));
    }
  }

  return { which, element, load, show };
}

const named = (row) => [...new Set([...FIRST, ...Object.keys(row)])].filter((name) => !APART.has(name));

// What a row is, in a word.
export function state(row) {
  if (row.resolved_at || row.state === 'discarded')
    return badge(row.dead_reason === 'skipped' ? 'skipped' : 'discarded', 'plain');
  if (row.dead_at) return badge(words(row.dead_reason) || 'dead', 'bad');
  if (row.published_at) return badge('published', 'good');
  return badge(row.state ?? 'ready', row.state === 'held' ? 'warn' : 'plain');
}

function shown(name, value) {
  if (value === null || value === undefined) return null;
  if (TIMES.has(name)) return h('time', { datetime: value, title: value }, stamp(value));
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
