// Asking relay. The token lives in this tab alone, and goes nowhere but to where the page came from.

const TOKEN = 'relay.token';
const NAME = 'relay.name';
// Longer than relay takes to give up: looking something up, and doing something.
const LOOK = 15000;
const ACT = 65000;

let token = keep(TOKEN);
let name = keep(NAME);

function keep(key, value) {
  try {
    if (value === undefined) return sessionStorage.getItem(key) ?? '';
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  } catch {
    // A browser that stores nothing: until the tab is loaded again it is known all the same.
  }
  return value ?? '';
}

export function signIn(newToken, newName) {
  token = keep(TOKEN, newToken.trim());
  if (newName !== undefined) name = keep(NAME, newName.trim());
}

export function signOut() {
  token = keep(TOKEN, '');
}

export const tokenOf = () => token;
export const hasToken = () => token !== '';
export const actor = () => name;

// What went wrong. `status` is 0 when there was no answer.
export class Trouble extends Error {
  constructor(status, message, cure, answer) {
    super(message);
    this.status = status;
    this.cure = cure;
    this.answer = answer;
  }
}

// A proxy in between may answer in its own words.
async function json(response) {
  const text = await response.text();
  try {
    return text ? JSON.parse(text) : {};
  } catch {
    return { error: text.slice(0, 500) };
  }
}

async function ask(path, options, signal, patience = LOOK) {
  const headers = { Accept: 'application/json', ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const signals = [AbortSignal.timeout(patience)];
  if (signal) signals.push(signal);
  let response;
  let body;
  try {
    response = await fetch(path, {
      ...options,
      headers,
      signal: AbortSignal.any(signals),
      cache: 'no-store',
      credentials: 'omit',
    });
    body = await json(response);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Trouble(
      0,
      'relay does not answer',
      options.method
        ? 'It is not known whether it was done: look again.'
        : 'It may have stopped, or the way to it is cut.',
    );
  }
  if (response.ok) return body;
  throw new Trouble(response.status, body.error ?? `relay answered ${response.status}`, body.cure, body);
}

function query(parameters) {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters ?? {})) {
    if (value !== null && value !== undefined && value !== '') search.append(key, value);
  }
  const text = search.toString();
  return text ? `?${text}` : '';
}

export const session = (signal) => ask('api/session', {}, signal);

// What an outbox is asked.
export function get(outbox, path, parameters, signal) {
  return ask(`api/outboxes/${encodeURIComponent(outbox)}/${path}${query(parameters)}`, {}, signal);
}

// What is done to it, under the name that its audit is to have.
export function post(outbox, path, body) {
  return ask(
    `api/outboxes/${encodeURIComponent(outbox)}/${path}`,
    {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Relay-Actor': encodeURIComponent(name) },
      body: JSON.stringify(body),
    },
    undefined,
    ACT,
  );
}

// Some answers are a list, some have one inside.
export function rows(answer, ...names) {
  if (Array.isArray(answer)) return answer;
  return ['rows', ...names].map((key) => answer?.[key]).find(Array.isArray) ?? [];
}
