// How results look to people: tables, sizes, ages, colours on a terminal.

import { styleText } from 'node:util';

/**
 * @typedef {Parameters<typeof styleText>[0]} Format
 *
 * @typedef {object} Style
 * @property {(format: Format, text: string) => string} paint colours text, on a terminal
 * @property {number} now for ages, in milliseconds
 *
 * @typedef {{ title: string, right?: boolean }} Column
 * @typedef {string | { text: string, format: Format }} Cell
 */

/**
 * Colours are for terminals that have them and for people who want them (https://no-color.org).
 * @param {{ isTTY?: boolean, hasColors?: () => boolean }} stream
 * @param {NodeJS.ProcessEnv} env
 * @param {number} now
 * @returns {Style}
 */
export function styleFor(stream, env, now) {
  const colours = stream.isTTY === true && !env.NO_COLOR && (stream.hasColors?.() ?? false);
  return {
    // Newer Node would look at process.stdout once more; the stream meant may be another.
    paint: (format, text) => (colours ? styleText(format, text, { validateStream: false }) : text),
    now,
  };
}

/**
 * Text from files and arguments as one line that can't steer a terminal.
 * @param {string} text
 * @returns {string}
 */
export function plain(text) {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
}

/** As `plain`, but lines stay lines. @param {string} text @returns {string} */
export function plainLines(text) {
  return text.split('\n').map(plain).join('\n');
}

/**
 * Columns of text with two spaces between them, none at a line's end.
 * @param {Column[]} columns
 * @param {Cell[][]} rows
 * @param {Style} style
 * @returns {string}
 */
export function table(columns, rows, { paint }) {
  /** @type {{ text: string, format?: Format }[][]} */
  const lines = [columns.map(({ title }) => ({ text: title, format: 'bold' }))];
  for (const row of rows) {
    lines.push(
      row.map((cell) => {
        const { text, format } = typeof cell === 'string' ? { text: cell } : cell;
        return { text: plain(text), format };
      }),
    );
  }
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => width(line[at].text))));
  return lines
    .map((line) =>
      line
        .map(({ text, format }, at) => {
          const shown = format === undefined ? text : paint(format, text);
          const space = ' '.repeat(widths[at] - width(text));
          if (columns[at].right) return space + shown;
          return at === line.length - 1 ? shown : shown + space;
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/**
 * Names and values, one below the other.
 * @param {[name: string, value: string][]} facts
 * @param {Style} style
 * @returns {string}
 */
export function factList(facts, { paint }) {
  const longest = Math.max(...facts.map(([name]) => name.length));
  return facts
    .map(([name, value]) => `  ${paint('dim', name.padEnd(longest))}  ${plain(value)}`)
    .join('\n');
}

/**
 * The cells that a terminal uses; exact for what ids and names are made of, and for East Asian text.
 * @param {string} text
 * @returns {number}
 */
function width(text) {
  let cells = 0;
  for (const char of text) {
    if (/\p{M}/u.test(char)) continue;
    const wide =
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
    cells += wide.test(char) ? 2 : 1;
  }
  return cells;
}

/**
 * @param {number} bytes
 * @returns {string} such as `1.5 KB`
 */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const units = ['KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = '';
  for (unit of units) {
    value /= 1024;
    // 1023.95 would be shown as 1024.0.
    if (value < 1023.95) break;
  }
  return `${value.toFixed(1)} ${unit}`;
}

/**
 * What a gc after another operation freed, as the end of its sentence.
 * @param {{ gc?: import('../index.js').GcOutcome }} outcome
 * @returns {string}
 */
export function collected({ gc }) {
  return gc !== undefined && gc.freedBytes > 0 ? `; gc freed ${size(gc.freedBytes)}` : '';
}

/**
 * @param {number} ms
 * @returns {string} such as `3 min`
 */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}

/**
 * @param {string} timestamp ISO 8601
 * @param {Style} style
 * @returns {string} how long ago that was; `?` for what is no time
 */
export function age(timestamp, { now }) {
  const then = Date.parse(timestamp);
  return Number.isNaN(then) ? '?' : duration(now - then);
}

/**
 * @param {number} number
 * @param {string} one the noun
 * @param {string} [many]
 * @returns {string} such as `1 run` and `2 runs`
 */
export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/**
 * A command's words as a person could type them.
 * @param {string[]} words
 * @returns {string}
 */
export function quoted(words) {
  const shown = words.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`,
  );
  return plain(shown.join(' '));
}
