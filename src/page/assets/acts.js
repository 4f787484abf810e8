// What operators do, each after a question that says what will happen.

import { ask, say } from './dialog.js';
import { h } from './dom.js';
import { count, many } from './format.js';

const why = () => h('textarea', { rows: 2, maxlength: 1000 });

// Rows by their event ids: what the audit and a trace find.
const ids = (rows) => rows.map((row) => row.event_id);

function some(verb, answer, wanted) {
  const others = wanted - answer.done;
  return `${verb} ${many(answer.done, 'row')}.${others > 0 ? ` ${many(others, 'row')} had changed meanwhile, and ${others === 1 ? 'was' : 'were'} left alone.` : ''}`;
}

// Dead rows go out again.
export async function replay(context, dead) {
  if (!(await context.mayAct())) return false;
  const note = why();
  const answer = await ask({
    title: `Replay ${many(dead.length, 'dead row')}?`,
    says: [
      `${dead.length === 1 ? 'It is' : 'They are'} published again under the same event ${dead.length === 1 ? 'id' : 'ids'}, in seq order.`,
      'Consumers that already did the work drop the message as a duplicate. If the cause is still there, it dies again.',
    ],
    yes: dead.length === 1 ? 'Replay it' : `Replay ${count(dead.length)}`,
    fields: [{ name: 'note', label: 'Note for the audit', control: note }],
    act: (values) => context.post('dead/replay', { event_ids: ids(dead), note: values.note || undefined }),
  });
  if (!answer) return false;
  const old =
    answer.beyond_horizon > 0
      ? ` ${many(answer.beyond_horizon, 'row')} ${answer.beyond_horizon === 1 ? 'is' : 'are'} older than what some consumer remembers, and may be done again.`
      : '';
  return told(some('Replayed', answer, dead.length) + old, context);
}

// Dead rows count as dealt with.
export async function discard(context, dead) {
  if (!(await context.mayAct())) return false;
  const reason = why();
  const answer = await ask({
    title: `Discard ${many(dead.length, 'dead row')}?`,
    says: [
      `${dead.length === 1 ? 'It counts' : 'They count'} as dealt with: nobody publishes ${dead.length === 1 ? 'it' : 'them'} any more, and this can’t be undone here.`,
      'A key that was parked behind such a row goes on. The rows stay in the table until they are pruned.',
    ],
    fields: [
      {
        name: 'note',
        label: 'Reason',
        control: reason,
        needed: 'Say why: whoever asks later reads it in the audit.',
      },
    ],
    yes: dead.length === 1 ? 'Discard it' : `Discard ${count(dead.length)}`,
    tone: 'danger',
    act: (values) => context.post('dead/discard', { event_ids: ids(dead), note: values.note }),
  });
  return told(answer && some('Discarded', answer, dead.length), context);
}

// Stops publishing everything, a route or a key.
export async function pause(context, given = {}) {
  if (!(await context.mayAct())) return false;
  const input = (value = '') => h('input', { type: 'text', spellcheck: 'false', value, autocomplete: 'off' });
  const what = h(
    'select',
    {},
    [
      ['all', 'Everything'],
      ['route', 'A route'],
      ['key', 'A key'],
    ].map(([value, name]) => h('option', { value, selected: value === (given.what ?? 'all') }, name)),
  );
  const exchange = input();
  const routing = input();
  const type = input(given.aggregate_type);
  const id = input(given.aggregate_id);
  const reason = why();
  const fields = [
    { name: 'what', label: 'What', control: what },
    { name: 'exchange', label: 'Exchange', control: exchange, hint: 'Empty: the configured one.' },
    {
      name: 'routing_key',
      label: 'Routing key',
      control: routing,
      hint: 'order.* takes one more word, order.# any number. Empty: all.',
    },
    { name: 'aggregate_type', label: 'Aggregate type', control: type, hint: 'Such as order.' },
    { name: 'aggregate_id', label: 'Aggregate id', control: id },
    { name: 'note', label: 'Reason', control: reason },
  ];
  const parts = { exchange: 'route', routing_key: 'route', aggregate_type: 'key', aggregate_id: 'key' };
  const shape = () => {
    for (const { name, control } of fields) {
      if (parts[name]) control.parentElement.hidden = parts[name] !== what.value;
    }
  };
  what.addEventListener('change', shape);
  queueMicrotask(shape);
  const answer = await ask({
    title: 'Pause publishing?',
    says: [
      'Rows wait in the table, in order, until it is resumed; nothing is lost and no attempt is charged. Producers notice nothing. A paused route also holds the later rows of its keys.',
    ],
    fields,
    yes: 'Pause',
    act: (values) => context.post('pause', target(values)),
  });
  return told(
    answer &&
      (answer.already ? 'That was paused already.' : 'Paused. It shows here as soon as relay keeps to it.'),
    context,
  );
}

function target({ what, exchange, routing_key, aggregate_type, aggregate_id, note }) {
  const of = { route: { exchange, routing_key }, key: { aggregate_type, aggregate_id } }[what];
  if (of && !Object.values(of).some(Boolean))
    throw new Error(
      what === 'key'
        ? 'Name the key.'
        : 'Name an exchange, a routing key or both; # means every routing key.',
    );
  const said = Object.entries({ scope: what, ...of, note }).filter(([, value]) => value);
  return Object.fromEntries(said);
}

// Ends a pause.
export async function resume(context, pause, name) {
  if (!(await context.mayAct())) return false;
  const answer = await ask({
    title: 'Resume publishing?',
    says: [`The pause of ${name} ends: what waited goes out, in order.`],
    yes: 'Resume',
    act: () => context.post('resume', { pause_ids: [pause.pause_id] }),
  });
  return told(answer && 'Resumed.', context);
}

// A key goes on without its head.
export async function goOn(context, key, way) {
  if (!(await context.mayAct())) return false;
  const skip = way === 'skip';
  const reason = why();
  const answer = await ask({
    title: skip ? `Give up row ${key.head_seq}?` : `Go on without row ${key.head_seq}?`,
    says: skip
      ? [
          `Row ${key.head_seq} is given up for good: it is dead as skipped and dealt with, and no dead letter of it is sent. If it is on its way to the broker at this moment, it may arrive all the same.`,
          `${many(key.behind, 'row')} behind it ${key.behind === 1 ? 'goes' : 'go'} on.`,
        ]
      : [
          `${many(key.behind, 'row')} behind it ${key.behind === 1 ? 'goes' : 'go'} on.`,
          `Row ${key.head_seq} stays dead. If it is replayed later, it comes after those that were behind it.`,
        ],
    fields: [
      {
        name: 'note',
        label: 'Reason',
        control: reason,
        needed: skip ? 'Say why: whoever asks later reads it in the audit.' : null,
      },
    ],
    yes: skip ? 'Give it up' : 'Release the key',
    tone: skip ? 'danger' : '',
    act: (values) =>
      context.post(`key/${way}`, {
        aggregate_type: key.aggregate_type,
        aggregate_id: key.aggregate_id,
        head_seq: key.head_seq,
        note: values.note || undefined,
      }),
  });
  return told(answer && (skip ? `Row ${key.head_seq} is given up.` : 'The key goes on.'), context);
}

function told(sentence, context) {
  if (!sentence) return false;
  say(sentence);
  context.refresh();
  return true;
}
