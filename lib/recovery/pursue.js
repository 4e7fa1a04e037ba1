// Gets one piece of work done, whatever fails on the way: the breaker is asked, the work begun, its failure recorded
// with what is done about it, and that is done. What has happened is durable before the next attempt begins, so that
// a process that takes over goes on counting.

const os = require('node:os');
const { version } = require('../../package.json');
const { delayOf } = require('./backoff.js');
const { seriesOf } = require('./history.js');
const { classOf, cut, endOf, short, signatureOf, summaryOf } = require('./failure.js');
const { choose, nextWorker, RETRY } = require('./rules.js');

/**
 * @typedef {import('../../index.js').FailureRecord} FailureRecord
 * @typedef {import('../../index.js').RecoveryAnswer} RecoveryAnswer
 * @typedef {import('../../index.js').Step} Step
 * @typedef {import('./failure.js').End} End
 *
 * What the work is done with.
 * @typedef {object} Ground
 * @property {import('./rules.js').Settled} settled
 * @property {InstanceType<typeof import('./history.js')['History']>} history
 * @property {InstanceType<typeof import('./decision.js')['Decisions']>} decisions
 * @property {InstanceType<typeof import('./breakers.js')['Breakers']>} breakers
 * @property {() => number} now
 * @property {() => number} random
 * @property {(ms: number) => Promise<void>} sleep throws `Stopped` when the work is to stop
 * @property {(event: RecoveryEvent) => void} tell
 *
 * @typedef {{ kind: 'failed' | 'recovered' | 'waits' | 'asks' | 'complains', message: string, failure?: FailureRecord, ms?: number }} RecoveryEvent
 *
 * One piece of work.
 * @typedef {object} Job
 * @property {Step} step
 * @property {string} [subtask]
 * @property {(attempt: { attempt: number, worker: string }) => Promise<any>} work throws what went wrong, or `Stopped`
 * @property {() => Promise<void>} [before] puts things back before a repetition
 * @property {() => (string | null)} [checkpoint] the newest, for the record
 * @property {(worker: string) => string[]} [command]
 * @property {((failure: FailureRecord) => Promise<any>) | undefined} [decompose] does the work in parts
 *
 * @typedef {object} Outcome
 * @property {'done' | 'skipped' | 'failed' | 'paused'} how
 * @property {any} [result]
 * @property {number} attempts in this process
 * @property {string} worker
 * @property {string} [strategy] what got it done after failures
 * @property {number} [recoveryMs]
 * @property {FailureRecord} [failure] the last one
 * @property {string} [reason] of `paused`: `decision`, `breaker_open`
 */

/** The work is to stop, for a reason that is no failure of it. */
class Stopped extends Error {
  /** @param {string} reason @param {Record<string, unknown>} [facts] */
  constructor(reason, facts = {}) {
    super(`stopped: ${reason}`);
    this.name = 'Stopped';
    this.reason = reason;
    this.facts = facts;
  }
}

/** A part of the work waits, for a person or a worker: so does the whole. */
class Waits extends Error {
  /** @param {Outcome} outcome of the part */
  constructor(outcome) {
    super(`waits: ${outcome.reason}`);
    this.name = 'Waits';
    this.outcome = outcome;
  }
}

/**
 * @param {Ground} ground
 * @param {Job} job
 * @returns {Promise<Outcome>}
 */
async function pursue(ground, job) {
  const { history, decisions, breakers, settled } = ground;
  const { step, subtask } = job;
  const workers = Object.keys(settled.workers);
  const open = seriesOf(await history.all(), step, subtask);
  // What a person decided begins a series of its own.
  const series = open.filter((one) => !one.decided);
  // Taken up where another process left it: what was chosen or decided last is still to be done.
  const last = open.at(-1);
  let failure = last?.decided ? undefined : last;
  let worker = last?.decided?.worker ?? last?.chosen?.worker ?? last?.worker ?? workers[0];
  if (!workers.includes(worker)) worker = workers[0];
  /** @type {string | undefined} */
  let strategy = last?.decided ? 'manual' : last?.chosen?.kind;
  /** The failure for which the work is done in parts. */
  let parted = (last?.decided?.decision ?? last?.chosen?.kind) === 'decompose' ? last : undefined;
  let attempts = 0;
  for (;;) {
    const chosen = failure?.chosen?.kind;
    if (failure !== undefined && (chosen === 'manual' || chosen === 'fail')) {
      const answer = chosen === 'manual' ? await decided(ground, job, failure) : undefined;
      if (chosen === 'manual' && answer === undefined) {
        return { how: 'paused', reason: 'decision', attempts, worker, failure };
      }
      if (answer === undefined || answer.decision === 'abort') {
        await history.close(step, subtask, false, answer && 'manual');
        await decisions.settle(failure.id);
        return { how: 'failed', attempts, worker, failure };
      }
      strategy = 'manual';
      if (answer.decision === 'skip') {
        const closed = await history.close(step, subtask, true, strategy);
        await decisions.settle(failure.id);
        return { how: 'skipped', attempts, worker, failure, strategy, recoveryMs: closed?.ms };
      }
      // In this order: cut off in between, the answer is found once more.
      await history.decide(step, subtask, answer);
      await decisions.settle(failure.id);
      if (answer.decision === 'reassign') worker = answer.worker ?? worker;
      parted = answer.decision === 'decompose' ? failure : undefined;
      series.length = 0;
      attempts = 0;
      await job.before?.();
    }
    const admitted = await admit(ground, worker);
    if (admitted === undefined) {
      return { how: 'paused', reason: 'breaker_open', attempts, worker, failure };
    }
    worker = admitted;
    attempts += 1;
    const attempt = series.length + attempts;
    const clock = performance.now();
    /** @type {{ result: any } | undefined} */
    let made;
    try {
      const result =
        parted && job.decompose ? await job.decompose(parted) : await job.work({ attempt, worker });
      made = { result };
    } catch (error) {
      if (error instanceof Stopped || error instanceof Waits) await breakers.release(worker);
      if (error instanceof Stopped) throw error;
      if (error instanceof Waits) {
        const { reason, failure: of } = error.outcome;
        return { how: 'paused', reason, attempts, worker, failure: of ?? failure };
      }
      const took = performance.now() - clock;
      failure = await record(ground, job, { end: endOf(error), worker, attempt, took });
      await breakers.failed(worker, failure.class);
    }
    if (made !== undefined) {
      const closed = await noteDone(ground, job, worker, strategy);
      const by = strategy ?? closed?.strategy;
      if (by !== undefined) ground.tell(recovered(job, by, closed?.ms));
      const recoveryMs = closed?.ms;
      return { how: 'done', result: made.result, attempts, worker, strategy: by, recoveryMs };
    }
    const { chosen: then } = /** @type {FailureRecord} */ (failure);
    const { kind, delayMs = 0 } = /** @type {NonNullable<typeof then>} */ (then);
    if (kind === 'manual' || kind === 'fail') continue;
    if (kind === 'reassign') worker = then?.worker ?? worker;
    parted = kind === 'decompose' ? failure : undefined;
    strategy = kind;
    if (delayMs > 0) await ground.sleep(delayMs);
    await job.before?.();
  }
}

/**
 * Notes that the work is done. That this can't be noted is no failure of the work, which must not be done again for it.
 * @param {Ground} ground
 * @param {Job} job
 * @param {string} worker
 * @param {string} [strategy]
 */
async function noteDone({ breakers, history, tell }, job, worker, strategy) {
  try {
    await breakers.succeeded(worker);
    return await history.close(job.step, job.subtask, true, strategy);
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    tell({
      kind: 'complains',
      message: `${nameOf(job)} is done, which can't be noted: ${message}`,
    });
    return undefined;
  }
}

/**
 * @param {Job} job
 * @param {string} strategy
 * @param {number} [ms]
 * @returns {RecoveryEvent}
 */
function recovered(job, strategy, ms) {
  const after = ms === undefined ? '' : ` after ${(ms / 1000).toFixed(1)} s`;
  return { kind: 'recovered', message: `${nameOf(job)} is done: ${strategy} helped${after}`, ms };
}

/** @param {Job} job */
function nameOf({ step, subtask }) {
  return subtask === undefined ? `step ${step}` : `part ${subtask} of step ${step}`;
}

/**
 * @param {Ground} ground
 * @param {Job} job
 * @param {{ end: End, worker: string, attempt: number, took: number }} what
 * @returns {Promise<FailureRecord>}
 */
async function record({ settled, history, random, tell }, job, { end, worker, attempt, took }) {
  const class_ = classOf(end, settled.classes);
  const found = {
    step: job.step,
    ...(job.subtask === undefined ? {} : { subtask: job.subtask }),
    worker,
    attempt,
    class: class_,
    kind: end.kind,
    exitCode: end.exitCode ?? null,
    signal: end.signal ?? null,
    ...(end.status === undefined ? {} : { status: end.status }),
    ...(end.error === undefined ? {} : { error: short(end.error) }),
    ...(end.output ? { output: end.output } : {}),
    message: summaryOf(end),
    signature: signatureOf(class_, end),
    took: Math.round(took),
    context: {
      checkpointId: job.checkpoint?.() ?? null,
      host: os.hostname(),
      pid: process.pid,
      node: process.versions.node,
      waymark: version,
      ...(job.command
        ? {
            command: job
              .command(worker)
              .slice(0, 50)
              .map((word) => cut(word, 200)),
          }
        : {}),
    },
  };
  const failure = await history.add(found, (made, series) => {
    const chosen = choose(settled, made, series, { splits: job.decompose !== undefined });
    const { kind, rule, used, how } = chosen;
    const delayMs = kind === 'retry' ? delayOf(used + 1, { ...RETRY, ...how }, random) : 0;
    return {
      kind,
      rule,
      used,
      ...(delayMs > 0 ? { delayMs } : {}),
      ...(chosen.worker === undefined ? {} : { worker: chosen.worker }),
      ...(how.waitMs === undefined ? {} : { waitMs: how.waitMs }),
      ...(how.suggest === undefined ? {} : { suggest: how.suggest }),
    };
  });
  const message = `${nameOf(job)} ${failure.message} (${failure.class}); ${thenText(failure)}`;
  tell({ kind: 'failed', message, failure });
  return failure;
}

/** @param {FailureRecord} failure */
function thenText({ chosen }) {
  if (chosen === null) return '';
  const { kind, delayMs = 0, worker, used, rule } = chosen;
  const what = {
    retry: `retry ${used + 1} in ${(delayMs / 1000).toFixed(1)} s`,
    reassign: `goes to worker ${worker}`,
    decompose: 'it is done in parts',
    manual: 'a person has to decide',
    fail: 'nothing more is tried',
  }[kind];
  return `${what} (rule: ${rule})`;
}

/**
 * The worker itself if its breaker lets it, else another, else this one when its breaker opens within the time that
 * a process may wait for it.
 * @param {Ground} ground
 * @param {string} worker
 * @returns {Promise<string | undefined>}
 */
async function admit({ breakers, settled, tell, sleep, now }, worker) {
  for (;;) {
    const { allowed, until } = await breakers.enter(worker);
    if (allowed) return worker;
    /** @type {{ worker: string }[]} */
    const tried = [];
    for (;;) {
      const other = nextWorker(settled, worker, tried);
      if (other === undefined) break;
      if ((await breakers.enter(other)).allowed) {
        tell({ kind: 'waits', message: `worker ${worker} fails too often: ${other} does it` });
        return other;
      }
      tried.push({ worker: other });
    }
    const ms = Math.max(0, (until ?? now()) - now());
    if (ms > settled.breaker.waitMs) return undefined;
    tell({
      kind: 'waits',
      message: `worker ${worker} fails too often: it is tried again in ${Math.ceil(ms / 1000)} s`,
      ms,
    });
    await sleep(ms + 1);
  }
}

/**
 * Asks a person, and waits as long as the rule says.
 * @param {Ground} ground
 * @param {Job} job
 * @param {FailureRecord} failure
 * @returns {Promise<RecoveryAnswer | undefined>}
 */
async function decided(ground, job, failure) {
  const { decisions, settled, sleep, tell, history } = ground;
  if (!(await decisions.asked(failure.id))) {
    const question = await decisions.ask(failure, {
      suggest: failure.chosen?.suggest,
      workers: Object.keys(settled.workers).filter((name) => name !== failure.worker),
      splits: job.decompose !== undefined,
      series: seriesOf(await history.all(), job.step, job.subtask),
    });
    tell({
      kind: 'asks',
      message: `${nameOf(job)} waits for a decision: ${question.report}`,
      failure,
    });
  }
  return decisions.wait(failure.id, failure.chosen?.waitMs ?? 0, sleep, (error) =>
    tell({ kind: 'complains', message: /** @type {Error} */ (error).message }),
  );
}

module.exports = { Stopped, Waits, pursue };
