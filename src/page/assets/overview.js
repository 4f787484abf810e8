// How an outbox is: what is wrong, how far behind it is and was, who works on it.

import { goOn, pause, resume } from './acts.js';
import { chart, TIMES } from './chart.js';
import { badge, fill, h, link, loading, refill, table, text } from './dom.js';
import { count, counted, many, roundSeconds, seconds, short, stamp, words } from './format.js';
import { laneMap } from './lanes.js';
import { broken, findings } from './findings.js';

const HOUR = 60;
const DAY = 1440;
// A day is drawn a point a minute: asking more often shows nothing new.
const DAY_EVERY = 30000;
// Ten minutes of an hour, two hours of a day.
const FEWEST = 120;

export function overview(context) {
  const wrong = h('section', { class: 'findings', 'aria-label': 'What is wrong now', 'aria-live': 'polite' });
  const charts = [
    chart({ title: 'Lag', about: 'Age of the oldest row that is due and not published', show: seconds, tick: roundSeconds, least: 0.1, sizes: TIMES }),
    chart({ title: 'Published', about: 'Rows confirmed by the broker', show: (value) => `${short(value)}/s`, least: 1 }),
    chart({ title: 'Backlog', about: 'Rows that are not published yet, counted to 10,000 of each state', show: short, least: 10 }),
  ];
  const series = ['lag_seconds', 'published_per_second', 'backlog'];
  const figures = h('div', { class: 'figures' });
  const lanes = h('div');
  const relays = h('div');
  const links = h('div');
  const pauses = h('div');
  const keys = h('section', { class: 'card wide', hidden: true });
  const ranges = [[HOUR, 'Hour'], [DAY, 'Day']].map(([minutes, name]) => h('button', {
    type: 'button', 'aria-pressed': String(minutes === HOUR), onclick: () => choose(minutes),
  }, name));
  const ofTable = [
    h('section', { class: 'card' }, h('h2', {}, 'Lanes and relays'), lanes, relays),
    h('section', { class: 'card' },
      h('header', {}, h('h2', {}, 'Pauses'), h('button', { type: 'button', onclick: () => pause(context) }, 'Pause…')),
      pauses),
  ];
  const rest = h('div', { class: 'stack', hidden: true },
    h('div', { class: 'charts' }, charts.map((each) => each.element)),
    figures,
    h('div', { class: 'columns' }, ofTable[0], h('section', { class: 'card' }, h('h2', {}, 'Connections'), links), ofTable[1]),
    keys);
  // What only the database knows is not shown before it has been asked.
  for (const card of ofTable) card.hidden = true;
  const element = h('div', { class: 'stack' },
    h('div', { class: 'head' }, h('h1', {}, 'Overview'),
      h('div', { class: 'toggle', role: 'group', 'aria-label': 'Time shown' }, ranges)),
    wrong, rest);
  fill(wrong, loading());

  let minutes = HOUR;
  let history = null;
  let asked = 0;

  function choose(wanted) {
    minutes = wanted;
    history = null;
    ranges.forEach((button, index) => button.setAttribute('aria-pressed', String([HOUR, DAY][index] === wanted)));
    context.refresh();
  }

  async function load(signal) {
    const due = !history || minutes === HOUR || Date.now() - asked > DAY_EVERY;
    const [status, seen] = await Promise.all([
      // While the database is away relay still tells of itself.
      context.get('status', {}, signal).catch((error) => {
        if (!error.answer?.relay) throw error;
        return { relay: error.answer.relay, error };
      }),
      // What relay saw is worth showing while it does not.
      due ? context.get('history', { minutes }, signal).catch((error) => {
        if (signal.aborted) throw error;
        return null;
      }) : history,
    ]);
    if (due) asked = Date.now();
    return { status, history: seen, error: status.error };
  }

  function show(data) {
    rest.hidden = false;
    history = data.history;
    const { status } = data;
    showLinks(links, status.relay ?? {});
    const wrongs = status.error ? broken(status) : findings(status, context);
    refill(wrong, wrongs.map((each) => [each.tone, each.says]), () => wrongs.map(finding));
    // As they come, the one seen last comes first: a relay is to keep its letter and its colour.
    status.relays?.sort((one, other) => (one.name < other.name ? -1 : 1));
    const pending = Object.values(status.pending ?? {}).reduce((sum, rows) => sum + rows, 0);
    const now = status.error ? {} : { lag_seconds: status.oldest_age_seconds, backlog: pending };
    charts.forEach((each, index) => {
      const values = history?.series?.[series[index]];
      if (values?.some((value) => value !== null)) each.update(lately(values), history.every_seconds, history.until, now[series[index]]);
      else each.nothing(history ? 'Nothing to draw yet: relay has only just started.' : 'The history is not to be had.', now[series[index]]);
    });
    if (status.error) return;
    for (const card of ofTable) card.hidden = false;
    showFigures(figures, status, context);
    refill(lanes, [status.relays?.map((relay) => [relay.relay_id, relay.lanes]), status.unowned_lanes, status.lanes], () => laneMap(status));
    showRelays(relays, status);
    refill(pauses, status.pauses, () => showPauses(status.pauses ?? [], context));
    showKeys(keys, status, context);
  }

  return { element, body: wrong, load, show };
}

// From where relay began to look, but for a little: a line that fills its room says more.
function lately(values) {
  const first = values.findIndex((value) => value !== null);
  return values.slice(Math.max(0, Math.min(first, values.length - FEWEST)));
}

function finding({ tone, says, where, name }) {
  return h('p', { class: `finding ${tone}` }, h('span', { class: 'mark', 'aria-hidden': 'true' }), h('span', {}, says),
    where ? link(where, {}, name) : null);
}

function showFigures(figures, status, context) {
  const limit = status.counted_to;
  const shown = [
    ...['ready', 'waiting', 'held'].map((state) => [state, counted(status.pending?.[state], limit), null, '']),
    ['dead', counted(status.dead, limit), context.path('dead'), status.dead > 0 ? 'bad' : ''],
    ['held keys', counted(status.held_keys, limit), null, status.held_keys > 0 ? 'warn' : ''],
    ['in flight', count(status.relay?.in_flight_rows), null, ''],
    ['published', count(status.relay?.published_total), null, '', 'By this relay, since it started'],
  ];
  refill(figures, shown, () => shown.map(([name, value, where, tone, about]) =>
    h(where ? 'a' : 'div', { class: `figure ${tone}`, href: where, title: about }, h('span', {}, name), h('strong', {}, value))));
}

function showRelays(place, status) {
  const living = status.relays ?? [];
  refill(place, living.map((relay) => [relay.relay_id, relay.name, relay.version, relay.lanes.length]), () => (living.length
    ? table('Relays', [
      { name: 'Relay', class: 'name', cell: (relay) => [h('span', { class: `swatch lane-${living.indexOf(relay) % 6}`, 'aria-hidden': 'true' }), relay.name] },
      { name: 'Version', cell: (relay) => relay.version },
      { name: 'Lanes', class: 'number', cell: (relay) => relay.lanes.length },
      { name: 'Lease left', class: 'number', cell: () => h('span', { class: 'lease' }) },
      { name: 'Seen', class: 'number', cell: () => h('span', { class: 'seen' }) },
    ], living)
    : h('p', { class: 'hint' }, 'No relay has lived within a day.')));
  passing(place, 'lease', living, (relay) => (relay.lease_left_seconds === null ? '–' : seconds(relay.lease_left_seconds)));
  passing(place, 'seen', living, (relay) => `${seconds(relay.seen_seconds_ago)} ago`);
}

// What changes with each answer: only its text, so that nothing is taken away under somebody's finger.
function passing(place, name, rows, show) {
  place.querySelectorAll(`.${name}`).forEach((cell, index) => text(cell, show(rows[index])));
}

const CIRCUITS = { closed: ['closed', 'good'], half_open: ['half open', 'warn'], open: ['open', 'bad'] };

function showLinks(place, relay) {
  const breakers = Object.entries(relay.breakers ?? {});
  const shown = [
    ...breakers.map(([target, state]) => [`Breaker: ${target}`, ...(CIRCUITS[state] ?? [words(state), 'plain'])]),
    up('Database', relay.database_connected),
    up('Broker', relay.amqp_connected, relay.amqp_blocked ? ['blocked by an alarm', 'bad'] : null),
    up('Wake-ups', relay.listen_connected, relay.listen_connected === false ? ['polling', 'plain'] : null),
  ].filter(([, state]) => state !== null);
  refill(place, shown, () => h('ul', { class: 'states' }, shown.map(([name, state, tone]) => h('li', {}, name, badge(state, tone)))));
}

function up(name, connected, instead) {
  if (connected === null || connected === undefined) return [name, null];
  return [name, ...(instead ?? (connected ? ['connected', 'good'] : ['away', 'bad']))];
}

export function pauseName(pause) {
  if (pause.scope === 'all') return 'everything';
  if (pause.scope === 'route') return `${pause.exchange} ${pause.routing_key}`;
  return `${pause.aggregate_type}/${pause.aggregate_id}`;
}

function showPauses(standing, context) {
  if (!standing.length) return h('p', { class: 'hint' }, 'Nothing is paused.');
  return h('ul', { class: 'pauses' }, standing.map((each) => h('li', {},
    h('div', {}, h('strong', {}, pauseName(each)), h('small', {}, `by ${each.actor} since ${stamp(each.since)}`),
      each.note ? h('q', {}, each.note) : null),
    h('button', { type: 'button', onclick: () => resume(context, each, pauseName(each)) }, 'Resume'))));
}

function showKeys(place, status, context) {
  const held = status.first_held_keys ?? [];
  place.hidden = !held.length;
  if (!held.length) return;
  const shown = held.map((key) => [key.aggregate_type, key.aggregate_id, key.head_seq, key.reason]);
  refill(place, shown, () => [
    h('header', {}, h('h2', {}, 'Keys that wait longest'), h('span', { class: 'hint' }, `${many(status.held_keys, 'key')} ${status.held_keys === 1 ? 'waits' : 'wait'}`)),
    table('Keys that wait longest', [
      { name: 'Key', cell: (key) => link(context.path('key', { aggregate_type: key.aggregate_type, aggregate_id: key.aggregate_id }), {}, `${key.aggregate_type}/${key.aggregate_id}`) },
      { name: 'Behind row', class: 'number', cell: (key) => link(context.path('event', { event: key.head_seq }), {}, key.head_seq) },
      { name: 'Why', cell: (key) => badge(key.paused_by ? `paused by ${key.paused_by}` : key.reason, key.reason === 'parked' ? 'bad' : key.reason === 'retrying' ? 'warn' : 'plain') },
      { name: 'For', class: 'number', cell: () => h('span', { class: 'held-for' }) },
      { name: 'Due in', class: 'number', cell: () => h('span', { class: 'due-in' }) },
      { name: 'Error', class: 'long', cell: (key) => key.last_error ?? '' },
      { name: 'Act', head: h('span', { class: 'unseen' }, 'Act'), class: 'act', cell: (key) => wayOn(key, context) },
    ], held),
  ]);
  passing(place, 'held-for', held, (key) => seconds(key.held_seconds));
  passing(place, 'due-in', held, ({ due_in_seconds: due }) => (due === null ? '–' : due <= 0 ? 'now' : seconds(due)));
}

function wayOn(key, context) {
  const way = { retrying: ['skip', 'Skip…'], parked: ['release', 'Release…'] }[key.reason];
  if (!way) return null;
  return h('button', { type: 'button', onclick: async () => {
    // How much waits behind it is known to the key's own answer.
    const whole = await context.get('key', { aggregate_type: key.aggregate_type, aggregate_id: key.aggregate_id });
    await goOn(context, whole, way[0]);
  } }, way[1]);
}
