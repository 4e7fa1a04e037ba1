// Recovery of one run: its failures, the question that waits for a person, the workers' breakers, and work that is
// pursued by the rules.

const os = require('node:os');
const path = require('node:path');
const { setTimeout: sleepFor } = require('node:timers/promises');
const { WaymarkError } = require('../error.js');
const { checkOptions, checkRunId, checkStep } = require('../options.js');
const { Breakers } = require('./breakers.js');
const { Decisions } = require('./decision.js');
const { WorkFailed } = require('./failure.js');
const { History, summaryOf } = require('./history.js');
const { Kept } = require('./kept.js');
const { inParts, newest } = require('./parts.js');
const { Stopped, pursue } = require('./pursue.js');
const { settle, WORKER } = require('./rules.js');

/**
 * @typedef {import('../../index.js').CheckpointManager} Manager
 * @typedef {import('../../index.js').RecoverySettings} RecoverySettings
 * @typedef {import('../../index.js').Step} Step
 */

const ATTEMPT = /** @type {const} */ ({
  signal: 'signal',
  timeLimitMs: 'positive',
  before: 'function',
  split: 'function',
  merge: 'function',
  onEvent: 'function',
});
const DECIDE = /** @type {const} */ ({
  decision: 'string',
  worker: 'string',
  note: 'string',
  failureId: 'string',
  by: 'string',
});

class Recovery {
  #manager;
  #settled;
  #history;
  #decisions;
  #breakers;
  #run;
  #store;

  /**
   * @param {Manager} manager
   * @param {() => import('../../native.js').Place} place
   * @param {unknown} runId
   * @param {(RecoverySettings | undefined)[]} layers
   */
  constructor(manager, place, runId, layers) {
    const id = checkRunId(runId);
    const now = Date.now;
    this.runId = id;
    this.#manager = manager;
    this.#settled = settle(...layers);
    this.#run = new Kept(place, id);
    this.#store = new Kept(place, null);
    this.#history = new History(this.#run, this.#store, id, now);
    const folder = () => path.join(manager.runsDir(id), id, 'checkpoints', 'recovery');
    this.#decisions = new Decisions(this.#run, folder, id, now);
    const who = `${os.hostname()} ${process.pid} ${id}`;
    this.#breakers = new Breakers(this.#store, this.#settled.breaker, who, now);
  }

  /** What the rules, classes, workers and limits are, after all layers. */
  get settings() {
    return structuredClone(this.#settled);
  }

  async failures() {
    return this.#history.all();
  }

  async summary() {
    return summaryOf(await this.#history.all());
  }

  async questions() {
    return this.#decisions.entries();
  }

  async question() {
    const open = await this.#decisions.entries();
    return open.find((one) => one.answer === null)?.question ?? null;
  }

  /** The same where a file that answers it can't be read. */
  async unanswered() {
    return this.#decisions.unanswered();
  }

  /** @param {unknown} given */
  async decide(given) {
    return this.decideVia(given, 'api');
  }

  /** @param {unknown} given @param {'cli' | 'api'} via */
  async decideVia(given, via) {
    const { by = userName(), ...rest } = checkOptions(given, DECIDE, 'decide');
    const answer = /** @type {{ decision: string }} */ (rest);
    return this.#decisions.answer(answer, { by, via });
  }

  async breakers() {
    const kept = (await this.#store.names().catch(() => []))
      .filter((name) => name.startsWith('breaker-'))
      .map((name) => name.slice('breaker-'.length));
    const names = [...new Set([...Object.keys(this.#settled.workers), ...kept])];
    return Promise.all(
      names.map(async (worker) => ({ worker, ...(await this.#breakers.state(worker)) })),
    );
  }

  /** @param {unknown} worker */
  async resetBreaker(worker) {
    if (typeof worker !== 'string' || !WORKER.test(worker)) {
      throw new WaymarkError('ERR_OPTION_INVALID', 'resetBreaker: give the name of a worker');
    }
    return { worker, ...(await this.#breakers.reset(worker)) };
  }

  /**
   * What `pursue` works with.
   * @param {{ signal?: AbortSignal, tell: (event: import('./pursue.js').RecoveryEvent) => void }} how
   * @returns {import('./pursue.js').Ground}
   */
  ground({ signal, tell }) {
    return {
      settled: this.#settled,
      history: this.#history,
      decisions: this.#decisions,
      breakers: this.#breakers,
      now: Date.now,
      random: Math.random,
      tell,
      sleep: async (ms) => {
        try {
          await sleepFor(ms, undefined, { signal });
        } catch (error) {
          throw signal?.aborted ? new Stopped('aborted') : error;
        }
      },
    };
  }

  /** The run's own records. */
  get kept() {
    return this.#run;
  }

  /**
   * Does a piece of work by the rules.
   * @param {unknown} step
   * @param {unknown} work
   * @param {unknown} options
   * @returns {Promise<any>}
   */
  async attempt(step, work, options) {
    const checked = checkOptions(options, ATTEMPT, 'attempt');
    const { signal, timeLimitMs, before, split, merge, onEvent } = checked;
    const step_ = checkStep(step);
    if (typeof work !== 'function') {
      throw new WaymarkError('ERR_OPTION_INVALID', `attempt: give a function, not ${typeof work}`);
    }
    if ((split === undefined) !== (merge === undefined)) {
      throw new WaymarkError('ERR_OPTION_INVALID', 'attempt: split and merge belong together');
    }
    const limit = timeLimitMs ?? this.#settled.timeLimitMs;
    const ground = this.ground({ signal, tell: onEvent ?? (() => {}) });
    /** @param {Record<string, unknown>} about */
    const doIt = (about) => limited((inner) => work({ ...about, signal: inner }), limit, signal);
    try {
      return await pursue(ground, {
        step: step_,
        before,
        checkpoint: () => newest(this.#manager, this.runId),
        work: (about) => doIt({ ...about, runId: this.runId }),
        decompose:
          split &&
          ((failure) =>
            inParts({
              manager: this.#manager,
              runId: this.runId,
              step: step_,
              kept: this.#run,
              ground,
              failure,
              splitter: { split, merge },
              work: ({ run, ...about }) => doIt({ ...about, runId: run }),
            })),
      });
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      throw new WaymarkError('ERR_ABORTED', 'the work was aborted; its failures stay recorded', {
        cause: signal?.reason,
      });
    }
  }
}

/**
 * Work with a time limit and a signal; both end the wait, and tell the work so.
 * @template T
 * @param {(signal: AbortSignal) => T | Promise<T>} work
 * @param {number | undefined} ms
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<T>}
 */
async function limited(work, ms, signal) {
  if (signal?.aborted) throw new Stopped('aborted');
  const inner = new AbortController();
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  /** @type {() => void} */
  let stop = () => {};
  const ended = new Promise((_, reject) => {
    stop = () => {
      reject(new Stopped('aborted'));
      inner.abort(signal?.reason);
    };
    signal?.addEventListener('abort', stop, { once: true });
    if (ms === undefined) return;
    timer = setTimeout(() => {
      const failed = new WorkFailed({ kind: 'time_limit' });
      reject(failed);
      inner.abort(failed);
    }, ms);
  });
  try {
    return await Promise.race([work(inner.signal), /** @type {Promise<never>} */ (ended)]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

function userName() {
  try {
    return os.userInfo().username;
  } catch {
    return 'unknown';
  }
}

module.exports = { Recovery };
