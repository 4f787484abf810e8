// Building the page. Text goes in as text and never as markup: a payload may hold anything.

const SVG = 'http://www.w3.org/2000/svg';

// An element. Attributes: `class`, `on…` functions, properties such as `value`, anything else as an attribute; null and
// false leave it out. Children: nodes, text, lists of them; null, undefined and false are left out.
export function h(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

// The same, of a drawing.
export function s(tag, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

const PROPERTIES = new Set([
  'value',
  'checked',
  'disabled',
  'hidden',
  'indeterminate',
  'selected',
  'htmlFor',
]);

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value === true) element.setAttribute(name, '');
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== '')
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

// Gives an element these children instead of those it has.
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

// Sets the text of an element, if it is another: what did not change is not announced again.
export function text(element, value) {
  const wanted = value === null || value === undefined ? '' : String(value);
  if (element.textContent !== wanted) element.textContent = wanted;
  return element;
}

// Fills an element anew only when what it shows has changed, so that focus, selection and scrolling stay.
export function refill(element, shown, make) {
  const key = JSON.stringify(shown);
  if (element.shownKey === key) return;
  element.shownKey = key;
  fill(element, make());
}

// A link within the page.
export function link(href, attributes, ...children) {
  return h('a', { href, ...attributes }, ...children);
}

// A labelled field.
export function field(label, control, hint) {
  control.id ||= `field-${(field.next = (field.next ?? 0) + 1)}`;
  const about = hint ? h('small', { id: `${control.id}-hint`, class: 'hint' }, hint) : null;
  if (about) control.setAttribute('aria-describedby', about.id);
  return h('div', { class: 'field' }, h('label', { for: control.id }, label), control, about);
}

// A word that stands for a state; its colour is never the only sign of it.
export function badge(word, tone = 'plain') {
  return h('span', { class: `badge ${tone}` }, word);
}

// Names and values, those without a value left out.
export function pairs(...rows) {
  const shown = rows.filter((row) => row && row[1] !== null && row[1] !== undefined && row[1] !== '');
  return h(
    'dl',
    { class: 'pairs' },
    shown.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );
}

// A table that becomes a list of cards where it is narrow. Columns: { name, cell(row), class? }.
export function table(label, columns, rows, rowAttributes = () => ({})) {
  const head = h(
    'thead',
    {},
    h(
      'tr',
      {},
      columns.map((column) => h('th', { scope: 'col', class: column.class }, column.head ?? column.name)),
    ),
  );
  const body = h(
    'tbody',
    {},
    rows.map((row) =>
      h(
        'tr',
        rowAttributes(row),
        columns.map((column) => h('td', { class: column.class, 'data-name': column.name }, column.cell(row))),
      ),
    ),
  );
  return h(
    'div',
    { class: 'scroll', role: 'region', 'aria-label': label, tabindex: 0 },
    h('table', {}, head, body),
  );
}

// Before the first answer.
export function loading() {
  return h('p', { class: 'loading' }, 'Loading…');
}

// Why there is nothing to see, and what to do about it.
export function nothing(title, hint) {
  return h('div', { class: 'nothing' }, h('strong', {}, title), hint ? h('p', {}, hint) : null);
}

// What went wrong, and the cure.
export function trouble(error) {
  return h(
    'div',
    { class: 'notice bad', role: 'alert' },
    h('strong', {}, error.message),
    error.cure ? h('p', {}, error.cure) : null,
  );
}
