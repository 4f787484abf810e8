// What is wrong now, in words, the worst first; each with where to look.

import { count, counted, many, seconds } from './format.js';

// Older than this, a row that is due is late: nothing else waits for anything by then.
const LATE = 30;
const VERY_LATE = 300;

export function findings(status, context) {
  const found = [];
  const bad = (says, where, name) => found.push({ tone: 'bad', says, where, name });
  const warn = (says, where, name) => found.push({ tone: 'warn', says, where, name });
  const relay = status.relay ?? {};
  const limit = status.counted_to;

  for (const line of relay.troubles ?? []) bad(sentence(line));
  if (relay.amqp_connected === false && !relay.troubles?.length)
    bad('The broker is away: rows wait, and no attempt is charged.');
  if (relay.amqp_blocked && !relay.troubles?.length)
    bad('The broker has blocked publishing: an alarm of memory or disk.');
  if (status.unowned_lanes?.length) {
    const free = status.unowned_lanes.length;
    const all = free === status.lanes;
    (all ? bad : warn)(
      all
        ? 'No relay holds a lane: nothing is published.'
        : `No relay holds ${count(free)} of ${count(status.lanes)} lanes: their rows wait.`,
    );
  }
  if (status.oldest_age_seconds >= LATE) {
    (status.oldest_age_seconds >= VERY_LATE ? bad : warn)(
      `The oldest row that is due has waited for ${seconds(status.oldest_age_seconds)}.`,
    );
  }
  if (status.dead > 0) {
    bad(
      `${counted(status.dead, limit)} dead ${status.dead === 1 ? 'row waits' : 'rows wait'} for somebody to look.`,
      context.path('dead'),
      'Look at them',
    );
  }
  const keys = status.first_held_keys ?? [];
  const among = status.held_keys > keys.length ? `, of the ${keys.length} that wait longest` : '';
  const parked = keys.filter((key) => key.reason === 'parked').length;
  if (parked)
    warn(
      `${many(parked, 'key')} ${parked === 1 ? 'is' : 'are'} parked behind a dead row${among}: replay, discard or release.`,
    );
  const retrying = keys.filter((key) => key.reason === 'retrying').length;
  if (retrying)
    warn(
      `${many(retrying, 'key')} ${retrying === 1 ? 'waits' : 'wait'} behind a row that is being retried${among}.`,
    );
  if (status.pauses?.length)
    warn(
      `${many(status.pauses.length, 'pause')} ${status.pauses.length === 1 ? 'stands' : 'stand'}: what is paused waits.`,
    );
  const holder = status.cleanup_held;
  if (holder?.age_seconds >= 3600) {
    warn(
      `${holder.by === 'session' ? 'A session' : holder.by} (${[holder.name, holder.pid && `pid ${holder.pid}`].filter(Boolean).join(', ')}) has kept the table from being cleaned for ${seconds(holder.age_seconds)}.`,
    );
  }
  if (Math.abs(relay.clock_skew_seconds ?? 0) >= 5)
    warn(`The clocks of relay and the database are ${seconds(Math.abs(relay.clock_skew_seconds))} apart.`);
  if (!found.length) found.push({ tone: 'good', says: 'All is well: what is committed goes out.' });
  return found.sort((one, other) => rank(one) - rank(other));
}

// What is known when the database did not answer.
export function broken({ error, relay }) {
  const lines = relay.troubles?.length ? relay.troubles : [error.message];
  const found = lines.map((line) => ({ tone: 'bad', says: sentence(line) }));
  return error.cure ? [...found, { tone: 'warn', says: sentence(error.cure) }] : found;
}

const rank = ({ tone }) => ['bad', 'warn', 'good'].indexOf(tone);

function sentence(line) {
  const text = line.trim();
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}
