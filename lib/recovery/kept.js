// Small JSON documents that outlive a process: the records of a run, or of the store. The only door of recovery and
// of the supervisor to them.

const { Records } = require('../records.js');

/** @typedef {import('../../native.js').Place} Place */

/** What is not there before a runner made it, with its first step. */
const NOT_YET = new Set(['ERR_RUNS_DIR_NOT_FOUND', 'ERR_RUN_NOT_FOUND']);

class Kept {
  /** The names of those that were damaged; what they held is lost, and work goes on without. @type {Set<string>} */
  damaged = new Set();
  /** What was to be kept while the run had no folder yet. @type {Map<string, any>} */
  #early = new Map();
  #place;
  #runId;

  /**
   * @param {() => Place} place
   * @param {string | null} runId `null`: the store's
   */
  constructor(place, runId) {
    this.#place = place;
    this.#runId = runId;
  }

  #records() {
    return new Records(this.#place(), this.#runId);
  }

  /**
   * @param {string} name
   * @returns {Promise<any>} undefined if there is none
   */
  async read(name) {
    return (await this.#look(name)).value;
  }

  /**
   * Reads, changes and writes; again where somebody else came first. A damaged one is replaced.
   * @param {string} name
   * @param {(kept: any) => any} change
   * @returns {Promise<any>} what is kept now
   */
  async change(name, change) {
    for (;;) {
      const { value, revision } = await this.#look(name);
      const made = change(value);
      try {
        await this.#records().write(name, made, revision === undefined ? {} : { revision });
        this.#early.delete(name);
        return made;
      } catch (error) {
        const code = codeOf(error);
        if (NOT_YET.has(code)) {
          this.#early.set(name, made);
          return made;
        }
        if (code !== 'ERR_RECORD_CHANGED') throw error;
      }
    }
  }

  /** @returns {Promise<string[]>} the names of all that are there */
  async names() {
    try {
      return await this.#records().list();
    } catch (error) {
      if (NOT_YET.has(codeOf(error))) return [];
      throw error;
    }
  }

  /**
   * @param {string} name
   * @returns {Promise<{ value: any, revision?: string | null }>} without a revision: whatever is there is replaced
   */
  async #look(name) {
    try {
      const found = await this.#records().read(name);
      return found ?? { value: this.#early.get(name), revision: null };
    } catch (error) {
      const code = codeOf(error);
      if (NOT_YET.has(code)) return { value: this.#early.get(name), revision: null };
      if (code !== 'ERR_RECORD_DAMAGED') throw error;
      this.damaged.add(name);
      return { value: undefined };
    }
  }
}

/** @param {unknown} error */
function codeOf(error) {
  return `${/** @type {{ code?: unknown }} */ (error).code}`;
}

module.exports = { Kept };
