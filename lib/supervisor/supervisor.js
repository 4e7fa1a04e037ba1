// Drives a runner that executes one step per process through all steps of its workflow, in the file's order.
//
// What is done is told by the run's checkpoints; the record `supervisor` only adds what they can't tell: which processes
// are at work, which steps left no checkpoint, how long it took. It is written once per attempt, before the step
// begins. So whatever kills the supervisor, the next one goes on at the first step without a durable checkpoint, once
// the processes that the first one left behind have ended.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { WaymarkError } = require('../error.js');
const { checkOptions, checkRunId, checkStep } = require('../options.js');
const { WorkFailed } = require('../recovery/failure.js');
const { inParts } = require('../recovery/parts.js');
const { pursue, Stopped } = require('../recovery/pursue.js');
const { markRefused } = require('../resume-plan.js');
const { behind, circumstances, passedOver } = require('../resume-words.js');
const { finishRestore } = require('../restore.js');
const { stateBefore } = require('../run-state.js');
const { readSteps } = require('../workflow.js');
const { Child, stepEnvironment } = require('./child.js');
const { portVariables } = require('../port-variables.js');
const { commandFor } = require('./command.js');
const { endLeftOver, identityOf } = require('./left-over.js');
const { checkOrder, doneSteps, nextSteps, noSuchStep } = require('./plan.js');
const { reportOf } = require('./report.js');
const seams = require('./seams.js');

/**
 * @typedef {import('../../index.js').CheckpointManager} Manager
 * @typedef {import('../../index.js').SuperviseOptions} SuperviseOptions
 * @typedef {import('../../index.js').SuperviseReport} SuperviseReport
 * @typedef {import('../../index.js').SupervisorEvent} SupervisorEvent
 * @typedef {import('../../index.js').Step} Step
 * @typedef {import('../workflow.js').WorkflowStep} WorkflowStep
 * @typedef {import('./plan.js').Done} Done
 * @typedef {import('./left-over.js').UnderWay} UnderWay
 *
 * @typedef {{ how: SuperviseReport['outcome'], reason?: string, step?: Step }} End
 * @typedef {{ done?: Done, stop?: End }} Result
 *
 * What is kept in the run's record `supervisor`.
 * @typedef {object} Kept
 * @property {1} format
 * @property {string} workflow
 * @property {string} started when the first supervisor of the run began
 * @property {number} starts how many there were
 * @property {number} workMs
 * @property {{ pid: number, host: string, started: string | null, since: string }} supervisor
 * @property {UnderWay[]} running
 * @property {Done[]} done
 * @property {{ how: string, at: string, reason?: string } | null} ended
 */

const SUPERVISE = /** @type {const} */ ({
  workflow: 'string',
  command: 'strings',
  resume: 'boolean',
  resumeStep: 'step',
  pauseAfter: 'step',
  orphans: 'string',
  accept: 'strings',
  options: 'strings',
  onConflict: 'policy',
  jobs: 'positive',
  recovery: 'recovery',
  env: 'any',
  cwd: 'string',
  signal: 'signal',
  signals: 'boolean',
  onEvent: 'function',
});
const RECORD = 'supervisor';
const SIGNALS = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
/** The runner's words for a step that is not done although its process ended with 0, and that is a failure. */
const FAILED = new Set(['failed', 'error']);
/** Its words for one that waits for somebody. */
const WAITS = new Set(['awaiting_approval', 'handoff_pending', 'paused']);
const EXIT_PAUSED = 75;

/**
 * @param {Manager} manager
 * @param {unknown} runId
 * @param {unknown} options
 * @returns {Promise<SuperviseReport>}
 */
async function supervise(manager, runId, options) {
  const run = checkRunId(runId);
  const checked = /** @type {SuperviseOptions} */ (checkOptions(options, SUPERVISE, 'supervise'));
  /** @param {string} why */
  const invalid = (why) => new WaymarkError('ERR_OPTION_INVALID', `supervise: ${why}`);
  const { workflow, command = [], orphans = 'wait', options: wanted = [] } = checked;
  if (workflow === undefined) {
    throw new WaymarkError('ERR_WORKFLOW_NOT_FOUND', 'supervise: the option workflow is missing');
  }
  if (command.length === 0) throw invalid('the option command is missing');
  if (orphans !== 'wait' && orphans !== 'end') throw invalid("orphans must be 'wait' or 'end'");
  // Loaded here: a first start has none.
  if (wanted.length > 0) require('../resume-run.js').wantedOf(wanted);
  const elsewhere = wanted.find((one) => /^(fork|abandon)\b/.test(one));
  if (elsewhere !== undefined) {
    throw invalid(
      `${elsewhere} leaves this run: do it with resume, and go on with what is left then`,
    );
  }
  if (command.includes('--dry-run')) throw invalid('with --dry-run the command does no step');
  const steps = readSteps(workflow);
  checkOrder(workflow, steps);
  for (const [what, step] of /** @type {const} */ ([
    ['paused', checked.pauseAfter],
    ['resumed', checked.resumeStep],
  ])) {
    if (step === undefined) continue;
    checkStep(step);
    if (!steps.some((one) => one.step === step)) throw noSuchStep(workflow, steps, step, what);
  }
  return new Supervisor(manager, run, steps, { ...checked, orphans }).run();
}

class Supervisor {
  #manager;
  #runId;
  #steps;
  #options;
  #recovery;
  #settled;
  #ground;
  #aborter = new AbortController();
  /** @type {Set<InstanceType<typeof Child>>} */
  #children = new Set();
  /** @type {string | undefined} the signal, or `aborted` */
  #stopping;
  /** @type {ReturnType<typeof seams.takeLease> | undefined} */
  #lease;
  /** @type {Kept | undefined} */
  #kept;
  /** @type {Promise<unknown>} */
  #writing = Promise.resolve();
  /** The checkpoint that the state on the disk descends from. @type {string | null} */
  #head = null;
  /** @type {Map<Step, Done>} */
  #now = new Map();
  /** @type {string | undefined} */
  #lastFailure;
  /** What the run was in before it was taken. @type {import('../../index.js').RunStateName | undefined} */
  #from;
  /** After which step it goes on. @type {Step | null} */
  #at = null;
  /** What the steps are told of new ports. @type {Record<string, string>} */
  #ports = {};

  /**
   * @param {Manager} manager
   * @param {string} runId
   * @param {WorkflowStep[]} steps
   * @param {SuperviseOptions & { orphans: 'wait' | 'end' }} options
   */
  constructor(manager, runId, steps, options) {
    this.#manager = manager;
    this.#runId = runId;
    this.#steps = steps;
    this.#options = options;
    this.#recovery =
      /** @type {InstanceType<typeof import('../recovery/recovery.js')['Recovery']>} */ (
        /** @type {unknown} */ (manager.recovery(runId, options.recovery))
      );
    this.#settled = this.#recovery.settings;
    this.#ground = this.#recovery.ground({
      signal: this.#aborter.signal,
      tell: ({ kind, message, failure }) => {
        if (failure) this.#lastFailure = failure.message;
        this.#tell(kind, message, { failure, step: failure?.step });
      },
    });
  }

  /** @returns {Promise<SuperviseReport>} */
  async run() {
    const { signal, signals } = this.#options;
    const abort = () => this.#stop('aborted', 'SIGTERM');
    /** @param {NodeJS.Signals} name */
    const forward = (name) => this.#stop(name, name);
    signal?.addEventListener('abort', abort, { once: true });
    if (signals) for (const name of SIGNALS) process.on(name, forward);
    const began = performance.now();
    try {
      if (signal?.aborted) this.#stop('aborted', 'SIGTERM');
      const left = await this.#begin().catch((error) => {
        if (!(error instanceof Stopped)) throw error;
        // While it waited for what another had left: nothing was begun.
        return undefined;
      });
      if (left === undefined) this.#kept = this.#fresh(undefined);
      /** @type {End} */
      const ended =
        left === undefined
          ? { how: 'interrupted', reason: this.#stopping }
          : left
            ? await this.#go()
            : { how: 'completed' };
      return await this.#finish(ended, performance.now() - began);
    } catch (error) {
      // Of a run that is held it is not said that it is stale.
      this.#lease?.release();
      markRefused(this.#manager, error);
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
      if (signals) for (const name of SIGNALS) process.off(name, forward);
      this.#lease?.release();
    }
  }

  /** @param {SupervisorEvent['kind']} kind @param {string} message @param {Partial<SupervisorEvent>} [facts] */
  #tell(kind, message, facts = {}) {
    const about = Object.fromEntries(Object.entries(facts).filter(([, one]) => one !== undefined));
    this.#options.onEvent?.({ kind, message, at: new Date().toISOString(), ...about });
  }

  /**
   * Asks everything to end. The second time, it is ended.
   * @param {string} why
   * @param {NodeJS.Signals} signal
   */
  #stop(why, signal) {
    const again = this.#stopping !== undefined;
    this.#stopping = why;
    this.#aborter.abort();
    for (const child of this.#children) {
      // Ctrl-C and a closed terminal reach the child by themselves; twice would be taken for "at once".
      if (again) child.kill('SIGKILL');
      else if (signal === 'SIGTERM' || !process.stdin.isTTY) child.kill(signal);
    }
  }

  /**
   * Takes the run and puts it where it goes on.
   * @returns {Promise<boolean>} false if nothing is left to do
   */
  async #begin() {
    const { workflow, resume = false, resumeStep, orphans } = this.#options;
    const held = this.#prepare();
    const kept = await this.#take(held, orphans);
    for (const name of this.#recovery.kept.damaged) {
      this.#tell(
        'complains',
        `the record ${name} of run ${this.#runId} was damaged and is begun anew`,
      );
    }
    const wantsResume = resume || resumeStep !== undefined;
    const { rows, damaged } = held ? this.#checkpoints(wantsResume) : { rows: [], damaged: [] };
    const wasBegun = rows.length > 0 || (kept?.done ?? []).length > 0 || this.#hasDoneSteps();
    if (!wantsResume && wasBegun) {
      throw new WaymarkError(
        'ERR_RUN_STARTED',
        `run ${this.#runId} was begun before (${rows[0]?.checkpointId ?? 'it has no checkpoint'}); give --resume to go on with it, or another run id`,
        { runId: this.#runId },
      );
    }
    if (wantsResume && rows.length === 0 && damaged.length === 0 && wasBegun) {
      this.#tell(
        'complains',
        `run ${this.#runId} has no checkpoint: it begins with its first step`,
      );
    }
    const head = resumeStep === undefined ? rows[0] : rows.find((one) => one.step === resumeStep);
    if (resumeStep !== undefined && head === undefined) {
      throw new WaymarkError(
        'ERR_CHECKPOINT_NOT_FOUND',
        `Checkpoint not found: step ${resumeStep} of run ${this.#runId}; there are checkpoints of the steps ${rows.map((one) => one.step).join(', ') || 'none'}`,
        { runId: this.#runId, skipped: damaged },
      );
    }
    if (head === undefined && damaged.length > 0) {
      throw new WaymarkError(
        'ERR_NO_GOOD_CHECKPOINT',
        `none of the ${damaged.length} checkpoints of run ${this.#runId} can be restored; nothing was changed`,
        { runId: this.#runId, skipped: damaged },
      );
    }
    for (const line of passedOver(damaged)) this.#tell('complains', line);
    // A step that is named begins a new story: what was noted of those behind it does not hold any more.
    const noted = resumeStep === undefined ? (kept?.done ?? []) : [];
    // The resume that follows says what is stale.
    const how = head && { ...this.#how(head), mark: false };
    const plan = how && (await this.#manager.planResume(this.#runId, how));
    let done = doneSteps(workflow, this.#steps, standing(head, plan), rows, noted);
    const isLeft = nextSteps(this.#steps, done).length > 0;
    if (isLeft && head !== undefined) {
      const { checkpointId, from } = await this.#resume(head);
      this.#at = from;
      if (checkpointId !== head.checkpointId) {
        // An option went elsewhere: what was noted on the way here does not hold there.
        const { rows: fresh } = this.#checkpoints(false);
        const other = fresh.find((one) => one.checkpointId === checkpointId);
        done = doneSteps(workflow, this.#steps, standing(other, { from }), fresh, []);
      }
      this.#head = checkpointId;
    } else {
      this.#head = head?.checkpointId ?? null;
    }
    this.#kept = this.#fresh(kept);
    this.#kept.done = this.#kept.done.filter((one) => done.has(one.step));
    const now = new Date().toISOString();
    for (const { step } of this.#steps) {
      if (!done.has(step)) continue;
      const one = this.#kept.done.find((other) => other.step === step);
      const row = rows.find((other) => other.step === step);
      const plain = { attempts: 0, ms: 0, at: row?.timestamp ?? now, worker: 'default' };
      this.#now.set(
        step,
        one ?? { step, how: 'checkpoint', checkpointId: row?.checkpointId ?? null, ...plain },
      );
    }
    // Done behind a supervisor's back: by a step that outlived it.
    const { history } = this.#ground;
    const failures = held ? await history.all() : [];
    const open = new Set(failures.filter((one) => one.recovery === null).map((one) => one.step));
    for (const step of open) if (done.has(step)) await history.close(step, undefined, true);
    if (!isLeft) {
      this.#tell('notice', `all steps of run ${this.#runId} are done: nothing is left to do`);
      return false;
    }
    if (held && head !== undefined) {
      seams.noteResumed(this.#manager, this.#runId, this.#from, this.#at, this.#steps);
    } else if (held) this.#move('running', resumeStep !== undefined);
    return true;
  }

  /** What is kept of this supervisor. @param {Kept | undefined} kept what there is of those before @returns {Kept} */
  #fresh(kept) {
    const now = new Date().toISOString();
    return {
      format: 1,
      workflow: /** @type {string} */ (this.#options.workflow),
      started: kept?.started ?? now,
      starts: (kept?.starts ?? 0) + 1,
      workMs: kept?.workMs ?? 0,
      supervisor: { ...identityOf(process.pid), since: now },
      running: [],
      done: kept?.done ?? [],
      ended: null,
    };
  }

  /** What a resume goes by. @param {import('./plan.js').Row} head */
  #how({ checkpointId }) {
    const { workflow, resumeStep, accept, onConflict } = this.#options;
    const checkpoint = resumeStep === undefined ? undefined : checkpointId;
    return { workflow, checkpoint, accept, onConflict };
  }

  /**
   * Puts the run back to where it goes on, if the world is as it was, or what is not so was accepted or mended.
   * @param {import('./plan.js').Row} head
   */
  async #resume(head) {
    const { options } = this.#options;
    const resumed = await this.#manager.resume(this.#runId, { ...this.#how(head), options });
    const { checkpointId, from, plan, did, ports } = resumed;
    for (const line of circumstances(plan.reasons, did)) this.#tell('notice', line);
    this.#ports = portVariables(ports);
    if (checkpointId !== null) {
      this.#tell('resumed', `restored ${checkpointId} (${behind(from)})`, {
        step: from ?? undefined,
        checkpointId,
      });
    }
    return { checkpointId, from };
  }

  /**
   * Makes the run's folder, if it is known where: the run can be held before its first step begins.
   * @returns {boolean} false if nobody knows where runs are; the runner's first step will show
   */
  #prepare() {
    try {
      fs.mkdirSync(path.join(this.#manager.runsDir(this.#runId), this.#runId), { recursive: true });
      return true;
    } catch (error) {
      const { code } = /** @type {{ code?: unknown }} */ (error);
      if (code === 'ERR_RUNS_DIR_NOT_FOUND') return false;
      throw error;
    }
  }

  /**
   * Takes the lease, once nothing is at work any more that an earlier supervisor left behind.
   * @param {boolean} held
   * @param {'wait' | 'end'} orphans
   * @returns {Promise<Kept | undefined>}
   */
  async #take(held, orphans) {
    if (!held) return undefined;
    for (;;) {
      const before = /** @type {Kept | undefined} */ (await this.#recovery.kept.read(RECORD));
      // A live supervisor's steps are its own affair: the lease will say who it is.
      const isFree = !seams.isHeld(this.#manager, this.#runId);
      const left = isFree
        ? [...(before?.running ?? []), ...seams.left(this.#manager, this.#runId)]
        : [];
      const watched = await endLeftOver(left, {
        orphans,
        graceMs: this.#settled.graceMs,
        sleep: this.#ground.sleep,
        tell: (message) => this.#tell('waits', message),
      });
      this.#from = stateBefore(this.#manager, this.#runId);
      this.#lease = seams.takeLease(this.#manager, this.#runId);
      const kept = /** @type {Kept | undefined} */ (await this.#recovery.kept.read(RECORD));
      // Another one may have come and gone in between, and left something behind.
      const fresh = (kept?.running ?? []).filter((one) => !watched.has(one.pid));
      if (fresh.length === 0) return kept;
      this.#lease.release();
      this.#lease = undefined;
    }
  }

  /** @param {boolean} wantsResume */
  #checkpoints(wantsResume) {
    const { checkpoints, damaged } = this.#manager.verifySync(this.#runId);
    // A restore that was killed is part of the run's state.
    if (wantsResume && checkpoints.length > 0) {
      finishRestore(this.#manager, this.#runId);
    }
    const passed = damaged.map(({ checkpointId, damage, message }) => ({
      checkpointId,
      damage,
      message,
    }));
    return { rows: checkpoints, damaged: passed };
  }

  /**
   * @param {string} checkpointId
   * @param {boolean} isRepetition what is in the way was left there by the attempt before
   */
  async #restore(checkpointId, isRepetition) {
    const { onConflict } = this.#options;
    const files = isRepetition && this.#settled.restore === 'state' ? false : undefined;
    try {
      await this.#manager.restore(this.#runId, { checkpointId, onConflict, files });
    } catch (error) {
      const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code !== 'ERR_RESTORE_CONFLICT' || !isRepetition) throw error;
      this.#tell('complains', `files of the workspace stay as the attempt left them: ${message}`);
      await this.#manager.restore(this.#runId, { checkpointId, files: false });
    }
  }

  /**
   * @param {import('../../index.js').RunStateName} to
   * @param {boolean} [again]
   * @param {string} [reason]
   */
  #move(to, again = false, reason = undefined) {
    seams.moveRunState(this.#manager, this.#runId, to, { by: 'supervisor', reason, again });
  }

  /** @returns {Promise<End>} */
  async #go() {
    const done = new Set(this.#now.keys());
    for (;;) {
      const open = nextSteps(this.#steps, done);
      if (open.length === 0) return { how: 'completed' };
      if (this.#stopping !== undefined) return { how: 'interrupted', reason: this.#stopping };
      if (this.#lease?.isLost()) {
        throw new WaymarkError(
          'ERR_LEASE_LOST',
          `another process has taken run ${this.#runId} over: what it does counts, and this one stops`,
          { runId: this.#runId },
        );
      }
      const asked = seams.pauseRequest(this.#manager, this.#runId, [...done].at(-1), this.#steps);
      if (asked !== undefined) {
        seams.honourPause(this.#manager, this.#runId, asked);
        return { how: 'paused', reason: asked.reason ?? `${asked.by} asked for it` };
      }
      const results = await this.#together(open);
      for (const result of results) if (result.done) done.add(result.done.step);
      const stop = results.find((one) => one.stop)?.stop;
      if (stop) return stop;
      const { pauseAfter } = this.#options;
      const isLast = nextSteps(this.#steps, done).length === 0;
      // Also where it was done before, by somebody who knew nothing of it.
      if (pauseAfter !== undefined && !isLast && done.has(pauseAfter)) {
        seams.honourPause(this.#manager, this.#runId, {
          by: 'supervisor',
          reason: `after step ${pauseAfter}`,
        });
        return { how: 'paused', reason: `after step ${pauseAfter}` };
      }
    }
  }

  /**
   * Runs steps side by side, at most so many at once. All come to their end, also if one fails.
   * @param {WorkflowStep[]} open
   * @returns {Promise<Result[]>}
   */
  async #together(open) {
    const { jobs = os.availableParallelism() } = this.#options;
    const waiting = [...open];
    /** @type {Result[]} */
    const results = [];
    const lane = async () => {
      for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) {
        if (this.#stopping !== undefined && results.length > 0) return;
        results.push(await this.#step(one, open.length === 1));
      }
    };
    const lanes = Array.from({ length: Math.min(Math.max(jobs, 1), open.length) }, lane);
    const ended = await Promise.allSettled(lanes);
    const broken = ended.find((one) => one.status === 'rejected');
    if (broken) throw /** @type {PromiseRejectedResult} */ (broken).reason;
    return results;
  }

  /**
   * @param {WorkflowStep} one
   * @param {boolean} alone
   * @returns {Promise<Result>}
   */
  async #step(one, alone) {
    const { step } = one;
    let ms = 0;
    /** @param {import('./child.js').Ended} ended */
    const count = (ended) => {
      ms += ended.ms;
      this.#record.workMs += ended.ms;
    };
    const splitter = this.#splitter();
    const repeats = alone && this.#settled.restore !== false;
    try {
      const outcome = await pursue(this.#ground, {
        step,
        checkpoint: () => this.#head,
        command: (worker) => this.#words(step, this.#runId, worker),
        before: async () => {
          if (repeats && this.#head !== null) await this.#restore(this.#head, true);
        },
        work: (about) => this.#attempt(one, { ...about, run: this.#runId, alone, count }),
        decompose:
          splitter &&
          (async (failure) => {
            if (repeats && this.#head !== null) await this.#restore(this.#head, true);
            const { subtasks } = await inParts({
              manager: this.#manager,
              runId: this.#runId,
              step,
              kept: this.#recovery.kept,
              ground: this.#ground,
              failure,
              splitter: await splitter,
              work: async ({ part, run, ...about }) => {
                const { done } = await this.#attempt(one, { ...about, run, part, alone, count });
                return { checkpointId: done };
              },
            });
            const facts = { subtasks, worker: failure.worker };
            const made = await this.#manager.create(this.#runId, step, this.#stateOf(one), {
              facts,
            });
            return { how: 'checkpoint', done: made.checkpointId };
          }),
      });
      if (outcome.how === 'failed') {
        const reason = `step ${step} ${outcome.failure?.message}`;
        return { stop: { how: 'failed', reason, step } };
      }
      if (outcome.how === 'paused') {
        const reason = `step ${step}: ${outcome.reason === 'decision' ? 'a decision is needed' : 'no worker is fit for work'}`;
        return { stop: { how: 'waiting', reason, step } };
      }
      const { how, done } =
        outcome.how === 'skipped' ? { how: 'decided', done: null } : outcome.result;
      return { done: await this.#noteDone(step, how, done, ms, outcome) };
    } catch (error) {
      if (!(error instanceof Stopped)) {
        const { code } = /** @type {{ code?: unknown }} */ (error);
        // The first step failed before anybody knew where runs are: there is nowhere to ask from.
        if (code !== 'ERR_RUNS_DIR_NOT_FOUND' || this.#lastFailure === undefined) throw error;
        return { stop: { how: 'failed', reason: `step ${step} ${this.#lastFailure}`, step } };
      }
      const stop = this.#stopped(step, error);
      const { checkpoint } = error.facts;
      if (typeof checkpoint !== 'string') return { stop };
      // It paused behind the step, not before it.
      const about = { attempts: 1, worker: 'default' };
      return { stop, done: await this.#noteDone(step, 'checkpoint', checkpoint, ms, about) };
    }
  }

  /**
   * @param {Step} step
   * @param {Done['how']} how
   * @param {string | null} checkpointId
   * @param {number} ms
   * @param {{ attempts: number, worker: string, strategy?: string }} about
   * @returns {Promise<Done>}
   */
  async #noteDone(step, how, checkpointId, ms, { attempts, worker, strategy }) {
    if (how === 'checkpoint') this.#head = checkpointId;
    /** @type {Done} */
    const done = {
      step,
      how,
      checkpointId: this.#head,
      attempts,
      ms: Math.round(ms),
      at: new Date().toISOString(),
      worker,
      ...(strategy === undefined ? {} : { strategy }),
    };
    this.#now.set(step, done);
    this.#record.done = [...this.#record.done.filter((other) => other.step !== step), done];
    // Nothing else tells of these.
    if (how !== 'checkpoint') await this.#write();
    const ways = { skipped: 'passed over: it left no trace', decided: 'passed over by decision' };
    const what =
      how === 'checkpoint' ? `done in ${(ms / 1000).toFixed(1)} s (${checkpointId})` : ways[how];
    this.#tell('done', `step ${step} ${what}`, { step, ms: done.ms, checkpointId });
    return done;
  }

  /** @param {Step} step @param {InstanceType<typeof Stopped>} stopped @returns {End} */
  #stopped(step, { reason, facts }) {
    if (reason === 'paused') {
      const why = seams.reasonOf(this.#manager, this.#runId);
      return { how: 'paused', reason: why ?? `step ${step} ended with ${EXIT_PAUSED}`, step };
    }
    if (reason === 'waiting') {
      return { how: 'waiting', reason: `the run is ${facts.status}`, step };
    }
    if (reason === 'cancelled') return { how: 'cancelled', step };
    return { how: 'interrupted', reason: this.#stopping ?? reason, step };
  }

  /**
   * @param {Step} step
   * @param {string} run
   * @param {string} worker
   * @param {import('../../index.js').WorkPart} [part]
   */
  #words(step, run, worker, part) {
    const { command, args = [] } = this.#settled.workers[worker] ?? {};
    const { workflow, command: own } = this.#options;
    const words = commandFor(part?.command ?? command ?? own, step, run, workflow);
    return [...words, ...args, ...(part?.args ?? [])];
  }

  /**
   * One attempt at a step, or at a part of it, in a process of its own.
   * @param {WorkflowStep} one
   * @param {{ attempt: number, worker: string, run: string, alone: boolean, part?: import('../../index.js').WorkPart, count: (ended: import('./child.js').Ended) => void }} about
   * @returns {Promise<{ how: 'checkpoint' | 'skipped', done: string | null }>}
   */
  async #attempt(one, { attempt, worker, run, alone, part, count }) {
    if (this.#stopping !== undefined) throw new Stopped('signal');
    const { step, name } = one;
    const { stallMs, graceMs, timeLimitMs = undefined } = this.#settled;
    const limit = one.timeLimitMs ?? timeLimitMs;
    const before = this.#newest(run, step);
    const env = {
      ...process.env,
      .../** @type {NodeJS.ProcessEnv} */ (this.#options.env ?? {}),
      ...this.#ports,
      ...(run === this.#runId ? this.#lease?.env : {}),
      ...this.#settled.workers[worker]?.env,
      ...part?.env,
      WAYMARK_ATTEMPT: String(attempt),
      WAYMARK_WORKER: worker,
    };
    const words = this.#words(step, run, worker, part);
    const child = new Child({
      words,
      env: stepEnvironment(words, env, stallMs),
      cwd: this.#options.cwd,
      alone,
      timeLimitMs: limit,
      stallMs,
      graceMs,
      onOutput: (chunk) => this.#tell('output', '', { step, chunk }),
    });
    this.#children.add(child);
    let isReleased = false;
    try {
      const at = this.#steps.indexOf(one) + 1;
      const again = attempt > 1 ? `, attempt ${attempt}` : '';
      const of = part ? `, part ${part.name}` : '';
      const on = worker === 'default' ? '' : ` on ${worker}`;
      const title = `step ${step}${name ? ` ${JSON.stringify(name)}` : ''}${of}${on}${again}`;
      this.#tell('begin', `[${at}/${this.#steps.length}] ${title}`, { step, attempt, worker });
      if (child.pid !== undefined) {
        const since = new Date().toISOString();
        const under = { ...identityOf(child.pid), step, attempt, worker, since };
        this.#record.running.push({
          ...under,
          ...(limit === undefined ? {} : { timeLimitMs: limit }),
        });
        await this.#write();
        isReleased = true;
        child.release();
        // A signal that came before there was a child to pass it on to.
        if (this.#stopping !== undefined) child.kill('SIGTERM');
      }
      const ended = await child.ended;
      count(ended);
      return await this.#judge(one, run, ended, before);
    } finally {
      // That it runs could not be written down: then it does not.
      if (!isReleased) child.hangUp();
      this.#children.delete(child);
      this.#record.running = this.#record.running.filter((under) => under.pid !== child.pid);
    }
  }

  /**
   * What came of an attempt.
   * @param {WorkflowStep} one
   * @param {string} run
   * @param {import('./child.js').Ended} ended
   * @param {number} before the newest checkpoint of the step before
   * @returns {Promise<{ how: 'checkpoint' | 'skipped', done: string | null }>}
   */
  async #judge(one, run, { code, signal, over, output, told }, before) {
    const { step } = one;
    const said = { exitCode: code, signal, output, ...(told.threw ? { error: told.threw } : {}) };
    if (over) {
      seams.forgetTerm(this.#manager, run);
      throw new WorkFailed({ kind: over, ...said });
    }
    if (code === EXIT_PAUSED) throw new Stopped('paused', { checkpoint: told.checkpoint });
    if (code !== 0) {
      if (this.#stopping !== undefined) throw new Stopped('signal');
      throw new WorkFailed({ kind: signal === null ? 'exit' : 'signal', ...said });
    }
    if (!this.#lease && run === this.#runId && this.#prepare()) {
      // The runner has shown where its runs are.
      this.#lease = seams.takeLease(this.#manager, run);
    }
    if (told.skipped) return { how: 'skipped', done: null };
    const status = told.waiting ?? (told.checkpoint ? undefined : this.#statusOf(run));
    if (status !== undefined && FAILED.has(status)) {
      throw new WorkFailed({ kind: 'status', status, ...said });
    }
    if (status === 'cancelled') throw new Stopped('cancelled');
    if (status !== undefined && WAITS.has(status)) throw new Stopped('waiting', { status });
    if (told.checkpoint) return { how: 'checkpoint', done: told.checkpoint };
    const row = this.#rows(run).find((other) => other.step === step);
    if (row && (row.sequence ?? 0) > before) return { how: 'checkpoint', done: row.checkpointId };
    // No preload was at work in it, or it took none: then it is taken here.
    const made = await this.#manager.create(run, step, this.#stateOf(one));
    return { how: 'checkpoint', done: made.checkpointId };
  }

  /** @param {WorkflowStep} one */
  #stateOf({ name, agent, outputs }) {
    return { step_name: name, agent, artifacts: outputs };
  }

  /** @param {string} run */
  #rows(run) {
    try {
      return this.#manager.listSync(run);
    } catch (error) {
      const { code } = /** @type {{ code?: unknown }} */ (error);
      if (code === 'ERR_RUN_NOT_FOUND' || code === 'ERR_RUNS_DIR_NOT_FOUND') return [];
      throw error;
    }
  }

  /** @param {string} run @param {Step} step @returns {number} its sequence */
  #newest(run, step) {
    return this.#rows(run).find((row) => row.step === step)?.sequence ?? -1;
  }

  /** The runner's own word. @param {string} run @returns {string | undefined} */
  #statusOf(run) {
    const { status } = this.#runRecord(run);
    return typeof status === 'string' ? status : undefined;
  }

  /** Whether the runner's own record tells of steps that were done, by hand or without Waymark. */
  #hasDoneSteps() {
    const { status, timestamps } = this.#runRecord(this.#runId);
    return status === 'completed' || Boolean(timestamps?.last_step_completed_at);
  }

  /** @param {string} run @returns {Record<string, any>} empty if it can't be read */
  #runRecord(run) {
    try {
      const file = path.join(this.#manager.runsDir(run), run, 'run.json');
      return JSON.parse(fs.readFileSync(file, 'utf8')) ?? {};
    } catch {
      // Taking the checkpoint will say what is wrong with it.
      return {};
    }
  }

  /** The caller's splitter, loaded when something is to be split. */
  #splitter() {
    const { splitter } = this.#settled;
    if (splitter === undefined) return undefined;
    return seams.splitterFrom(splitter);
  }

  /** @returns {Kept} */
  get #record() {
    return /** @type {Kept} */ (this.#kept);
  }

  /** Makes durable what is known. Writes wait for each other; each writes what is known when its turn comes. */
  #write() {
    if (!this.#lease) return Promise.resolve();
    const write = () => this.#recovery.kept.change(RECORD, () => this.#record);
    this.#writing = this.#writing.then(write, write);
    return this.#writing;
  }

  /**
   * @param {End} ended
   * @param {number} tookMs
   * @returns {Promise<SuperviseReport>}
   */
  async #finish(ended, tookMs) {
    const { how, reason } = ended;
    this.#record.ended = { how, at: new Date().toISOString(), ...(reason ? { reason } : {}) };
    this.#record.running = [];
    // What somebody else has taken over is not ours to write down.
    if (this.#lease && !this.#lease.isLost()) {
      await this.#write();
      try {
        this.#move(how === 'waiting' ? 'paused' : how, false, reason);
      } catch (error) {
        // The runner has said something else meanwhile, and it is the runner's run.
        if (/** @type {{ code?: unknown }} */ (error).code !== 'ERR_RUN_STATE') throw error;
        if (how !== 'interrupted') this.#tell('complains', /** @type {Error} */ (error).message);
      }
    }
    const known = this.#lease !== undefined;
    return reportOf({
      runId: this.#runId,
      workflow: this.#options.workflow,
      steps: this.#steps,
      done: this.#now,
      ended,
      tookMs,
      kept: this.#record,
      failures: known ? await this.#recovery.failures() : [],
      question: known ? await this.#question() : null,
    });
  }

  /** What waits for an answer, also where that can't be read. */
  async #question() {
    const recovery = this.#recovery;
    return recovery.question().catch(() => recovery.unanswered().catch(() => null));
  }
}

/**
 * A checkpoint by the last step that was done when it was taken: tasks and guards take theirs in the middle of one.
 * @template {{ step: Step }} R
 * @param {R | undefined} head
 * @param {{ from: Step | null } | undefined} plan
 * @returns {R | undefined}
 */
function standing(head, plan) {
  if (head === undefined || plan === undefined || plan.from === null) return undefined;
  return { ...head, step: plan.from };
}

module.exports = { RECORD, supervise };
