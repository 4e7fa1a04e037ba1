// The runner's own record of a run, `run.json`: read as it is, and changed as the runner's tools change it, under its
// lock and by rename.

const fs = require('node:fs');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const { WaymarkError } = require('./error.js');

/** The runner's rules for its lock. */
const [WAIT_MS, RETRY_MS, STALE_MS] = [5_000, 20, 30_000];

/**
 * @typedef {object} RunJson
 * @property {string | undefined} status
 * @property {number | undefined} changedMs when the file was changed last; absent where there is none
 * @property {Record<string, any> | undefined} json absent where it can't be read
 * @property {string} [damage] why it can't be read, of one that is there
 */

/**
 * @param {string} runDir
 * @returns {RunJson}
 */
function readRunJson(runDir) {
  const file = path.join(runDir, 'run.json');
  const changedMs = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  if (changedMs === undefined) return { status: undefined, changedMs, json: undefined };
  try {
    const json = JSON.parse(fs.readFileSync(file, 'utf8'));
    const status = typeof json?.status === 'string' ? json.status : undefined;
    return { status, changedMs, json: typeof json === 'object' && json ? json : undefined };
  } catch (error) {
    // Half written by a tool, or damaged.
    const damage = /** @type {Error} */ (error).message;
    return { status: undefined, changedMs, json: undefined, damage };
  }
}

/**
 * Changes the status; everything else stays as it is, in its order. Nothing happens where there is no `run.json`.
 * @param {string} runDir
 * @param {string} status
 */
function writeStatus(runDir, status) {
  if (!fs.existsSync(path.join(runDir, 'run.json'))) return;
  const unlock = lockSync(path.join(runDir, 'run.json.lock'));
  try {
    write(runDir, (json) => (json.status === status ? undefined : { ...json, status }));
  } finally {
    unlock();
  }
}

/**
 * Changes the record.
 * @param {string} runDir
 * @param {(record: Record<string, any>) => Record<string, any>} change
 * @returns {Promise<void>}
 */
async function changeRecord(runDir, change) {
  const unlock = await lock(path.join(runDir, 'run.json.lock'));
  try {
    write(runDir, change);
  } finally {
    unlock();
  }
}

/**
 * Under the lock.
 * @param {string} runDir
 * @param {(record: Record<string, any>) => Record<string, any> | undefined} change nothing is written for undefined
 */
function write(runDir, change) {
  const file = path.join(runDir, 'run.json');
  let before;
  try {
    before = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new WaymarkError(
      'ERR_RUN_RECORD_DAMAGED',
      `${file} can't be read: ${/** @type {Error} */ (cause).message}; restore the newest checkpoint`,
      { path: file, cause },
    );
  }
  const after = change(before);
  if (after === undefined) return;
  const text = JSON.stringify({ ...after, updated_at: later(before.updated_at) }, null, 2);
  // Not by `node:crypto`: loading that keeps a step's first line waiting.
  const mark = Math.random().toString(16).slice(2, 10).padEnd(8, '0');
  const temporary = `${file}.tmp.${Date.now()}.${process.pid.toString(16)}${mark}`;
  try {
    fs.writeFileSync(temporary, text, { flush: true });
    fs.renameSync(temporary, file);
  } catch (cause) {
    fs.rmSync(temporary, { force: true });
    throw notWritten(file, cause);
  }
}

/** @param {string} file @param {unknown} cause */
function notWritten(file, cause) {
  const { message } = /** @type {Error} */ (cause);
  return new WaymarkError('ERR_IO', `${file} can't be written: ${message}`, { path: file, cause });
}

/** What is derived from `run.json` is derived anew only where this differs. @param {unknown} before */
function later(before) {
  const now = Date.now();
  const was = typeof before === 'string' ? Date.parse(before) : Number.NaN;
  return new Date(now === was ? now + 1 : now).toISOString();
}

/**
 * Takes the runner's lock.
 * @param {string} file
 * @returns {() => void} lets it go
 */
function lockSync(file) {
  const until = performance.now() + WAIT_MS;
  for (;;) {
    const unlock = tryLock(file, until);
    if (unlock) return unlock;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
  }
}

/**
 * The same, without blocking the process meanwhile.
 * @param {string} file
 * @returns {Promise<() => void>}
 */
async function lock(file) {
  const until = performance.now() + WAIT_MS;
  for (;;) {
    const unlock = tryLock(file, until);
    if (unlock) return unlock;
    await pause(RETRY_MS);
  }
}

/**
 * @param {string} file
 * @param {number} until when waiting ends
 * @returns {(() => void) | undefined} undefined if it must be waited for
 */
function tryLock(file, until) {
  const text = JSON.stringify({ pid: process.pid, timestamp: new Date().toISOString() });
  for (;;) {
    try {
      fs.writeFileSync(file, text, { flag: 'wx' });
      return () => fs.rmSync(file, { force: true });
    } catch (cause) {
      if (/** @type {NodeJS.ErrnoException} */ (cause).code !== 'EEXIST') {
        throw notWritten(file, cause);
      }
    }
    if (isLeft(file)) {
      fs.rmSync(file, { force: true });
      continue;
    }
    if (performance.now() <= until) return undefined;
    throw new WaymarkError(
      'ERR_RUN_LOCKED',
      `${file} is held by another process; waited ${WAIT_MS} ms; wait for it`,
      { path: file },
    );
  }
}

/** Whether a lock was left by a process that is gone. @param {string} file */
function isLeft(file) {
  const found = fs.statSync(file, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (Date.now() - found.mtimeMs > STALE_MS) return true;
  try {
    const { pid } = JSON.parse(fs.readFileSync(file, 'utf8'));
    process.kill(pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH';
  }
  return false;
}

module.exports = { changeRecord, readRunJson, writeStatus };
