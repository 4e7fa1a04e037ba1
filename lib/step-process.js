// A process that runs one step of a run, as the run's state sees it: it takes the lease, says what is under way, and at
// the end what became of it. Loaded by the preload, in processes of steps only.

const fs = require('node:fs');
const path = require('node:path');
const { nowMs } = require('./clock.js');
const { WaymarkError } = require('./error.js');
const { refuseLeft } = require('./left-at-work.js');
const leases = require('./lease.js');
const { stepFromText } = require('./options.js');
const pauses = require('./pause.js');
const { placeOfManager } = require('./place.js');
const { writeStatus, readRunJson } = require('./run-json.js');
const runStates = require('./run-state.js');
const { identityOf } = require('./supervisor/left-over.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('./run-states.js').StateRecord} StateRecord
 * @typedef {Map<string, string | true>} Flags
 *
 * What became of the step's checkpoint: `taken` by us, the runner's `own`, `none` because the step left no trace, `off`;
 * `waits`: the step is not done although it ended well; `failed`.
 * @typedef {'taken' | 'own' | 'none' | 'off' | 'waits' | 'failed'} Outcome
 */

/** How often a run that is not there yet is looked for, in milliseconds. */
const LOOK_MS = 100;
/** What is not there before a runner made it. */
const NOT_YET = new Set(['ERR_RUNS_DIR_NOT_FOUND', 'ERR_RUN_NOT_FOUND']);
/** States that a run goes on from. @type {Set<string>} */
const STOPPED = new Set(['paused', 'interrupted', 'stale', 'failed']);
/** What must not start, whatever the settings say. */
const REFUSALS = new Set([
  'ERR_LEASE_DAMAGED',
  'ERR_LEASE_HELD',
  'ERR_LEASE_LOST',
  'ERR_OPTION_INVALID',
  'ERR_RUN_STATE',
  'ERR_STEP_INVALID',
  'ERR_WORKFLOW_STEP_MISSING',
]);

/** @param {unknown} error */
function codeOf(error) {
  return `${/** @type {{ code?: unknown }} */ (error).code}`;
}

/** @param {unknown} error */
function messageOf(error) {
  return /** @type {Error} */ (error).message;
}

class StepProcess {
  #manager;
  #runId;
  #flags;
  #say;
  /** @type {InstanceType<typeof leases.Lease> | undefined} */
  #lease;
  /** The lease of the process that started this one. @type {number | undefined} */
  #given;
  /** What the checkpoint that was taken holds. @type {number | undefined} */
  bytes;
  /** Whether the record says what is under way. */
  #isNoted = false;
  /** Whether somebody else has the run now. */
  #isLost = false;
  /** Whether somebody else began the run at the same time, and had it first. */
  #isBeaten = false;
  /** Whether a resume of ours decides that the run may go on. */
  #gated = false;
  /** What the run was in when this process began. @type {import('../index.js').RunStateName | undefined} */
  #from;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {{ step?: Step, since: string } | undefined} */
  #underWay;
  #begun = nowMs();
  /** @type {import('./workflow.js').WorkflowStep[] | null | undefined} */
  #steps;
  /** After which step the run goes on, if it was put back. @type {Step | null | undefined} */
  #after;

  /**
   * @param {Manager} manager
   * @param {string} runId
   * @param {Flags} flags
   * @param {(text: string) => void} say
   */
  constructor(manager, runId, flags, say) {
    this.#manager = manager;
    this.#runId = runId;
    this.#flags = flags;
    this.#say = say;
  }

  /** Goes on under a lease that this process took already. @param {InstanceType<typeof leases.Lease>} lease */
  adopt(lease) {
    lease.adopt();
    this.#lease = lease;
    Object.assign(process.env, lease.environment);
  }

  /**
   * Takes the run, before anything of it is read or changed. Throws where another holds it, or it must not go on.
   * @param {boolean} [gated] whether it is resumed here: then the gate says whether it may go on
   * @returns {boolean} false if the run is paused: the step must not begin
   */
  enter(gated = false) {
    this.#gated = gated;
    // Misspelt, it would never be honoured.
    this.#pauseAfter();
    try {
      return this.#enter();
    } catch (error) {
      const code = codeOf(error);
      // The runner makes its folders itself on a first run.
      if (NOT_YET.has(code)) return true;
      if (code === 'ERR_RECORD_DAMAGED') return this.#enterAnew(error);
      if (REFUSALS.has(code)) throw error;
      this.#giveUp(error);
      return true;
    }
  }

  /** The steps are worth more than the counts of pauses and resumes. @param {unknown} error */
  #enterAnew(error) {
    this.#say(`what is kept of the state of run ${this.#runId} begins anew: ${messageOf(error)}`);
    runStates.forget(this.#manager, this.#runId);
    return this.#enter();
  }

  /** A step goes on without its state being kept. @param {unknown} error */
  #giveUp(error) {
    this.#isLost = true;
    clearInterval(this.#timer);
    const what = this.#isBeaten
      ? `nothing that this process does is recorded of run ${this.#runId}`
      : `the state of run ${this.#runId} is not kept`;
    this.#say(`${what}: ${messageOf(error)} [${codeOf(error)}]`);
  }

  #enter() {
    // Before the lease is taken, and before a restore says that it runs. Between two steps nobody holds a run, however
    // long that is.
    const seen = runStates.look(this.#manager, this.#runId);
    const before = runStates.known(seen, Date.now(), Infinity);
    if (before.state === 'interrupted' && before.isNew) this.#tellCrash();
    // A resume says first that it is not stale any more.
    this.#from = runStates.stoodIn(before.state, before.record);
    this.#take();
    return this.#mayBegin();
  }

  /** The run was put back to where this step was done. @param {Step | null} step null: none was */
  putBack(step) {
    this.#after = step;
  }

  /**
   * Says which step is under way. The run that is not there yet is waited for.
   * @param {Step | undefined} step a runner that resumes by itself does not say which
   */
  begin(step) {
    const since = new Date().toISOString();
    this.#underWay = step === undefined ? { since } : { step, since };
    if (this.#isLost) return;
    try {
      if (this.#note()) return;
    } catch (error) {
      this.#giveUp(error);
      return;
    }
    this.#timer = setInterval(() => this.#late(), LOOK_MS).unref();
  }

  /**
   * SIGTERM asks for a pause behind the step; a second one ends the process as ever.
   */
  pauseOnTerm() {
    const onTerm = () => {
      process.off('SIGTERM', onTerm);
      try {
        this.#late();
        if (!this.#isNoted) throw new Error('the state of the run is not kept');
        pauses.ask(this.#manager, this.#runId, { by: 'SIGTERM', reason: 'SIGTERM' });
        this.#say(
          `SIGTERM: run ${this.#runId} is paused when ${this.#underWay?.step === undefined ? 'its step' : `step ${this.#underWay.step}`} is done; another SIGTERM ends it now`,
        );
      } catch (error) {
        this.#say(`SIGTERM: no pause can be asked for: ${messageOf(error)}`);
        process.kill(process.pid, 'SIGTERM');
      }
    };
    process.on('SIGTERM', onTerm);
  }

  /** The workflow's steps, if its file can be read. */
  steps() {
    if (this.#steps !== undefined) return this.#steps ?? undefined;
    this.#steps = null;
    const workflow = this.#flags.get('workflow');
    if (typeof workflow === 'string') {
      try {
        const { stepsOf } = require('./workflow-steps.js');
        const place = placeOfManager(this.#manager);
        this.#steps = stepsOf(place, fs.readFileSync(workflow), workflow).steps;
      } catch {
        // A workflow file that can't be read is the runner's to report.
      }
    }
    return this.#steps ?? undefined;
  }

  /**
   * Says how the process ends, and honours a pause that is due.
   * @param {number} code
   * @param {Step | undefined} step
   * @param {Outcome} outcome
   * @returns {boolean} whether a pause was honoured
   */
  end(code, step, outcome) {
    clearInterval(this.#timer);
    try {
      this.#late();
      if (this.#isLost || !this.#isNoted || !this.#isOurs()) return false;
      return this.#finish(code, step, outcome);
    } finally {
      this.leave();
    }
  }

  /**
   * Whether what this process did may be recorded. Of two that begin a run that is not there yet, only the one that had
   * it first may.
   */
  claim() {
    this.#late();
    return !this.#isBeaten;
  }

  /** Lets the run go. */
  leave() {
    clearInterval(this.#timer);
    const lease = this.#lease;
    this.#lease = undefined;
    try {
      lease?.releaseSync();
    } catch (error) {
      // It expires by itself, and this process is about to be gone.
      this.#say(`the lease of run ${this.#runId} stays: ${messageOf(error)}`);
    }
  }

  /**
   * @param {number} code
   * @param {Step | undefined} named
   * @param {Outcome} outcome
   */
  #finish(code, named, outcome) {
    const seen = runStates.look(this.#manager, this.#runId);
    const current = seen.json?.current_step;
    const isStep = typeof current === 'number' || typeof current === 'string';
    // A runner that resumed by itself says it in its record.
    const step = named ?? (isStep ? current : undefined);
    const isBoundary = code === 0 && outcome !== 'waits' && outcome !== 'failed';
    const isDone = isBoundary && outcome !== 'none';
    const order = this.steps()?.map((one) => one.step);
    const worked = Math.round(nowMs() - this.#begun);
    /** @param {StateRecord} record @returns {StateRecord} */
    const ended = ({ underWay: _, ...record }) => {
      const done = order === undefined || step === undefined ? -1 : order.indexOf(step);
      return {
        ...record,
        workMs: record.workMs + worked,
        ...(isDone ? { lastStep: step } : {}),
        ...(this.bytes === undefined ? {} : { bytes: this.bytes }),
        ...(isBoundary && done >= 0
          ? { progress: { done: done + 1, total: order?.length ?? 0 } }
          : {}),
      };
    };
    const request = seen.record?.pauseRequest;
    const isDue =
      isBoundary && step !== undefined && runStates.isDue(request, step, order) && request;
    const word = runStates.stateOf(seen.status);
    if (isDue && word === 'running') {
      pauses.honour(this.#manager, this.#runId, isDue, ended);
      this.#say(
        `run ${this.#runId} is paused behind step ${step}${isDue.reason ? ` (${isDue.reason})` : ''}; --resume goes on`,
      );
      return true;
    }
    const how = { by: 'waymark/register', reason: undefined };
    runStates.change(this.#manager, this.#runId, (at, now) => {
      const { state: from, record } = runStates.known(at, now, Infinity);
      const before = ended(record);
      if (runStates.stateOf(at.status) === 'completed') delete before.pauseRequest;
      if (at.record?.state === 'cancelled') {
        // Given up while the step was at work; the runner's own word came after that.
        writeStatus(at.runDir, 'cancelled');
        const { status, changedMs } = readRunJson(at.runDir);
        return { ...ended(at.record), status: status ?? null, changedMs: changedMs ?? null };
      }
      const { status, changedMs } = at;
      const failed = code !== 0 && (from === 'running' || from === 'failed');
      return runStates.moved(before, from, failed ? 'failed' : from, {
        now,
        ...how,
        reason: failed
          ? `${runStates.stepInWords({ step: named })} ended with exit code ${code}`
          : record.reason,
        status,
        changedMs,
      });
    });
    if (isDue && word === 'completed') {
      this.#say(`run ${this.#runId} is completed: there is nothing left to pause`);
    }
    return false;
  }

  /** Tells of a process that was cut off, and notes it. */
  #tellCrash() {
    const { reason, underWay, lastStep } = runStates.noteCrash(
      this.#manager,
      this.#runId,
      Infinity,
    );
    const what = underWay
      ? `; ${runStates.stepInWords(underWay)} was under way since ${underWay.since}`
      : '';
    const last = lastStep === undefined ? '' : `; step ${lastStep} was the last that was done`;
    this.#say(`run ${this.#runId} was cut off: ${reason}${what}${last}`);
  }

  /** Takes the lease, or the one that was given. */
  #take() {
    if (this.#lease || this.#given !== undefined) return;
    const place = placeOfManager(this.#manager);
    if (process.env.WAYMARK_LEASE === 'off') {
      const left = leases.readLeaseSync(place, this.#runId);
      // One that a dead process left would make this one look like it.
      if (left === null || left.live || left.why === 'released') return;
      leases.takeLeaseSync(place, this.#runId, { holder: 'off', keep: false }).releaseSync();
      return;
    }
    const given = leases.tokenToGoOn(place, this.#runId);
    if (given !== undefined) {
      this.#given = given;
      return;
    }
    refuseLeft(place, this.#runId);
    const step = this.#flags.get('step');
    const what = typeof step === 'string' ? `step ${step}` : 'a resume';
    const holder = `${what} by ${leases.holderName()}`.replace(/\p{Cc}/gu, ' ').slice(0, 256);
    this.#lease = leases.takeLeaseSync(place, this.#runId, { holder });
    // What the step starts for this run may change it.
    Object.assign(process.env, this.#lease.environment);
  }

  /** Whether the run may go on: false if it is paused. */
  #mayBegin() {
    const { state, record } = runStates.known(
      runStates.look(this.#manager, this.#runId),
      Date.now(),
      Infinity,
    );
    const named = this.#flags.has('resume-step');
    if (this.#flags.has('resume') || named) {
      if (state === 'cancelled' && !named && !this.#gated) {
        throw runStates.illegal(this.#runId, state, 'running', record);
      }
      return true;
    }
    if (state === 'cancelled' && record.state === 'cancelled' && record.by !== undefined) {
      throw runStates.illegal(this.#runId, state, 'running', record);
    }
    const paused = state === 'paused' || state === 'stale' ? record.pausedFor : undefined;
    if (paused === undefined) {
      const { pauseRequest: request, lastStep } = record;
      const isDue =
        request !== undefined &&
        (request.afterStep === undefined ||
          (lastStep !== undefined &&
            runStates.isDue(
              request,
              lastStep,
              this.steps()?.map((one) => one.step),
            )));
      if (!isDue || !runStates.isLegal(state, 'paused')) return true;
      pauses.honour(this.#manager, this.#runId, request);
    }
    const { by, reason } = /** @type {import('./run-states.js').PauseRequest} */ (
      paused ?? record.pauseRequest
    );
    const who = `by ${by}${reason ? `: ${reason}` : ''}`;
    this.#say(`run ${this.#runId} is paused (${who}); nothing was started; --resume goes on`);
    return false;
  }

  /** @returns {Step | undefined} the step behind which the run is to pause */
  #pauseAfter() {
    const text = this.#flags.get('pause-after');
    if (text === undefined) return undefined;
    const step = stepFromText(text);
    if (typeof step !== 'number' && typeof step !== 'string') {
      throw new WaymarkError(
        'ERR_STEP_INVALID',
        '--pause-after needs a step, such as 3 or 1.5; nothing was started',
        { runId: this.#runId, reason: 'missing' },
      );
    }
    const order = this.steps()?.map((one) => one.step);
    if (order !== undefined && !order.includes(step)) {
      throw pauses.noSuchStep(`${this.#flags.get('workflow')}`, step, order);
    }
    return step;
  }

  /** Takes a run that is there by now, and says what is under way. */
  #late() {
    if (this.#isNoted || this.#isLost || this.#underWay === undefined) return;
    try {
      if (readRunJson(this.#runDir()).changedMs === undefined) return;
      const wasHeld = this.#lease !== undefined;
      this.#take();
      if (!wasHeld) this.#refuseBeaten();
      this.#note();
    } catch (error) {
      const code = codeOf(error);
      if (NOT_YET.has(code)) return;
      this.#isBeaten = code === 'ERR_LEASE_HELD' || code === 'ERR_LEASE_LOST';
      this.leave();
      this.#giveUp(error);
      return;
    }
    if (this.#isNoted) clearInterval(this.#timer);
  }

  /** The run was not there when this process began: whatever is noted of it, another one did since. */
  #refuseBeaten() {
    if (this.#lease === undefined) return;
    const { record } = runStates.look(this.#manager, this.#runId);
    const { underWay, lastStep, workMs = 0 } = record ?? {};
    const isOthers = underWay !== undefined && underWay.pid !== process.pid;
    if (!isOthers && lastStep === undefined && workMs === 0) return;
    throw new WaymarkError(
      'ERR_LEASE_LOST',
      `another process began run ${this.#runId} at the same time and had it first; what it recorded counts`,
      { runId: this.#runId },
    );
  }

  #runDir() {
    return path.join(this.#manager.runsDir(this.#runId), this.#runId);
  }

  /**
   * The record of the run as it is behind the step that it was put back to. What resumed it has said so already, unless
   * the record was lost since: a step's first line must not wait for the workflow to be read.
   * @param {import('./run-states.js').StateRecord} record
   */
  #putBack(record) {
    const step = this.#after;
    if (step === undefined) return record;
    const isTold = step !== null && record.lastStep === step && record.progress !== undefined;
    const order = isTold ? undefined : this.steps()?.map((one) => one.step);
    return runStates.putBack(record, { step, order });
  }

  /** @returns {boolean} false if the run is not there yet */
  #note() {
    const underWay = /** @type {{ step?: Step, since: string }} */ (this.#underWay);
    const pauseAfter = this.#pauseAfter();
    const resumes = this.#flags.has('resume') || this.#flags.has('resume-step');
    const workflow = this.#flags.get('workflow');
    try {
      if (readRunJson(this.#runDir()).changedMs === undefined) return false;
      runStates.change(this.#manager, this.#runId, (seen, now) => {
        const { state, record } = runStates.known(seen, now, Infinity);
        // A resume is somebody's word that the run goes on.
        const { pauseRequest, ...rest } = record;
        const kept =
          pauseRequest && (!resumes || this.#isAhead(pauseRequest.afterStep, underWay.step));
        const base = this.#putBack(kept ? record : rest);
        // A restore has said already that it runs; what it was in before is what it goes on from.
        const before = seen.record?.state;
        const from = before !== undefined && STOPPED.has(before) ? before : (this.#from ?? state);
        const next = runStates.moved(base, from, 'running', {
          now,
          by: 'waymark/register',
          status: seen.status,
          changedMs: seen.changedMs,
        });
        return {
          ...next,
          ...(pauseAfter === undefined
            ? {}
            : {
                pauseRequest: {
                  at: underWay.since,
                  by: '--pause-after',
                  afterStep: pauseAfter,
                },
              }),
          underWay: { ...underWay, ...identityOf(process.pid) },
          runner: {
            ...(process.argv[1] === undefined ? {} : { script: process.argv[1] }),
            ...(typeof workflow === 'string' ? { workflow: path.resolve(workflow) } : {}),
          },
        };
      });
    } catch (error) {
      if (NOT_YET.has(codeOf(error))) return false;
      throw error;
    }
    this.#isNoted = true;
    return true;
  }

  /**
   * Whether a step that is waited for is still to come.
   * @param {Step | undefined} wanted
   * @param {Step | undefined} step
   */
  #isAhead(wanted, step) {
    if (wanted === undefined) return false;
    if (step === undefined) return true;
    const order = this.steps()?.map((one) => one.step);
    const [there, here] = [order?.indexOf(wanted) ?? -1, order?.indexOf(step) ?? -1];
    if (there >= 0 && here >= 0) return there >= here;
    return typeof wanted !== 'number' || typeof step !== 'number' || wanted >= step;
  }

  /** Whether nobody took the run over. */
  #isOurs() {
    const token = this.#lease?.token ?? this.#given;
    if (token === undefined) return true;
    const now = leases.readLeaseSync(placeOfManager(this.#manager), this.#runId);
    if (now?.token === token) return true;
    const who = now ? `${leases.inWords(now)}, since ${now.since}` : 'nobody';
    this.#say(`run ${this.#runId} was taken over by ${who}: nothing more is recorded here`);
    return false;
  }
}

module.exports = { REFUSALS, StepProcess };
