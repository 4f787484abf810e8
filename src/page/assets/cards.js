// The cards of the overview: figures, relays, connections, pauses, and the keys that wait.

import { goOn, resume } from './acts.js';
import { badge, h, link, refill, table, text } from './dom.js';
import { count, counted, many, seconds, stamp, words } from './format.js';

export function showFigures(figures, status, context) {
  const limit = status.counted_to;
  const shown = [
    ...['ready', 'waiting', 'held'].map((state) => [
      state,
      counted(status.pending?.[state], limit),
      null,
      '',
    ]),
    ['dead', counted(status.dead, limit), context.path('dead'), status.dead > 0 ? 'bad' : ''],
    ['held keys', counted(status.held_keys, limit), null, status.held_keys > 0 ? 'warn' : ''],
    ['in flight', count(status.relay?.in_flight_rows), null, ''],
    ['published', count(status.relay?.published_total), null, '', 'By this relay, since it started'],
  ];
  refill(figures, shown, () =>
    shown.map(([name, value, where, tone, about]) =>
      h(
        where ? 'a' : 'div',
        { class: `figure ${tone}`, href: where, title: about },
        h('span', {}, name),
        h('strong', {}, value),
      ),
    ),
  );
}

export function showRelays(place, status) {
  const living = status.relays ?? [];
  refill(
    place,
    living.map((relay) => [relay.relay_id, relay.name, relay.version, relay.lanes.length]),
    () =>
      living.length
        ? table(
            'Relays',
            [
              {
                name: 'Relay',
                class: 'name',
                cell: (relay) => [
                  h('span', { class: `swatch lane-${living.indexOf(relay) % 6}`, 'aria-hidden': 'true' }),
                  relay.name,
                ],
              },
              { name: 'Version', cell: (relay) => relay.version },
              { name: 'Lanes', class: 'number', cell: (relay) => relay.lanes.length },
              { name: 'Lease left', class: 'number', cell: () => h('span', { class: 'lease' }) },
              { name: 'Seen', class: 'number', cell: () => h('span', { class: 'seen' }) },
            ],
            living,
          )
        : h('p', { class: 'hint' }, 'No relay has lived within a day.'),
  );
  passing(place, 'lease', living, (relay) =>
    relay.lease_left_seconds === null ? '–' : seconds(relay.lease_left_seconds),
  );
  passing(place, 'seen', living, (relay) => `${seconds(relay.seen_seconds_ago)} ago`);
}

// What changes with each answer: only its text, so that nothing is taken away under somebody's finger.
function passing(place, name, rows, show) {
  place.querySelectorAll(`.${name}`).forEach((cell, index) => text(cell, show(rows[index])));
}

const CIRCUITS = { closed: ['closed', 'good'], half_open: ['half open', 'warn'], open: ['open', 'bad'] };

export function showLinks(place, relay) {
  const breakers = Object.entries(relay.breakers ?? {});
  const shown = [
    ...breakers.map(([target, state]) => [
      `Breaker: ${target}`,
      ...(CIRCUITS[state] ?? [words(state), 'plain']),
    ]),
    up('Database', relay.database_connected),
    up('Broker', relay.amqp_connected, relay.amqp_blocked ? ['blocked by an alarm', 'bad'] : null),
    up('Wake-ups', relay.listen_connected, relay.listen_connected === false ? ['polling', 'plain'] : null),
  ].filter(([, state]) => state !== null);
  refill(place, shown, () =>
    h(
      'ul',
      { class: 'states' },
      shown.map(([name, state, tone]) => h('li', {}, name, badge(state, tone))),
    ),
  );
}

function up(name, connected, instead) {
  if (connected === null || connected === undefined) return [name, null];
  return [name, ...(instead ?? (connected ? ['connected', 'good'] : ['away', 'bad']))];
}

function pauseName(pause) {
  if (pause.scope === 'all') return 'everything';
  if (pause.scope === 'route') return `${pause.exchange} ${pause.routing_key}`;
  return `${pause.aggregate_type}/${pause.aggregate_id}`;
}

export function showPauses(standing, context) {
  if (!standing.length) return h('p', { class: 'hint' }, 'Nothing is paused.');
  return h(
    'ul',
    { class: 'pauses' },
    standing.map((each) =>
      h(
        'li',
        {},
        h(
          'div',
          {},
          h('strong', {}, pauseName(each)),
          h('small', {}, `by ${each.actor} since ${stamp(each.since)}`),
          each.note ? h('q', {}, each.note) : null,
        ),
        h('button', { type: 'button', onclick: () => resume(context, each, pauseName(each)) }, 'Resume'),
      ),
    ),
  );
}

export function showKeys(place, status, context) {
  const held = status.first_held_keys ?? [];
  place.hidden = !held.length;
  if (!held.length) return;
  const shown = held.map((key) => [key.aggregate_type, key.aggregate_id, key.head_seq, key.reason]);
  refill(place, shown, () => [
    h(
      'header',
      {},
      h('h2', {}, 'Keys that wait longest'),
      h(
        'span',
        { class: 'hint' },
        `${many(status.held_keys, 'key')} ${status.held_keys === 1 ? 'waits' : 'wait'}`,
      ),
    ),
    table(
      'Keys that wait longest',
      [
        {
          name: 'Key',
          cell: (key) =>
            link(
              context.path('key', { aggregate_type: key.aggregate_type, aggregate_id: key.aggregate_id }),
              {},
              `${key.aggregate_type}/${key.aggregate_id}`,
            ),
        },
        {
          name: 'Behind row',
          class: 'number',
          cell: (key) => link(context.path('event', { event: key.head_seq }), {}, key.head_seq),
        },
        {
          name: 'Why',
          cell: (key) =>
            badge(
              key.paused_by ? `paused by ${key.paused_by}` : key.reason,
              key.reason === 'parked' ? 'bad' : key.reason === 'retrying' ? 'warn' : 'plain',
            ),
        },
        { name: 'For', class: 'number', cell: () => h('span', { class: 'held-for' }) },
        { name: 'Due in', class: 'number', cell: () => h('span', { class: 'due-in' }) },
        { name: 'Error', class: 'long', cell: (key) => key.last_error ?? '' },
        {
          name: 'Act',
          head: h('span', { class: 'unseen' }, 'Act'),
          class: 'act',
          cell: (key) => wayOn(key, context),
        },
      ],
      held,
    ),
  ]);
  passing(place, 'held-for', held, (key) => seconds(key.held_seconds));
  passing(place, 'due-in', held, ({ due_in_seconds: due }) =>
    due === null ? '–' : due <= 0 ? 'now' : seconds(due),
  );
}

function wayOn(key, context) {
  const way = { retrying: ['skip', 'Skip…'], parked: ['release', 'Release…'] }[key.reason];
  if (!way) return null;
  return h(
    'button',
    {
      type: 'button',
      onclick: async () => {
        // How much waits behind it is known to the key's own answer.
        const whole = await context.get('key', {
          aggregate_type: key.aggregate_type,
          aggregate_id: key.aggregate_id,
        });
        await goOn(context, whole, way[0]);
      },
    },
    way[1],
  );
}
