// The failures of a run as they are kept (its record `failures`), and what was learned of failures in the whole
// project (the store's record `failure-kinds`). What is computed here is pure; `History` keeps it.

const { randomBytes } = require('node:crypto');
const { likeness } = require('./failure.js');

/**
 * @typedef {import('../../index.js').FailureRecord} FailureRecord
 * @typedef {import('../../index.js').RecoverySummary} RecoverySummary
 * @typedef {import('../../index.js').Step} Step
 * @typedef {InstanceType<typeof import('./kept.js')['Kept']>} Kept
 */

const FORMAT = 1;
/** The most failures that a run keeps; those that were recovered go first. */
const FAILURES_MAX = 100;
/** Of how many the output and the stack are kept. */
const OUTPUTS_MAX = 10;
const KINDS_MAX = 200;

/**
 * The open failures of a step: those since it was last done, decided on or begun anew.
 * @param {FailureRecord[]} failures
 * @param {Step} step
 * @param {string} [subtask]
 */
function seriesOf(failures, step, subtask) {
  return failures.filter(
    (one) => one.recovery === null && one.step === step && one.subtask === subtask,
  );
}

/**
 * How recovering went: how many series of failures there were, what ended them, how long it took.
 * @param {FailureRecord[]} failures
 * @returns {RecoverySummary}
 */
function summaryOf(failures) {
  /** @type {RecoverySummary} */
  const summary = {
    failures: failures.length,
    open: 0,
    recovered: 0,
    lost: 0,
    ms: 0,
    byStrategy: {},
    byClass: {},
  };
  /** @type {Map<string, FailureRecord>} */
  const series = new Map();
  for (const one of failures) {
    summary.byClass[one.class] = (summary.byClass[one.class] ?? 0) + 1;
    if (one.recovery === null) summary.open += 1;
    else series.set(`${one.step} ${one.subtask ?? ''} ${one.recovery.at}`, one);
  }
  for (const { recovery } of series.values()) {
    if (recovery === null) continue;
    const { success, strategy, ms } = recovery;
    summary.byStrategy[strategy] ??= { recovered: 0, lost: 0, ms: 0 };
    const of = summary.byStrategy[strategy];
    of[success ? 'recovered' : 'lost'] += 1;
    summary[success ? 'recovered' : 'lost'] += 1;
    of.ms += ms;
    summary.ms += ms;
  }
  return summary;
}

/**
 * The newest, without what was recovered longest ago.
 * @param {FailureRecord[]} failures
 */
function bounded(failures) {
  let over = failures.length - FAILURES_MAX;
  const kept = failures.filter((one) => one.recovery === null || over-- <= 0).slice(-FAILURES_MAX);
  // A record has its limit: what a process has said is kept of the newest.
  const short = kept.length - OUTPUTS_MAX;
  return kept.map((one, at) => (at < short ? withoutOutput(one) : one));
}

/** @param {FailureRecord} failure @returns {FailureRecord} */
function withoutOutput({ output: _, ...failure }) {
  if (failure.error?.stack === undefined) return failure;
  const { stack: __, ...error } = failure.error;
  return { ...failure, error };
}

/** What a run's failures are kept in. */
class History {
  /**
   * @param {Kept} run
   * @param {Kept} store
   * @param {string} runId
   * @param {() => number} now
   */
  constructor(run, store, runId, now) {
    this.run = run;
    this.store = store;
    this.runId = runId;
    this.now = now;
  }

  /** @returns {Promise<FailureRecord[]>} oldest first */
  async all() {
    return (await this.run.read('failures'))?.failures ?? [];
  }

  /**
   * Records a failure, durably, with what is chosen to be done about it.
   * @param {Omit<FailureRecord, 'id' | 'at' | 'like' | 'chosen' | 'recovery'>} found
   * @param {(failure: FailureRecord, series: FailureRecord[]) => NonNullable<FailureRecord['chosen']>} choose
   * @returns {Promise<FailureRecord>}
   */
  async add(found, choose) {
    const at = new Date(this.now()).toISOString();
    const id = `f-${this.now().toString(36)}-${randomBytes(3).toString('hex')}`;
    const kinds = await this.#kind(found.signature);
    /** @type {FailureRecord | undefined} */
    let failure;
    await this.run.change('failures', (kept) => {
      /** @type {FailureRecord[]} */
      const failures = kept?.failures ?? [];
      const like = likeness(found, failures);
      if (kinds !== undefined) {
        like.inProject = {
          count: kinds.count,
          runs: kinds.runs.length,
          recoveredBy: kinds.recoveredBy,
        };
      }
      const made = { ...found, id, at, like, chosen: null, recovery: null };
      const series = seriesOf(failures, found.step, found.subtask);
      const chosen = choose(
        made,
        series.filter((one) => !one.decided),
      );
      failure = { ...made, chosen };
      return { format: FORMAT, failures: bounded([...failures, failure]) };
    });
    const added = /** @type {FailureRecord} */ (/** @type {unknown} */ (failure));
    await this.#learn(added.signature, (kind) => ({
      ...kind,
      class: added.class,
      message: added.message,
      count: kind.count + 1,
      last: at,
      runs: [...new Set([...kind.runs, this.runId])].slice(-20),
    }));
    return added;
  }

  /**
   * Notes what a person decided about a step's failures: what comes now is counted anew.
   * @param {Step} step
   * @param {string | undefined} subtask
   * @param {import('../../index.js').RecoveryAnswer} answer
   */
  async decide(step, subtask, answer) {
    await this.run.change('failures', (kept) => {
      const open = new Set(seriesOf(kept.failures, step, subtask).filter((one) => !one.decided));
      const failures = kept.failures.map((/** @type {FailureRecord} */ one) =>
        open.has(one) ? { ...one, decided: answer } : one,
      );
      return { ...kept, failures };
    });
  }

  /**
   * Ends a step's series of failures: it is done, or was given up.
   * @param {Step} step
   * @param {string | undefined} subtask
   * @param {boolean} success
   * @param {string} [by] the strategy; default: what was chosen last
   * @returns {Promise<{ strategy: string, ms: number } | undefined>} undefined if there was no failure
   */
  async close(step, subtask, success, by) {
    const open = seriesOf(await this.all(), step, subtask);
    if (open.length === 0) return undefined;
    const now = this.now();
    const last = open[open.length - 1];
    const strategy = by ?? (last.decided ? 'manual' : (last.chosen?.kind ?? 'none'));
    const ms = Math.max(0, now - Date.parse(open[0].at));
    const recovery = { success, strategy, at: new Date(now).toISOString(), ms };
    const ids = new Set(open.map((one) => one.id));
    await this.run.change('failures', (kept) => ({
      ...kept,
      failures: kept.failures.map((/** @type {FailureRecord} */ one) =>
        ids.has(one.id) ? { ...one, recovery } : one,
      ),
    }));
    if (success) {
      for (const signature of new Set(open.map((one) => one.signature))) {
        await this.#learn(signature, (kind) => ({
          ...kind,
          recoveredBy: { ...kind.recoveredBy, [strategy]: (kind.recoveredBy[strategy] ?? 0) + 1 },
        }));
      }
    }
    return { strategy, ms };
  }

  /** @param {string} signature */
  async #kind(signature) {
    try {
      return (await this.store.read('failure-kinds'))?.kinds?.[signature];
    } catch {
      // What was learned is an extra: no failure may come of it.
      return undefined;
    }
  }

  /**
   * @param {string} signature
   * @param {(kind: Record<string, any>) => Record<string, any>} change
   */
  async #learn(signature, change) {
    try {
      await this.store.change('failure-kinds', (kept) => {
        const { [signature]: kind, ...others } = kept?.kinds ?? {};
        const none = { count: 0, runs: [], recoveredBy: {} };
        const newest = Object.entries(others).slice(1 - KINDS_MAX);
        return {
          format: FORMAT,
          kinds: { ...Object.fromEntries(newest), [signature]: change(kind ?? none) },
        };
      });
    } catch {
      // As above; the run's own record has it.
    }
  }
}

module.exports = { FORMAT, History, bounded, seriesOf, summaryOf };
