// Numbers and times as they are shown.

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

// 12,345
export function count(value) {
  return value === null || value === undefined ? '–' : WHOLE.format(value);
}

// Counted no further than this.
export function counted(value, limit) {
  return limit && value >= limit ? `${count(value)}+` : count(value);
}

// Two digits that matter: 0.24, 3.1, 47.
export function short(value) {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '0';
  if (Math.abs(value) < 0.995) return value.toFixed(2);
  if (Math.abs(value) < 9.95) return value.toFixed(1).replace(/\.0$/, '');
  if (Math.abs(value) < 10000) return count(value);
  const large = (number, digits, unit) => `${number.toFixed(digits).replace(/\.0$/, '')}${unit}`;
  if (Math.abs(value) < 999500) return large(value / 1000, Math.abs(value) < 99500 ? 1 : 0, 'k');
  return large(value / 1e6, 1, 'M');
}

// Seconds: 0.24 s, 47 s, 3 m 12 s, 5 h 2 m, 3 d 4 h.
export function seconds(value) {
  if (value === null || value === undefined) return '–';
  const sign = value < 0 ? '-' : '';
  const all = Math.abs(value);
  if (all < 0.005) return '0 s';
  if (all < 9.95) return `${sign}${short(all)} s`;
  const whole = Math.round(all);
  if (whole < 60) return `${sign}${whole} s`;
  if (whole < 3600) return sign + two(whole, 60, 'm', 1, 's');
  if (whole < 86400) return sign + two(whole, 3600, 'h', 60, 'm');
  return sign + two(whole, 86400, 'd', 3600, 'h');
}

// The same in one unit, for an axis.
export function roundSeconds(value) {
  const [size, unit] = [
    [1, 's'],
    [60, 'm'],
    [3600, 'h'],
    [86400, 'd'],
  ].findLast(([least]) => value >= 2 * least) ?? [1, 's'];
  return `${short(value / size)} ${unit}`;
}

function two(whole, big, bigName, small, smallName) {
  const rest = Math.floor((whole % big) / small);
  return `${Math.floor(whole / big)} ${bigName}${rest ? ` ${rest} ${smallName}` : ''}`;
}

const two_digits = (value) => String(value).padStart(2, '0');

// The time of day where the reader is: 14:05, or 14:05:09.
export function clock(when, withSeconds = false) {
  const time = new Date(when);
  const text = `${two_digits(time.getHours())}:${two_digits(time.getMinutes())}`;
  return withSeconds ? `${text}:${two_digits(time.getSeconds())}` : text;
}

// A time to the second where the reader is: 2026-01-31 08:00:09. Copied into a command it has to be UTC: the title says it.
export function stamp(when) {
  const time = new Date(when);
  if (Number.isNaN(time.getTime())) return String(when);
  const day = `${time.getFullYear()}-${two_digits(time.getMonth() + 1)}-${two_digits(time.getDate())}`;
  return `${day} ${clock(when, true)}`;
}

// How long ago, roughly.
export function ago(when) {
  const passed = (Date.now() - new Date(when).getTime()) / 1000;
  if (Number.isNaN(passed)) return '';
  return passed < 1 ? 'just now' : `${seconds(Math.round(passed))} ago`;
}

// What was counted, with its noun: 1 row, 3 rows.
export function many(number, noun, plural = `${noun}s`) {
  return `${count(number)} ${number === 1 ? noun : plural}`;
}

// JSON for people. Text that is no object is shown as it is.
export function pretty(value) {
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
}

// `buy_label` as `buy label`.
export function words(name) {
  return String(name ?? '').replaceAll('_', ' ');
}
