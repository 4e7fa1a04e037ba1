// What was read of runs when all of them were looked at last, so that the next look reads only what changed since: of
// each run three files are asked for their times. A cache, in records of the store: without it everything is read.

const fs = require('node:fs');
const { readLeaseSync } = require('./lease.js');
const { Records } = require('./records.js');
const { lookAt } = require('./run-state.js');

/**
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('./run-state.js').Look} Look
 * @typedef {{ stamp: string, look: Omit<Look, 'runId' | 'runDir'> }} Kept
 */

/** So many runs are in one record; a record has room for a mebibyte. */
const PART = 500;
/** What was changed as short ago as that may change once more without its time telling. */
const SETTLED_MS = 200;
/** What of `run.json` the state needs. */
const MEMBERS = ['created_at', 'current_step', 'selected_workflow', 'timestamps'];
const FILES = [
  '/run.json',
  '/checkpoints/.waymark/records/run-state.json',
  '/checkpoints/.waymark/lease',
];

class Glance {
  #place;
  #records;
  /** @type {Map<string, Kept>} */
  #before = new Map();
  /** @type {Map<string, Kept>} */
  #after = new Map();
  #parts = 0;
  #now;
  #isChanged = false;

  /** @param {Place} place @param {number} now */
  constructor(place, now) {
    this.#place = place;
    this.#now = now;
    this.#records = new Records(place, null);
    try {
      for (;;) {
        const found = this.#records.readSync(`glance-${this.#parts}`);
        if (found === null) break;
        for (const [name, kept] of found.value) this.#before.set(name, kept);
        this.#parts += 1;
      }
    } catch {
      // Damaged, or of a store that can't be read: then what follows is none.
    }
  }

  /**
   * What is known of a run, read where something of it has changed.
   * @param {string} runId
   * @param {string} runDir
   * @returns {Look}
   */
  look(runId, runDir) {
    const { stamp, newest } = stampOf(runDir);
    const kept = this.#before.get(runId);
    if (kept?.stamp === stamp) {
      this.#after.set(runId, kept);
      const { lease } = kept.look;
      // That a holder lives is never remembered.
      const now = lease?.live ? (readLeaseSync(this.#place, runId) ?? undefined) : lease;
      return { runId, runDir, ...kept.look, lease: now };
    }
    const seen = lookAt(this.#place, runId, runDir);
    this.#isChanged = true;
    if (this.#now - newest > SETTLED_MS) {
      const { runId: _, runDir: __, json, ...rest } = seen;
      const few = MEMBERS.flatMap((name) =>
        json?.[name] === undefined ? [] : [[name, json[name]]],
      );
      this.#after.set(runId, { stamp, look: { ...rest, json: Object.fromEntries(few) } });
    }
    return seen;
  }

  /** Keeps what was read for the next time. */
  keep() {
    if (!this.#isChanged && this.#after.size === this.#before.size) return;
    const rows = [...this.#after];
    try {
      for (let part = 0; part * PART < rows.length || part < this.#parts; part += 1) {
        const some = rows.slice(part * PART, (part + 1) * PART);
        this.#records.writeSync(`glance-${part}`, some);
      }
    } catch {
      // What can't be kept is read again.
    }
  }
}

/**
 * @param {string} runDir
 * @returns {{ stamp: string, newest: number }} the times of a run's files, and the newest of them
 */
function stampOf(runDir) {
  let [stamp, newest] = ['', 0];
  for (const name of FILES) {
    const found = fs.statSync(runDir + name, { throwIfNoEntry: false });
    stamp += found === undefined ? '- ' : `${found.mtimeMs} ${found.size} ${found.ino} `;
    if (found !== undefined && found.mtimeMs > newest) newest = found.mtimeMs;
  }
  return { stamp, newest };
}

module.exports = { Glance };
