// What happened to one event, and what is to.

import { field, h, loading, nothing, refill } from './dom.js';
import { rows } from './api.js';
import { seconds, stamp } from './format.js';

export function eventTrace(context) {
  let { event = '' } = context.params;
  const input = h('input', {
    type: 'search',
    autocomplete: 'off',
    spellcheck: 'false',
    value: event,
    size: 40,
  });
  const form = h(
    'form',
    {
      class: 'card asking',
      role: 'search',
      'aria-label': 'Event',
      onsubmit: (submit) => {
        submit.preventDefault();
        context.go('event', { event: input.value.trim() });
      },
    },
    field('Event id or seq', input),
    h('button', { type: 'submit', class: 'main' }, 'Trace'),
  );
  const body = h('div', { class: 'stack' }, loading());
  const element = h('div', { class: 'stack' }, h('div', { class: 'head' }, h('h1', {}, 'Event')), form, body);

  async function load(signal) {
    if (!event) return { steps: null };
    try {
      return { steps: await traced(context, event, signal) };
    } catch (error) {
      if (error.status === 404 || error.status === 400) return { unknown: error };
      throw error;
    }
  }

  function show({ steps, unknown }) {
    refill(body, [event, steps, unknown?.message], () => {
      if (unknown) return nothing(unknown.message, unknown.cure);
      if (!steps)
        return nothing('Which event?', 'Its event id is the message’s id; a row’s seq does as well.');
      return h('section', { class: 'card' }, timeline(steps));
    });
  }

  function move(params) {
    event = params.event ?? '';
    input.value = event;
    return true;
  }

  if (!event) queueMicrotask(() => input.focus());
  return { element, body, load, show, move };
}

// The steps of an event.
export async function traced(context, event, signal) {
  return rows(await context.get(`trace/${encodeURIComponent(event)}`, {}, signal), 'steps');
}

// Steps from the first to the last, and what is yet to come.
export function timeline(steps) {
  const start = steps.find((step) => step.at)?.at;
  return h(
    'ol',
    { class: 'timeline' },
    steps.map((step) =>
      h(
        'li',
        { class: step.pending ? 'pending' : tone(step.what) },
        h(
          'div',
          { class: 'when' },
          step.at
            ? h('time', { datetime: step.at, title: step.at }, stamp(step.at))
            : h('span', {}, step.pending ? 'to come' : ''),
          step.at && start && step.at !== start
            ? h('small', {}, `+${seconds((new Date(step.at) - new Date(start)) / 1000)}`)
            : null,
        ),
        h(
          'div',
          { class: 'what' },
          h('strong', {}, step.what),
          ' ',
          h('span', { class: 'who' }, step.who),
          step.detail ? h('p', {}, step.detail) : null,
        ),
      ),
    ),
  );
}

function tone(what) {
  if (/^(published|done)/.test(what)) return 'good';
  if (/^(died|failed)/.test(what)) return 'bad';
  return '';
}
