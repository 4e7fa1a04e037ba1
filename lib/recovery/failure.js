// What a failure is: how work ended, told as data, its class, and what makes two failures alike. Pure.

const { createHash } = require('node:crypto');
const { ADVICE, CLASSES } = require('./classes.js');

/**
 * How a piece of work ended badly.
 * @typedef {object} End
 * @property {'exit' | 'signal' | 'time_limit' | 'stalled' | 'not_started' | 'error' | 'status'} kind
 * @property {number | null} [exitCode]
 * @property {string | null} [signal]
 * @property {{ name?: string, code?: string, message: string, stack?: string }} [error]
 * @property {string} [output] the end of what it said on its standard error
 * @property {string} [status] what the runner's own record says
 *
 * @typedef {import('../../index.js').FailureRecord} FailureRecord
 * @typedef {import('./classes.js').ClassSign} ClassSign
 */

/** The longest texts that are kept of an error, in characters. */
const TEXT_MAX = 1_000;
const STACK_MAX = 2_000;

/** Work that ended badly, as an error that carries how. */
class WorkFailed extends Error {
  /** @param {End} end */
  constructor(end) {
    super(summaryOf(end));
    this.name = 'WorkFailed';
    this.end = end;
  }
}

/** How work ended that threw. @param {unknown} error @returns {End} */
function endOf(error) {
  if (error instanceof WorkFailed) return error.end;
  const thrown = typeof error === 'object' && error !== null ? error : { message: String(error) };
  return { kind: 'error', error: short(thrown) };
}

/**
 * What is kept of an error.
 * @param {{ name?: unknown, code?: unknown, message?: unknown, stack?: unknown }} error
 * @returns {NonNullable<End['error']>}
 */
function short({ name, code, message, stack }) {
  return {
    ...(typeof name === 'string' ? { name: cut(name, 100) } : {}),
    ...(typeof code === 'string' ? { code: cut(code, 100) } : {}),
    message: cut(String(message)),
    ...(typeof stack === 'string' ? { stack: cut(stack, STACK_MAX) } : {}),
  };
}

/**
 * The class of a failure: the first sign that fits.
 * @param {End} end
 * @param {readonly ClassSign[]} [own] come first
 * @returns {string}
 */
function classOf(end, own = []) {
  return [...own, ...CLASSES].find((sign) => fits(sign, end))?.class ?? 'error';
}

/** @param {ClassSign} sign @param {End} end */
function fits(sign, end) {
  if (sign.kinds && !sign.kinds.includes(end.kind)) return false;
  if (sign.exitCodes && !sign.exitCodes.includes(end.exitCode ?? -1)) return false;
  if (sign.signals && !sign.signals.includes(end.signal ?? '')) return false;
  const text = textOf(end);
  if (sign.codes && !sign.codes.some((code) => names(end, code, text))) return false;
  return sign.text === undefined || new RegExp(sign.text, 'im').test(text);
}

/** @param {End} end @param {string} code @param {string} text */
function names(end, code, text) {
  return end.error?.code === code || new RegExp(`\\b${code}\\b`).test(text);
}

/** @param {End} end */
function textOf({ error, output }) {
  return [error?.message, output].filter((text) => text !== undefined).join('\n');
}

/** One line for a person. @param {End} end @returns {string} */
function summaryOf(end) {
  const said = end.error?.message ?? lastError(end.output);
  const how = {
    exit: `ended with exit code ${end.exitCode}`,
    signal: `was ended by ${end.signal}`,
    time_limit: 'took longer than its time limit',
    stalled: 'gave no sign of life for too long',
    not_started: "can't be started",
    error: 'failed',
    status: `left the run ${end.status}`,
  }[end.kind];
  return said ? `${how}: ${cut(said.split('\n')[0], 300)}` : how;
}

/**
 * The line of the output that most likely says what was wrong: the first of the last error, else the last line.
 * @param {string | undefined} output
 */
function lastError(output) {
  const lines = (output ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^(at |Node\.js v|waymark: )/.test(line));
  return (
    lines.findLast((line) => /\b(error|exception|fatal|fail(ed|ure)?)\b/i.test(line)) ??
    lines.at(-1)
  );
}

/**
 * What is the same in failures that are alike: the class and the message without what changes from one time to the
 * next (numbers, ids, paths, quoted text).
 * @param {string} class_
 * @param {End} end
 * @returns {string} 16 hex digits
 */
function signatureOf(class_, end) {
  const said = end.error?.message ?? lastError(end.output) ?? '';
  const same = said
    .split('\n')[0]
    .toLowerCase()
    .replace(/(["'`]).*?\1/g, '…')
    .replace(/(?:[a-z]:)?[\\/][^\s:;,)]+/g, '…')
    .replace(/\b[0-9a-f]{8,}(-[0-9a-f]{4,})*\b/g, '…')
    .replace(/\d+/g, '#')
    .replace(/\s+/g, ' ')
    .trim();
  const facts = [
    class_,
    end.kind,
    end.exitCode ?? '',
    end.signal ?? '',
    end.error?.code ?? '',
    same,
  ];
  return createHash('sha256').update(facts.join('\0')).digest('hex').slice(0, 16);
}

/**
 * What earlier failures tell of this one.
 * @param {Pick<FailureRecord, 'signature' | 'step'>} failure
 * @param {FailureRecord[]} earlier
 * @returns {FailureRecord['like']}
 */
function likeness(failure, earlier) {
  const alike = earlier.filter((one) => one.signature === failure.signature);
  /** @type {Record<string, number>} */
  const recoveredBy = {};
  for (const { recovery } of alike) {
    if (recovery?.success)
      recoveredBy[recovery.strategy] = (recoveredBy[recovery.strategy] ?? 0) + 1;
  }
  return {
    count: alike.length,
    sameStep: alike.filter((one) => one.step === failure.step).length,
    last: alike.at(-1)?.at ?? null,
    recoveredBy,
  };
}

/** What a person could do about it. @param {Pick<FailureRecord, 'class' | 'like'>} failure @returns {string} */
function adviceFor({ class: class_, like }) {
  const [best] = Object.entries(like.recoveredBy).sort(([, a], [, b]) => b - a);
  const before = best ? `; ${best[0]} helped ${best[1]} of ${like.count} times before` : '';
  return (ADVICE[class_] ?? ADVICE.error) + before;
}

/** @param {string} text @param {number} [max] */
function cut(text, max = TEXT_MAX) {
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`;
}

module.exports = {
  WorkFailed,
  adviceFor,
  classOf,
  cut,
  endOf,
  likeness,
  short,
  signatureOf,
  summaryOf,
};
