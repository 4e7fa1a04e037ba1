// The runner's own record of a run, `run.json`: read as it is, and changed as the runner's tools change it, under its
// lock and by rename. Only its status is ever changed here.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');

/** The runner's rules for its lock. */
const [WAIT_MS, RETRY_MS, STALE_MS] = [5_000, 20, 30_000];

/**
 * @typedef {object} RunJson
 * @property {string | undefined} status
 * @property {number | undefined} changedMs when the file was changed last; absent where there is none
 * @property {Record<string, any> | undefined} json absent where it can't be read
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
  } catch {
    // Half written by a tool, or damaged: taking a checkpoint says what is wrong with it.
    return { status: undefined, changedMs, json: undefined };
  }
}

/**
 * Changes the status; everything else stays as it is, in its order. Nothing happens where there is no `run.json`.
 * @param {string} runDir
 * @param {string} status
 */
function writeStatus(runDir, status) {
  const file = path.join(runDir, 'run.json');
  if (!fs.existsSync(file)) return;
  const unlock = lock(`${file}.lock`);
  try {
    let json;
    try {
      json = JSON.parse(fs.readFileSync(file, 'utf8'));
    } catch (cause) {
      throw new WaymarkError(
        'ERR_RUN_RECORD_DAMAGED',
        `${file} can't be read: ${/** @type {Error} */ (cause).message}; restore the newest checkpoint`,
        { path: file, cause },
      );
    }
    if (json.status === status) return;
    const text = JSON.stringify({ ...json, status, updated_at: later(json.updated_at) }, null, 2);
    const temporary = `${file}.tmp.${Date.now()}.${process.pid}`;
    try {
      fs.writeFileSync(temporary, text, { flush: true });
      fs.renameSync(temporary, file);
    } catch (cause) {
      fs.rmSync(temporary, { force: true });
      const { message } = /** @type {Error} */ (cause);
      throw new WaymarkError('ERR_IO', `${file} can't be written: ${message}`, {
        path: file,
        cause,
      });
    }
  } finally {
    unlock();
  }
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
function lock(file) {
  const text = JSON.stringify({ pid: process.pid, timestamp: new Date().toISOString() });
  const until = Date.now() + WAIT_MS;
  for (;;) {
    try {
      fs.writeFileSync(file, text, { flag: 'wx' });
      return () => fs.rmSync(file, { force: true });
    } catch (cause) {
      const { code, message } = /** @type {NodeJS.ErrnoException} */ (cause);
      if (code !== 'EEXIST') {
        throw new WaymarkError('ERR_IO', `${file} can't be written: ${message}`, {
          path: file,
          cause,
        });
      }
    }
    if (isLeft(file)) fs.rmSync(file, { force: true });
    else if (Date.now() > until) {
      throw new WaymarkError(
        'ERR_RUN_LOCKED',
        `${file} is held by another process; waited ${WAIT_MS} ms; wait for it`,
        { path: file },
      );
    } else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
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

module.exports = { readRunJson, writeStatus };
