// How an outbox is: what is wrong, how far behind it is and was, who works on it.

import { pause } from './acts.js';
import { showFigures, showKeys, showLinks, showPauses, showRelays } from './cards.js';
import { chart, TIMES } from './chart.js';
import { fill, h, link, loading, refill } from './dom.js';
import { broken, findings } from './findings.js';
import { roundSeconds, seconds, short } from './format.js';
import { laneMap } from './lanes.js';

const HOUR = 60;
const DAY = 1440;
// A day is drawn a point a minute: asking more often shows nothing new.
const DAY_EVERY = 30000;
// Ten minutes of an hour, two hours of a day.
const FEWEST = 120;

export function overview(context) {
  const wrong = h('section', { class: 'findings', 'aria-label': 'What is wrong now', 'aria-live': 'polite' });
  const charts = [
    chart({
      title: 'Lag',
      about: 'Age of the oldest row that is due and not published',
      show: seconds,
      tick: roundSeconds,
      least: 0.1,
      sizes: TIMES,
    }),
    chart({
      title: 'Published',
      about: 'Rows confirmed by the broker',
      show: (value) => `${short(value)}/s`,
      least: 1,
    }),
    chart({
      title: 'Backlog',
      about: 'Rows that are not published yet, counted to 10,000 of each state',
      show: short,
      least: 10,
    }),
  ];
  const series = ['lag_seconds', 'published_per_second', 'backlog'];
  const figures = h('div', { class: 'figures' });
  const lanes = h('div');
  const relays = h('div');
  const links = h('div');
  const pauses = h('div');
  const keys = h('section', { class: 'card wide', hidden: true });
  const ranges = [
    [HOUR, 'Hour'],
    [DAY, 'Day'],
  ].map(([minutes, name]) =>
    h(
      'button',
      {
        type: 'button',
        'aria-pressed': String(minutes === HOUR),
        onclick: () => choose(minutes),
      },
      name,
    ),
  );
  const ofTable = [
    h('section', { class: 'card' }, h('h2', {}, 'Lanes and relays'), lanes, relays),
    h(
      'section',
      { class: 'card' },
      h(
        'header',
        {},
        h('h2', {}, 'Pauses'),
        h('button', { type: 'button', onclick: () => pause(context) }, 'Pause…'),
      ),
      pauses,
    ),
  ];
  const rest = h(
    'div',
    { class: 'stack', hidden: true },
    h(
      'div',
      { class: 'charts' },
      charts.map((each) => each.element),
    ),
    figures,
    h(
      'div',
      { class: 'columns' },
      ofTable[0],
      h('section', { class: 'card' }, h('h2', {}, 'Connections'), links),
      ofTable[1],
    ),
    keys,
  );
  // What only the database knows is not shown before it has been asked.
  for (const card of ofTable) card.hidden = true;
  const element = h(
    'div',
    { class: 'stack' },
    h(
      'div',
      { class: 'head' },
      h('h1', {}, 'Overview'),
      h('div', { class: 'toggle', role: 'group', 'aria-label': 'Time shown' }, ranges),
    ),
    wrong,
    rest,
  );
  fill(wrong, loading());

  let minutes = HOUR;
  let history = null;
  let asked = 0;

  function choose(wanted) {
    minutes = wanted;
    history = null;
    ranges.forEach((button, index) =>
      button.setAttribute('aria-pressed', String([HOUR, DAY][index] === wanted)),
    );
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
      due
        ? context.get('history', { minutes }, signal).catch((error) => {
            if (signal.aborted) throw error;
            return null;
          })
        : history,
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
    refill(
      wrong,
      wrongs.map((each) => [each.tone, each.says]),
      () => wrongs.map(finding),
    );
    // As they come, the one seen last comes first: a relay is to keep its letter and its colour.
    status.relays?.sort((one, other) => (one.name < other.name ? -1 : 1));
    const pending = Object.values(status.pending ?? {}).reduce((sum, rows) => sum + rows, 0);
    const now = status.error ? {} : { lag_seconds: status.oldest_age_seconds, backlog: pending };
    charts.forEach((each, index) => {
      const values = history?.series?.[series[index]];
      if (values?.some((value) => value !== null))
        each.update(lately(values), history.every_seconds, history.until, now[series[index]]);
      else
        each.nothing(
          history ? 'Nothing to draw yet: relay has only just started.' : 'The history is not to be had.',
          now[series[index]],
        );
    });
    if (status.error) return;
    for (const card of ofTable) card.hidden = false;
    showFigures(figures, status, context);
    refill(
      lanes,
      [status.relays?.map((relay) => [relay.relay_id, relay.lanes]), status.unowned_lanes, status.lanes],
      () => laneMap(status),
    );
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
  return h(
    'p',
    { class: `finding ${tone}` },
    h('span', { class: 'mark', 'aria-hidden': 'true' }),
    h('span', {}, says),
    where ? link(where, {}, name) : null,
  );
}
