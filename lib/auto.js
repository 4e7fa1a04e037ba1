// Automatic checkpoints: taken when enough has happened since the last one, at a moment that the runner
// chooses. No timer: nothing happens between two ticks.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { checkOptions, checkRunId } = require('./options.js');
const { CHECKPOINTS } = require('./task.js');
const { withFacts } = require('./task-values.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').AutoTick} Tick
 * @typedef {import('../index.js').AutoTrigger} Trigger
 *
 * @typedef {object} Limits
 * @property {number} [everyActiveMs]
 * @property {number} idleGapMs
 * @property {{ count?: number, bytes?: number }} [artifacts]
 * @property {number} [progress]
 * @property {boolean} phases
 *
 * What is known at a tick.
 * @typedef {object} Sample
 * @property {number} at in milliseconds
 * @property {number} [count] artifacts in the registry
 * @property {number} [bytes] their sizes together
 * @property {number} [progress] the share that is done
 * @property {string} [phase]
 *
 * What was known at the last checkpoint, and how long was worked since.
 * @typedef {object} Since
 * @property {number} activeMs
 * @property {Sample} base
 * @property {Sample} last
 */

const IDLE_GAP_MS = 5 * 60_000;
const AGENT = 'checkpoint-manager';

const AUTO = /** @type {const} */ ({
  ...CHECKPOINTS,
  everyActiveMs: 'positive',
  idleGapMs: 'positive',
  artifacts: 'any',
  progress: 'number',
  phases: 'boolean',
  strict: 'boolean',
  task: 'any',
  now: 'function',
});
const ARTIFACTS = /** @type {const} */ ({ count: 'positive', bytes: 'positive' });
const TICK = /** @type {const} */ ({
  step: 'step',
  state: 'any',
  phase: 'string',
  progress: 'number',
  registry: 'any',
});

/** The trigger of a checkpoint's facts. @type {Record<Trigger, string>} */
const TRIGGERS = {
  phase: 'phase_transition',
  progress: 'progress',
  artifacts: 'resource',
  time: 'time',
};

/**
 * Whether a checkpoint is due. Knows no clock and no disk.
 * @param {Limits} limits
 * @param {Since | undefined} since `undefined` at the first tick
 * @param {Sample} sample
 * @returns {{ triggers: Trigger[], since: Since }} what is due, the one that tells most first
 */
function decide(limits, since, sample) {
  if (since === undefined) {
    return { triggers: [], since: { activeMs: 0, base: sample, last: sample } };
  }
  const { base, last } = since;
  const gap = sample.at - last.at;
  // Longer than that nobody works between two ticks; and clocks are set back.
  const activeMs = since.activeMs + (gap > 0 && gap <= limits.idleGapMs ? gap : 0);
  /** @type {Trigger[]} */
  const triggers = [];
  if (limits.phases && sample.phase !== undefined && differs(sample.phase, base.phase)) {
    triggers.push('phase');
  }
  // Shares are sums of floats: three tenths are three times a tenth.
  const slack = 1e-9;
  if (
    limits.progress !== undefined &&
    moved(sample.progress, base.progress) >= limits.progress - slack
  ) {
    triggers.push('progress');
  }
  const { count = Infinity, bytes = Infinity } = limits.artifacts ?? {};
  if (moved(sample.count, base.count) >= count || moved(sample.bytes, base.bytes) >= bytes) {
    triggers.push('artifacts');
  }
  if (limits.everyActiveMs !== undefined && activeMs >= limits.everyActiveMs) triggers.push('time');
  return {
    triggers,
    since: { activeMs, base: filled(base, sample), last: filled(last, sample, true) },
  };
}

/** @param {string} phase @param {string | undefined} before */
function differs(phase, before) {
  return before !== undefined && phase !== before;
}

/** @param {number | undefined} now @param {number | undefined} before */
function moved(now, before) {
  return now === undefined || before === undefined ? 0 : Math.abs(now - before);
}

/**
 * What a tick does not tell is as it was told last.
 * @param {Sample} known
 * @param {Sample} sample
 * @param {boolean} [isNewer] the sample wins where both tell
 * @returns {Sample}
 */
function filled(known, sample, isNewer = false) {
  const [first, second] = isNewer ? [sample, known] : [known, sample];
  return {
    at: first.at,
    count: first.count ?? second.count,
    bytes: first.bytes ?? second.bytes,
    progress: first.progress ?? second.progress,
    phase: first.phase ?? second.phase,
  };
}

/**
 * The size of a registry: its artifacts, without checkpoints.
 * @param {any} registry
 * @returns {{ count: number, bytes: number }}
 */
function sizeOf(registry) {
  if (typeof registry?.count === 'number' && registry.artifacts === undefined) {
    return { count: registry.count, bytes: registry.bytes ?? 0 };
  }
  let [count, bytes] = [0, 0];
  for (const entry of Object.values(registry?.artifacts ?? {})) {
    if (entry?.agent === AGENT) continue;
    count += 1;
    const size = entry?.metadata?.size ?? entry?.size;
    if (typeof size === 'number' && size > 0) bytes += size;
  }
  return { count, bytes };
}

/** The registry of a run, read only where its file has changed. */
class Registry {
  /** @type {string | undefined} */
  #stamp;
  /** @type {{ count?: number, bytes?: number }} */
  #size = {};

  /** @param {string} file */
  constructor(file) {
    this.file = file;
  }

  /** @returns {{ count?: number, bytes?: number }} what was known last, where it can't be read now */
  size() {
    try {
      const { mtimeNs, size, ino } = fs.statSync(this.file, { bigint: true });
      const stamp = `${mtimeNs} ${size} ${ino}`;
      if (stamp !== this.#stamp) {
        this.#size = sizeOf(JSON.parse(fs.readFileSync(this.file, 'utf8')));
        this.#stamp = stamp;
      }
    } catch {
      // Missing, or half written by the runner: the next tick looks again.
    }
    return this.#size;
  }
}

/** Takes a checkpoint when one is due. */
class Auto {
  #manager;
  #runId;
  #options;
  #limits;
  #factsKnown;
  /** @type {Since | undefined} */
  #since;
  /** @type {Registry | undefined} */
  #registry;
  /** @type {Promise<unknown>} */
  #turn = Promise.resolve();

  /**
   * @param {Manager} manager
   * @param {boolean} factsKnown
   * @param {unknown} runId
   * @param {unknown} options
   */
  constructor(manager, factsKnown, runId, options) {
    const checked = checkOptions(options, AUTO, 'auto');
    const { everyActiveMs, idleGapMs = IDLE_GAP_MS, progress, phases = false, ...rest } = checked;
    const { artifacts, task, strict = false, now = Date.now, ...how } = rest;
    this.#manager = manager;
    this.#factsKnown = factsKnown;
    this.#runId = checkRunId(runId);
    if (progress !== undefined && !(progress > 0 && progress <= 1)) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        'auto: option "progress" must be a share above 0, at most 1',
      );
    }
    if (task !== undefined && typeof task?.take !== 'function') {
      throw new WaymarkError('ERR_OPTION_INVALID', 'auto: option "task" must be a task');
    }
    if (task !== undefined && task.runId !== this.#runId) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        `auto: option "task" must be one of run ${JSON.stringify(this.#runId)}, not of ${JSON.stringify(task.runId)}`,
      );
    }
    const limited = artifacts && checkOptions(artifacts, ARTIFACTS, 'auto: artifacts');
    this.#limits = { everyActiveMs, idleGapMs, progress, phases, artifacts: limited };
    this.#options = { how, task, strict, now };
  }

  /** How long was worked since the last checkpoint, in milliseconds, up to the last tick. */
  get activeMs() {
    return this.#since?.activeMs ?? 0;
  }

  /**
   * @param {Tick} tick
   * @returns {Promise<import('../index.js').AutoResult>}
   */
  async tick(tick) {
    const checked = checkOptions(tick, TICK, 'tick');
    const { task, now } = this.#options;
    if (checked.step === undefined && task === undefined) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        'tick: give the step that a checkpoint is taken of',
      );
    }
    if (checked.progress !== undefined && !(checked.progress >= 0 && checked.progress <= 1)) {
      throw new WaymarkError('ERR_OPTION_INVALID', 'tick: "progress" must be a share from 0 to 1');
    }
    const at = now();
    const result = this.#turn.then(() => this.#tick(checked, at));
    this.#turn = result.catch(() => {});
    return result;
  }

  /** @param {Record<string, any>} tick @param {number} at */
  async #tick({ step, state, phase, progress, registry }, at) {
    const sample = { at, phase, progress, ...this.#size(registry) };
    const { triggers, since } = decide(this.#limits, this.#since, sample);
    this.#since = since;
    const { activeMs } = since;
    const [trigger] = triggers;
    if (trigger === undefined) return { taken: false, triggers, activeMs };
    try {
      const checkpoint = await this.#take(step, state, trigger, since.last);
      this.#since = { activeMs: 0, base: since.last, last: since.last };
      return { taken: true, trigger, triggers, activeMs, checkpoint };
    } catch (error) {
      // It stays due. The runner's step is worth more than a checkpoint of it.
      if (this.#options.strict) throw error;
      return { taken: false, trigger, triggers, activeMs, error };
    }
  }

  /** @param {unknown} registry @returns {{ count?: number, bytes?: number }} */
  #size(registry) {
    if (registry !== undefined) return sizeOf(registry);
    if (this.#limits.artifacts === undefined) return {};
    if (this.#registry === undefined) {
      const runsDir = this.#manager.runsDir(this.#runId);
      this.#registry = new Registry(path.join(runsDir, this.#runId, 'artifact-registry.json'));
    }
    return this.#registry.size();
  }

  /**
   * @param {import('../index.js').Step | undefined} step
   * @param {unknown} state
   * @param {Trigger} trigger
   * @param {Sample} sample
   */
  async #take(step, state, trigger, { phase, progress }) {
    const { task, how } = this.#options;
    const facts = {
      type: 'automatic',
      trigger: TRIGGERS[trigger],
      ...(phase === undefined ? {} : { phase }),
      ...(progress === undefined ? {} : { progress: { done: progress, total: 1 } }),
    };
    if (task) {
      if (state !== undefined) task.state = state;
      return task.take(step ?? task.name, facts);
    }
    const options = withFacts(this.#factsKnown, how, facts);
    const { checkpointId, sequence, timestamp } = await this.#manager.create(
      this.#runId,
      /** @type {import('../index.js').Step} */ (step),
      state ?? {},
      options,
    );
    return { checkpointId, sequence, timestamp };
  }
}

module.exports = { Auto, decide, sizeOf };
