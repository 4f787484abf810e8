// The operators' page: who may see it, which view is shown, and keeping that fresh.

import * as api from './page/api.js';
import { fill, h, link, nothing, refill, text, trouble } from './page/dom.js';
import { clock } from './page/format.js';
import { askIn, askOperator, leave, whoIs } from './page/sign.js';
import { audit } from './page/audit.js';
import { deadLetters } from './page/dead.js';
import { eventTrace } from './page/trace.js';
import { keyView } from './page/key.js';
import { overview } from './page/overview.js';
import { shipment } from './page/shipment.js';

const EVERY = 5000;
// Two polls missed, and a little.
const OLD = 13000;

const VIEWS = {
  overview: { name: 'Overview', make: overview },
  dead: { name: 'Dead letters', make: deadLetters },
  key: { name: 'Key', make: keyView },
  event: { name: 'Event', make: eventTrace },
  shipment: { name: 'Shipment', make: shipment, where: (session) => session.shipping !== false },
  audit: { name: 'Audit', make: audit },
};

const place = (id) => document.getElementById(id);
const main = place('main');

let session = null;
let current = null; // { name, outbox, view, params, shown: when what is seen was true, error }
let running = null; // the AbortController of the refresh under way
let timer = null;

// Where the address bar says we are: #/orders/dead?reason=unroutable
function where() {
  const [path, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [outbox, name] = path.split('/').map(decodeURIComponent);
  return {
    outbox: session.outboxes.includes(outbox) ? outbox : session.outboxes[0],
    name: shownViews().includes(name) ? name : 'overview',
    params: Object.fromEntries(new URLSearchParams(search)),
  };
}

const shownViews = () => Object.keys(VIEWS).filter((name) => VIEWS[name].where?.(session) ?? true);

// A link to a view: path('dead', { reason: 'unroutable' }).
function path(name, params = {}, outbox = current?.outbox ?? session.outboxes[0]) {
  const said = Object.entries(params).filter(
    ([, value]) => value !== null && value !== undefined && value !== '',
  );
  const search = new URLSearchParams(said).toString();
  return `#/${encodeURIComponent(outbox)}/${name}${search ? `?${search}` : ''}`;
}

function go(name, params) {
  const target = path(name, params);
  if (location.hash === target) refresh();
  else location.hash = target;
}

// What a view is given to work with.
function context({ outbox, params }) {
  return {
    outbox,
    params,
    path: (name, wanted) => path(name, wanted, outbox),
    go,
    refresh,
    session: () => session,
    get: (what, parameters, signal) => api.get(outbox, what, parameters, signal),
    post: (what, body) => api.post(outbox, what, body),
    // Whether the reader may act; asks for the token that this takes.
    mayAct: async () => {
      if (session.may.operate && api.actor()) return true;
      const answer = await askOperator(session, open);
      if (answer) await enter(answer);
      return Boolean(answer);
    },
  };
}

// Asks who we are to relay.
async function open() {
  const answer = await api.session();
  if (answer.may?.read === false) throw new api.Trouble(401, answer.why_not ?? 'this takes a token');
  return answer;
}

async function enter(answer) {
  session = answer;
  const who = place('who');
  who.hidden = false;
  text(who, whoIs(session));
  who.onclick = async () => {
    const changed = session.may.operate ? await leave(open) : await askOperator(session, open);
    if (changed === 'left') location.reload();
    else if (changed) await enter(changed);
  };
  const outbox = place('outbox');
  if (session.outboxes.length > 1) {
    const choice = h(
      'select',
      {
        id: 'outbox-choice',
        'aria-label': 'Outbox',
        onchange: () => {
          location.hash = path(current.name, {}, choice.value);
        },
      },
      session.outboxes.map((name) => h('option', { value: name }, name)),
    );
    fill(outbox, choice);
  } else {
    fill(outbox, session.outboxes[0] ?? '');
  }
}

function render() {
  const { name, outbox, params } = where();
  const same = current && current.name === name && current.outbox === outbox;
  if (same && current.view.move?.(params)) {
    // What is seen is of what was asked before: it does not count as an answer.
    Object.assign(current, { params, shown: null, error: null });
    refresh();
    return;
  }
  const view = VIEWS[name].make(context({ outbox, params }));
  current = { name, outbox, params, view, shown: null, error: null };
  const choice = place('outbox-choice');
  if (choice) choice.value = outbox;
  fill(
    place('views'),
    shownViews().map((each) =>
      link(path(each), { 'aria-current': each === name ? 'page' : null }, VIEWS[each].name),
    ),
  );
  // Where the tabs are wider than the screen.
  place('views').querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  document.title = `${VIEWS[name].name} · ${outbox} · relay`;
  fill(main, view.element);
  refresh();
}

async function refresh() {
  clearTimeout(timer);
  running?.abort();
  const mine = new AbortController();
  const of = current;
  running = mine;
  try {
    const data = await of.view.load(mine.signal);
    if (mine.signal.aborted) return;
    // A view may have something to show of what it could not ask in full.
    of.error = data.error ?? null;
    if (!of.error) of.shown = Date.now();
    of.view.show(data);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error.status === 401) {
      await signIn();
      return;
    }
    if (!(error instanceof api.Trouble)) console.error(error);
    of.error = error;
    if (!of.shown) refill(of.view.body, [error.message, error.cure], () => trouble(error));
  }
  freshness();
  next();
}

function next() {
  clearTimeout(timer);
  if (!document.hidden && current.view.polls !== false) timer = setTimeout(refresh, EVERY);
}

// Says since when what is seen is old, if it is: once, not each second.
function freshness() {
  const fresh = place('fresh');
  const note = place('stale');
  const polls = current && current.view.polls !== false;
  const since = current?.shown ? clock(current.shown, true) : null;
  const old =
    Boolean(current?.error) ||
    Boolean(since && polls && !document.hidden && Date.now() - current.shown > OLD);
  fresh.className = `fresh ${old ? 'old' : polls && since ? 'live' : ''}`;
  text(fresh, old ? 'not live' : polls && since ? 'live' : '');
  main.classList.toggle('stale', old && Boolean(since));
  const reason = current?.error ? current.error.message : 'relay has not answered for a while';
  text(
    note,
    old && since ? `${reason[0].toUpperCase()}${reason.slice(1)}. What you see is from ${since}.` : '',
  );
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) clearTimeout(timer);
  else if (current) refresh();
});
window.addEventListener('hashchange', () => session && render());
setInterval(() => !document.hidden && current && freshness(), 1000);

async function signIn() {
  current = null;
  freshness();
  fill(place('views'));
  const answer = await askIn(main, open);
  await enter(answer);
  render();
}

async function start() {
  try {
    await enter(await open());
  } catch (error) {
    if (error.status === 401) {
      await signIn();
      return;
    }
    fill(
      main,
      trouble(error),
      error.status ? null : nothing('Trying again', 'The page looks every few seconds.'),
    );
    if (!error.status || error.status >= 500) setTimeout(start, EVERY);
    return;
  }
  render();
}

start();
