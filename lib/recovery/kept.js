// Small JSON documents that outlive a process: the records of a run, or of the store. The only door of recovery and
// of the supervisor to them.

const { WaymarkError } = require('../error.js');
const { native } = require('../native.js');

/** @typedef {import('../../native.js').Place} Place */

const NOT_YET = new Set(['ERR_RUNS_DIR_NOT_FOUND', 'ERR_RUN_NOT_FOUND']);

class Kept {
  /** The names of those that were damaged; what they held is lost, and work goes on without. @type {Set<string>} */
  damaged = new Set();

  /** What was written while the run had no folder yet: the runner makes it with its first step. @type {Map<string, any>} */
  #early = new Map();

  /**
   * @param {() => Place} place
   * @param {string | null} runId `null`: the store's
   */
  constructor(place, runId) {
    this.place = place;
    this.runId = runId;
  }

  /**
   * @param {string} name
   * @returns {Promise<any>} undefined if there is none
   */
  async read(name) {
    return (await this.#look(name)).value;
  }

  /**
   * Reads, changes and writes; again where somebody else came first.
   * @param {string} name
   * @param {(kept: any) => any} change
   * @returns {Promise<any>} what is kept now
   */
  async change(name, change) {
    for (;;) {
      const { value, revision } = await this.#look(name);
      const made = change(value);
      const text = JSON.stringify(made);
      // A damaged one is replaced, whatever it is.
      const wanted =
        revision === undefined ? undefined : revision === null ? { missing: true } : { revision };
      const run = this.runId ?? undefined;
      const written = await native().writeRecord(this.place(), run, name, text, wanted);
      const failure = failureIn(written);
      if (failure === undefined) {
        this.#early.delete(name);
        return made;
      }
      if (NOT_YET.has(failure.code)) {
        this.#early.set(name, made);
        return made;
      }
      if (failure.code !== 'ERR_RECORD_CHANGED') throw WaymarkError.from(failure);
    }
  }

  /** @returns {Promise<string[]>} the names of all that are there */
  async names() {
    const names = await native().listRecords(this.place(), this.runId ?? undefined);
    const failure = failureIn(names);
    if (failure && NOT_YET.has(failure.code)) return [];
    if (failure) throw WaymarkError.from(failure);
    return /** @type {string[]} */ (names);
  }

  /** @param {string} name @returns {Promise<{ value: any, revision?: string | null }>} */
  async #look(name) {
    const found = await native().readRecord(this.place(), this.runId ?? undefined, name);
    const failure = failureIn(found);
    if (failure?.code === 'ERR_RECORD_DAMAGED') {
      this.damaged.add(name);
      return { value: undefined };
    }
    const isMissing = found === null || (failure !== undefined && NOT_YET.has(failure.code));
    if (isMissing) return { value: this.#early.get(name), revision: null };
    if (failure) throw WaymarkError.from(failure);
    const { json, revision } = /** @type {{ json: string, revision: string }} */ (found);
    return { value: JSON.parse(json), revision };
  }
}

/** @param {unknown} reply @returns {import('../../native.js').Failure | undefined} */
function failureIn(reply) {
  const failure = /** @type {import('../../native.js').Failure | null} */ (reply);
  return typeof failure === 'object' && failure?.failed === true ? failure : undefined;
}

module.exports = { Kept };
