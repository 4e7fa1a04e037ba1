// The runner's record of a run, `run.json`: members of it by JSON pointer, and changed as the runner's tools change
// it, under its lock and by rename.

const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const { WaymarkError } = require('./error.js');

/** The runner's rules for its lock. */
const [WAIT_MS, RETRY_MS, STALE_MS] = [5_000, 100, 30_000];

/** @param {string} pointer as of RFC 6901 */
function wordsOf(pointer) {
  return pointer
    .split('/')
    .slice(1)
    .map((word) => word.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/**
 * The value that a JSON pointer leads to.
 * @param {unknown} value
 * @param {string} pointer
 * @returns {unknown}
 */
function pointed(value, pointer) {
  let at = /** @type {any} */ (value);
  for (const word of wordsOf(pointer)) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, word)) return undefined;
    at = at[word];
  }
  return at;
}

/**
 * The same with another value there; objects on the way are made.
 * @param {any} value
 * @param {string} pointer
 * @param {unknown} to
 * @returns {any}
 */
function withPointed(value, pointer, to) {
  const words = wordsOf(pointer);
  /** @param {any} at @param {number} depth @returns {any} */
  const set = (at, depth) => {
    if (depth === words.length) return to;
    const word = words[depth];
    if (Array.isArray(at)) return at.map((one, n) => (`${n}` === word ? set(one, depth + 1) : one));
    const before = typeof at === 'object' && at !== null ? at : {};
    const own = Object.hasOwn(before, word) ? before[word] : undefined;
    // Computed names are members of their own, `__proto__` too.
    return { ...before, [word]: set(own, depth + 1) };
  };
  return set(value, 0);
}

/** What is derived from the record is derived anew only where this differs. @param {unknown} before */
function later(before) {
  const now = Date.now();
  const was = typeof before === 'string' ? Date.parse(before) : Number.NaN;
  return new Date(now === was ? now + 1 : now).toISOString();
}

/**
 * Changes the record.
 * @param {string} runDir
 * @param {(record: Record<string, any>) => Record<string, any>} change
 * @returns {Promise<void>}
 */
async function changeRecord(runDir, change) {
  const file = path.join(runDir, 'run.json');
  const unlock = await lock(`${file}.lock`);
  try {
    const before = read(file);
    const text = JSON.stringify(
      { ...change(before), updated_at: later(before.updated_at) },
      null,
      2,
    );
    const temporary = `${file}.tmp.${Date.now()}.${randomBytes(4).toString('hex')}`;
    try {
      fs.writeFileSync(temporary, text, { flush: true });
      fs.renameSync(temporary, file);
    } catch (cause) {
      fs.rmSync(temporary, { force: true });
      throw notWritten(file, cause);
    }
  } finally {
    unlock();
  }
}

/** @param {string} file @returns {Record<string, any>} */
function read(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new WaymarkError(
      'ERR_RUN_RECORD_DAMAGED',
      `${file} can't be read: ${/** @type {Error} */ (cause).message}; restore the newest checkpoint`,
      { path: file, cause },
    );
  }
}

/** @param {string} file @param {unknown} cause */
function notWritten(file, cause) {
  const { message } = /** @type {Error} */ (cause);
  return new WaymarkError('ERR_IO', `${file} can't be written: ${message}`, { path: file, cause });
}

/**
 * @param {string} file
 * @returns {Promise<() => void>} lets it go
 */
async function lock(file) {
  const text = JSON.stringify({ pid: process.pid, timestamp: new Date().toISOString() });
  const until = performance.now() + WAIT_MS;
  for (;;) {
    try {
      fs.writeFileSync(file, text, { flag: 'wx' });
      return () => fs.rmSync(file, { force: true });
    } catch (cause) {
      const { code } = /** @type {NodeJS.ErrnoException} */ (cause);
      if (code !== 'EEXIST') throw notWritten(file, cause);
    }
    if (isLeft(file)) fs.rmSync(file, { force: true });
    else if (performance.now() > until) {
      throw new WaymarkError(
        'ERR_RUN_LOCKED',
        `${file} is held by another process; waited ${WAIT_MS} ms; wait for it`,
        { path: file },
      );
    } else await pause(RETRY_MS);
  }
}

/** Whether a lock was left by a process that is gone. @param {string} file */
function isLeft(file) {
  const found = fs.statSync(file, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (Date.now() - found.mtimeMs > STALE_MS) return true;
  try {
    process.kill(JSON.parse(fs.readFileSync(file, 'utf8')).pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH';
  }
  return false;
}

module.exports = { changeRecord, pointed, withPointed };
