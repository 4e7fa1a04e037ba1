// The circuit breakers of all workers, as they are kept: one record of the store each, shared by all runs of the
// project and by all processes.

const { enter, failed, fresh, succeeded } = require('./breaker.js');

/**
 * @typedef {import('../../index.js').BreakerState} BreakerState
 * @typedef {InstanceType<typeof import('./kept.js')['Kept']>} Kept
 */

class Breakers {
  /**
   * @param {Kept} store
   * @param {import('./breaker.js').Settings} settings
   * @param {string} who this process and run
   * @param {() => number} now
   */
  constructor(store, settings, who, now) {
    this.store = store;
    this.settings = settings;
    this.who = who;
    this.now = now;
  }

  /** @param {string} worker @returns {Promise<BreakerState>} */
  async state(worker) {
    return (await this.store.read(nameOf(worker)))?.breaker ?? fresh(this.now());
  }

  /**
   * Asks for leave to give the worker work.
   * @param {string} worker
   * @returns {Promise<{ allowed: boolean, until: number | null }>}
   */
  async enter(worker) {
    const kept = await this.state(worker);
    // The common case costs one look, and no write.
    if (kept.state === 'closed') return { allowed: true, until: null };
    let answer = { allowed: false, until: /** @type {number | null} */ (null) };
    await this.#change(worker, (now_) => {
      const entered = enter(now_, this.now(), this.settings, this.who);
      answer = { allowed: entered.allowed, until: entered.until };
      return entered.kept;
    });
    return answer;
  }

  /** @param {string} worker */
  async succeeded(worker) {
    const kept = await this.state(worker);
    if (succeeded(kept, this.now()) === kept) return;
    await this.#change(worker, (one) => succeeded(one, this.now()));
  }

  /** @param {string} worker @param {string} class_ @returns {Promise<BreakerState>} */
  async failed(worker, class_) {
    return this.#change(worker, (one) => failed(one, this.now(), this.settings, class_));
  }

  /** The work ended without telling anything of the worker. @param {string} worker */
  async release(worker) {
    const kept = await this.state(worker);
    if (kept.probe?.by !== this.who) return;
    await this.#change(worker, (one) => ({ ...one, probe: null }));
  }

  /** Closes it by hand. @param {string} worker */
  async reset(worker) {
    return this.#change(worker, () => fresh(this.now()));
  }

  /**
   * @param {string} worker
   * @param {(kept: BreakerState) => BreakerState} change
   * @returns {Promise<BreakerState>}
   */
  async #change(worker, change) {
    /** @type {BreakerState | undefined} */
    let made;
    await this.store.change(nameOf(worker), (kept) => {
      made = change(kept?.breaker ?? fresh(this.now()));
      return { format: 1, worker, breaker: made };
    });
    return /** @type {BreakerState} */ (/** @type {unknown} */ (made));
  }
}

/** @param {string} worker */
function nameOf(worker) {
  return `breaker-${worker}`;
}

module.exports = { Breakers };
