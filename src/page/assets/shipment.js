// A shipment with its ledger: every step, what came of it, and what waits for somebody.

import { rows } from './api.js';
import { badge, field, h, link, loading, nothing, pairs, refill, table } from './dom.js';
import { many, seconds, stamp, words } from './format.js';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const TONES = {
  accepted: 'plain',
  shipping: 'plain',
  shipped: 'good',
  cancelling: 'warn',
  cancelled: 'plain',
  failing: 'warn',
  failed: 'bad',
  needs_attention: 'bad',
  pending: 'plain',
  running: 'plain',
  succeeded: 'good',
  unknown: 'bad',
  compensating: 'warn',
  compensated: 'plain',
  skipped: 'plain',
};

export function shipment(context) {
  let wanted = context.params;
  const input = h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', size: 40 });
  const form = h(
    'form',
    {
      class: 'card asking',
      role: 'search',
      'aria-label': 'Shipment',
      onsubmit: (event) => {
        event.preventDefault();
        const text = input.value.trim();
        context.go('shipment', UUID.test(text) ? { shipment: text } : { order: text });
      },
    },
    field('Shipment id, or order id', input),
    h('button', { type: 'submit', class: 'main' }, 'Show'),
  );
  const body = h('div', { class: 'stack' }, loading());
  const element = h(
    'div',
    { class: 'stack' },
    h('div', { class: 'head' }, h('h1', {}, 'Shipment')),
    form,
    body,
  );

  async function load(signal) {
    try {
      if (wanted.shipment)
        return {
          shipment: await context.get(`shipments/${encodeURIComponent(wanted.shipment)}`, {}, signal),
        };
      const filter = wanted.order ? { order: wanted.order } : { state: 'needs_attention' };
      return { list: rows(await context.get('shipments', filter, signal)) };
    } catch (error) {
      if (error.status === 404 || error.status === 400) return { unknown: error };
      throw error;
    }
  }

  function show({ shipment: found, list, unknown }) {
    refill(
      body,
      [wanted, found, list?.map(({ unchanged_seconds: _, ...rest }) => rest), unknown?.message],
      () => {
        if (unknown) return nothing(unknown.message, unknown.cure);
        if (found) return sheet(found);
        if (list.length) return listed(list);
        return wanted.order
          ? nothing(`No shipment of order ${wanted.order}`, 'Is it in this outbox’s database?')
          : nothing('No shipment needs attention', 'Name a shipment or an order to see its ledger.');
      },
    );
  }

  const listed = (list) =>
    h(
      'section',
      { class: 'card bare' },
      h(
        'header',
        {},
        h('h2', {}, wanted.order ? `Shipments of order ${wanted.order}` : 'Shipments that need attention'),
        h('span', { class: 'hint' }, many(list.length, 'shipment')),
      ),
      table(
        'Shipments',
        [
          {
            name: 'Shipment',
            class: 'name',
            cell: (row) => link(context.path('shipment', { shipment: row.shipment_id }), {}, row.shipment_id),
          },
          { name: 'Order', class: 'name', cell: (row) => row.order_id },
          { name: 'State', cell: (row) => word(row.state) },
          { name: 'Unchanged', class: 'number', cell: (row) => seconds(row.unchanged_seconds) },
          { name: 'Waits for', class: 'long', cell: (row) => words(row.waiting) },
          { name: 'Reason', class: 'long', cell: (row) => row.reason ?? '' },
        ],
        list,
      ),
    );

  function move(params) {
    wanted = params;
    input.value = params.shipment ?? params.order ?? '';
    return true;
  }

  move(wanted);
  return { element, body, load, show, move };
}

const word = (state) => badge(words(state), TONES[state] ?? 'plain');
const time = (value) => (value ? h('time', { datetime: value, title: value }, stamp(value)) : null);

function sheet(found) {
  const { steps = [], cases = [], invoices = [], acts = [] } = found;
  return [
    h(
      'section',
      { class: 'card' },
      h('header', {}, h('h2', { class: 'name' }, found.shipment_id), word(found.state)),
      found.reason ? h('pre', { class: 'error' }, found.reason) : null,
      pairs(
        ['Order', found.order_id],
        ['Asked for by', found.caller],
        ['Quantities', found.quantities],
        ['Undone because', found.undo],
        ['Tracking code', found.tracking_code],
        ['Version', found.version],
        ['Created', time(found.created_at)],
        ['Changed', time(found.updated_at)],
      ),
      found.ship_to
        ? h(
            'details',
            {},
            h('summary', {}, 'Where it goes'),
            h('pre', {}, JSON.stringify(found.ship_to, null, 2)),
          )
        : null,
    ),
    h(
      'section',
      { class: 'card bare' },
      h('header', {}, h('h2', {}, 'Ledger'), h('span', { class: 'hint' }, many(steps.length, 'step'))),
      table(
        'Ledger',
        [
          { name: 'Step', cell: (step) => h('strong', {}, words(step.step)) },
          { name: 'Of', class: 'name', cell: (step) => step.subject },
          {
            name: 'State',
            cell: (step) => [
              word(step.state),
              step.stalled ? [' ', badge('waits for an operator', 'bad')] : null,
            ],
          },
          { name: 'Attempts', class: 'number', cell: (step) => step.attempts },
          { name: 'Started', cell: (step) => time(step.started_at) ?? '–' },
          { name: 'Finished', cell: (step) => time(step.finished_at) ?? '–' },
          { name: 'Error', class: 'long', cell: (step) => step.last_error ?? '' },
        ],
        steps,
      ),
    ),
    cases.length
      ? h(
          'section',
          { class: 'card bare' },
          h('header', {}, h('h2', {}, 'Cases')),
          table(
            'Cases',
            [
              { name: 'Case', class: 'number', cell: (each) => each.case_no },
              { name: 'Reference', class: 'name', cell: (each) => each.reference ?? '' },
              { name: 'Carrier’s id', class: 'name', cell: (each) => each.carrier_shipment_id ?? '–' },
              { name: 'Tracking code', class: 'name', cell: (each) => each.tracking_code ?? '–' },
              { name: 'Status', cell: (each) => words(each.tracking_status) || '–' },
              { name: 'Refund', cell: (each) => words(each.refund) || '–' },
            ],
            cases,
          ),
        )
      : null,
    invoices.length
      ? h(
          'section',
          { class: 'card bare' },
          h('header', {}, h('h2', {}, 'Invoices')),
          table(
            'Invoices',
            [
              { name: 'Invoice', class: 'name', cell: (each) => each.invoice_no },
              { name: 'Total', class: 'number', cell: (each) => money(each.total_minor, each.currency) },
              { name: 'Credit note', class: 'name', cell: (each) => each.credit_note_no ?? '–' },
              { name: 'Issued', cell: (each) => time(each.issued_at) ?? '–' },
            ],
            invoices,
          ),
        )
      : null,
    acts.length
      ? h(
          'section',
          { class: 'card bare' },
          h('header', {}, h('h2', {}, 'What operators did')),
          table(
            'Acts',
            [
              { name: 'At', cell: (act) => time(act.at) },
              { name: 'Who', class: 'name', cell: (act) => act.actor },
              { name: 'What', cell: (act) => h('strong', {}, words(act.action)) },
              {
                name: 'Of',
                class: 'name',
                cell: (act) => [words(act.step), act.subject].filter(Boolean).join(' '),
              },
              { name: 'Why', class: 'long', cell: (act) => act.reason ?? '' },
            ],
            acts,
          ),
        )
      : null,
  ];
}

// Minor units by the currency's own number of digits.
function money(minor, currency) {
  try {
    const format = new Intl.NumberFormat('en', { style: 'currency', currency });
    return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
  } catch {
    return `${minor} ${currency ?? ''}`;
  }
}
