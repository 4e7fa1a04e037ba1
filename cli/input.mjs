// What the words of a command line mean: how a command describes itself, and how it reads its input.
// What can't be understood is misuse: a UsageError, which main.mjs shows with the command's usage.

import { lib } from './library.mjs';

const options = lib.options;

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('./output.mjs').Style} Style
 *
 * @typedef {object} OptionDefinition
 * @property {string} flags as commander takes them: `--step <step>`
 * @property {string} about one line of help
 * @property {(text: string, before: any) => unknown} [parse]
 * @property {boolean} [required]
 * @property {string[]} [conflicts] names of options that can't be given with it
 *
 * @typedef {object} Definition
 * @property {string} name the verb
 * @property {string} usage what follows the verb
 * @property {string} summary one line, for the list of commands
 * @property {string} about what it does, for its own help
 * @property {[name: string, about: string][]} arguments
 * @property {OptionDefinition[]} options
 * @property {[line: string, about: string][]} examples
 * @property {[code: string, about: string][]} [exits] its exit codes; default: 0 and 1
 *
 * @typedef {object} Input
 * @property {Manager} manager
 * @property {(string | undefined)[]} args
 * @property {Record<string, any>} options its own and the global ones
 * @property {(notice: string) => void} tell says something at once, on stderr
 * @property {string[] | undefined} command the words after `--`; undefined without `--`
 *
 * @typedef {object} Result
 * @property {unknown} data what `--json` prints
 * @property {((style: Style) => string) | undefined} text what is printed for people; undefined: the
 * data, as JSON
 * @property {Buffer} [bytes] what is printed instead, as it is, without `--json`
 * @property {boolean} [printed] true if all of it was printed already, as it came
 * @property {string[]} [notices] what is worth knowing beside the result; goes to stderr
 * @property {number} [exitCode] default 0
 * @property {{ words: string[], env: NodeJS.ProcessEnv, ended?: () => Promise<unknown> | undefined }} [start] the command to start in the end;
 * stdout is then its own, and the result goes to stderr
 * @property {boolean} [onStderr] true if stdout was somebody else's, so that the result goes to stderr
 *
 * @typedef {{ definition: Definition, run: (input: Input) => Result | Promise<Result> }} Command
 */

/** The command line can't be understood. */
export class UsageError extends Error {
  name = 'UsageError';
  code = 'ERR_USAGE';
}

/** The old tools' way to name the run. @type {OptionDefinition} */
export const RUN_ID_OPTION = {
  flags: '--run-id <run>',
  about: 'the run, as the old tools took it; prints the JSON that they printed',
};

/**
 * The run of a command that takes it as its argument or, as the old tools did, by `--run-id`.
 * @param {Input} input
 * @returns {{ runId: string, oldForm: boolean }}
 */
export function runOf({ args: [run], options: { runId } }) {
  if (run !== undefined && runId !== undefined) {
    throw new UsageError('the run is given twice: as the argument <run> and by --run-id');
  }
  const found = run ?? runId;
  if (found === undefined) throw new UsageError('the run is missing: give <run>');
  return { runId: found, oldForm: run === undefined };
}

/**
 * A value that has two spellings on the command line.
 * @template T
 * @param {[spelling: string, value: T | undefined][]} spellings
 * @returns {T | undefined}
 */
export function oneOf(spellings) {
  const given = spellings.filter(([, value]) => value !== undefined);
  if (given.length > 1) {
    throw new UsageError(`give only one of ${given.map(([spelling]) => spelling).join(' and ')}`);
  }
  return given[0]?.[1];
}

/**
 * Text that spells a number is that number.
 * @param {string} text
 * @returns {Step}
 */
export function parseStep(text) {
  return /** @type {Step} */ (options.stepFromText(text));
}

/**
 * @param {string} text
 * @returns {number | 'all'}
 */
export function parseKeepLast(text) {
  if (text === 'all') return text;
  const number = /^\d+$/.test(text) ? Number(text) : 0;
  if (number >= 1 && Number.isSafeInteger(number)) return number;
  throw new UsageError(`--keep-last must be a whole number from 1 on, or all, not "${text}"`);
}

/**
 * @param {string} text
 * @returns {number}
 */
export function parseDays(text) {
  // Number('') is 0, which would take every run.
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new UsageError(`--max-age-days must be a number of days from 0 on, not "${text}"`);
}

/**
 * @param {string} flag
 * @param {string} text
 * @returns {number}
 */
export function parseShare(flag, text) {
  if (/^\d*\.?\d+$/.test(text) && Number(text) <= 1) return Number(text);
  throw new UsageError(`${flag} must be a share from 0 to 1, not "${text}"`);
}

/**
 * An option that can be repeated, and takes several values with commas.
 * @param {string} text
 * @param {string[] | undefined} before
 * @returns {string[]}
 */
export function parseNames(text, before = []) {
  const names = text.split(',').map((name) => name.trim());
  if (names.includes('')) throw new UsageError(`"${text}" names nothing; give failed,cancelled`);
  return [...before, ...names];
}

/**
 * @param {string} text
 * @returns {number}
 */
export function parseCount(text) {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(number)) return number;
  throw new UsageError(`give a whole number from 0 on, not "${text}"`);
}

const AGO_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/**
 * A time as people write it.
 * @param {string} flag
 * @param {string} text ISO 8601, or how long ago: `90s`, `30m`, `24h`, `7d`, `2w`
 * @param {number} now
 * @returns {string} ISO 8601
 */
export function parseSince(flag, text, now) {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([smhdw])$/.exec(text) ?? [];
  const ms =
    unit === undefined
      ? /^\d{4}-\d\d/.test(text)
        ? Date.parse(text)
        : Number.NaN
      : now - Number(number) * AGO_MS[/** @type {keyof typeof AGO_MS} */ (unit)];
  // Beyond these no Date can be.
  if (Math.abs(ms) <= 8.64e15) return new Date(ms).toISOString();
  throw new UsageError(`${flag} must be a time as ISO 8601, or such as 24h or 7d, not "${text}"`);
}

/**
 * A length of time as people write it: `500ms`, `30s`, `10m`, `2h`.
 * @param {string} text
 * @returns {number} milliseconds, at least 1
 */
export function parseMs(text) {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? [];
  const of = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  const ms = Math.round(Number(number) * of[/** @type {keyof typeof of} */ (unit)]);
  if (Number.isSafeInteger(ms) && ms >= 1) return ms;
  throw new UsageError(`give a length of time such as 500ms, 30s, 10m or 2h, not "${text}"`);
}

/** A list that grows by each use of the option. @param {string} text @param {string[] | undefined} before */
export function parseEach(text, before = []) {
  if (text === '') throw new UsageError('an option that names something is empty');
  return [...before, text];
}

const UNITS = ['', 'K', 'M', 'G', 'T'];

/**
 * A number of bytes as people write it; units are of 1024, as sizes are shown.
 * @param {string} flag
 * @param {string} text such as `500MB`, `1.5 GiB` or `2097152`
 * @returns {number}
 */
export function parseSize(flag, text) {
  const [, number, unit = ''] =
    /^(\d+(?:\.\d+)?) ?(?:([KMGT])I?)?B?$/.exec(text.toUpperCase()) ?? [];
  const bytes = Math.floor(Number(number) * 1024 ** UNITS.indexOf(unit));
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new UsageError(`${flag} must be a size such as 500MB, 2GB or 1048576, not "${text}"`);
}

/**
 * Refuses a run that is not there, where nothing would be told of it. The core says so wherever it looks into a run.
 * @param {Manager} manager
 * @param {string} runId
 */
export async function existingRun(manager, runId) {
  await manager.records(runId).list();
}

/** One of some words. @param {string} flag @param {string[]} names @param {string} text */
export function choiceOf(flag, names, text) {
  if (names.includes(text)) return text;
  throw new UsageError(`${flag} must be one of ${names.join(', ')}, not "${text}"`);
}
