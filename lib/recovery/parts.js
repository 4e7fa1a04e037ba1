// Work that is too large, done in parts: the caller's splitter makes them, each is done in a run of its own that begins
// where this one is, and their results become one. How it was split and which parts are done is durable, so that
// nothing is split twice or done again.

const { createHash } = require('node:crypto');
const { WaymarkError } = require('../error.js');
const { pursue, Waits } = require('./pursue.js');

/**
 * @typedef {import('../../index.js').CheckpointManager} Manager
 * @typedef {import('../../index.js').FailureRecord} FailureRecord
 * @typedef {import('../../index.js').Step} Step
 * @typedef {import('../../index.js').WorkPart} Part
 * @typedef {import('../../index.js').DonePart} DonePart
 *
 * @typedef {object} Splitter
 * @property {(about: { runId: string, step: Step, failure: FailureRecord }) => Part[] | Promise<Part[]>} split
 * @property {(parts: { runId: string, step: Step, parts: DonePart[] }) => any} merge
 */

const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const PARTS_MAX = 100;

/**
 * @param {object} about
 * @param {Manager} about.manager
 * @param {string} about.runId
 * @param {Step} about.step
 * @param {InstanceType<typeof import('./kept.js')['Kept']>} about.kept the run's records
 * @param {import('./pursue.js').Ground} about.ground
 * @param {FailureRecord} about.failure
 * @param {Splitter} about.splitter
 * @param {(one: { part: Part, run: string, attempt: number, worker: string }) => Promise<any>} about.work
 * @returns {Promise<{ result: any, subtasks: import('../../index.js').Link[] }>}
 */
async function inParts({ manager, runId, step, kept, ground, failure, splitter, work }) {
  const name = `parts-${createHash('sha256').update(JSON.stringify(step)).digest('hex').slice(0, 16)}`;
  const before = await kept.read(name);
  if (before?.failureId !== failure.id) {
    const parts = checked(await splitter.split({ runId, step, failure }), runId, step);
    await kept.change(name, () => ({ format: 1, step, failureId: failure.id, parts, done: {} }));
  }
  const { parts, done } = await kept.read(name);
  /** @type {DonePart[]} */
  const finished = [];
  for (const part of parts) {
    const run = runOf(runId, step, failure, part);
    if (!Object.hasOwn(done, part.name)) {
      await begin(manager, runId, run, failure.context.checkpointId);
      const outcome = await pursue(ground, {
        step,
        subtask: part.name,
        work: ({ attempt, worker }) => work({ part, run, attempt, worker }),
        before: () => putBack(manager, run),
        checkpoint: () => newest(manager, run),
      });
      if (outcome.how === 'paused') throw new Waits(outcome);
      if (outcome.how === 'failed') {
        throw new WaymarkError(
          'ERR_RECOVERY_PART_FAILED',
          `part ${part.name} of step ${step} ${outcome.failure?.message}`,
          { runId: run },
        );
      }
      const result = outcome.result ?? null;
      const checkpointId = await checkpointOf(manager, { run, runId, step, part, result });
      done[part.name] = { run, checkpointId, result };
      await kept.change(name, (now) => ({ ...now, done }));
    }
    finished.push({ name: part.name, part, ...done[part.name] });
  }
  const result = await splitter.merge({ runId, step, parts: finished });
  const subtasks = finished.map((one) => ({ run: one.run, checkpoint: one.checkpointId }));
  return { result, subtasks };
}

/**
 * @param {unknown} parts
 * @param {string} runId
 * @param {Step} step
 * @returns {Part[]}
 */
function checked(parts, runId, step) {
  /** @param {string} why */
  const invalid = (why) =>
    new WaymarkError('ERR_RECOVERY_SPLIT_INVALID', `the splitter's parts of step ${step}: ${why}`, {
      runId,
    });
  if (!Array.isArray(parts) || parts.length === 0 || parts.length > PARTS_MAX) {
    throw invalid(`give an array of 1 to ${PARTS_MAX}`);
  }
  const names = new Set();
  for (const part of parts) {
    if (!NAME.test(part?.name))
      throw invalid('each needs a name of a-z, A-Z, 0-9, "_" and "-", up to 64');
    if (names.has(part.name)) throw invalid(`${part.name} is there twice`);
    names.add(part.name);
  }
  // What is kept is JSON, and so is what a process that takes over works with.
  return JSON.parse(JSON.stringify(parts));
}

/** @param {string} runId @param {Step} step @param {FailureRecord} failure @param {Part} part */
function runOf(runId, step, failure, part) {
  const step_ = String(step)
    .replace(/[^\w.-]/g, '_')
    .replace(/\.{2,}/g, '.');
  const id = `${runId}.${step_}.${part.name}-${failure.id.slice(2)}`;
  if (id.length <= 255) return id;
  return `part.${createHash('sha256').update(id).digest('hex').slice(0, 32)}.${part.name}`;
}

/**
 * A part's run begins where this one is; one that has no checkpoint yet is left to the work to begin.
 * @param {Manager} manager
 * @param {string} runId
 * @param {string} run
 * @param {string | null} checkpointId
 */
async function begin(manager, runId, run, checkpointId) {
  if (checkpointId === null) return;
  try {
    await manager.fork(runId, run, { checkpointId });
  } catch (error) {
    if (/** @type {{ code?: unknown }} */ (error).code !== 'ERR_RUN_EXISTS') throw error;
  }
}

/**
 * What an attempt at a part left behind is put away before the next.
 * @param {Manager} manager
 * @param {string} run
 */
async function putBack(manager, run) {
  const checkpointId = newest(manager, run);
  if (checkpointId === null) return;
  try {
    await manager.restore(run, { checkpointId });
  } catch (error) {
    if (/** @type {{ code?: unknown }} */ (error).code !== 'ERR_RESTORE_CONFLICT') throw error;
    await manager.restore(run, { checkpointId, files: false });
  }
}

/**
 * The checkpoint of a part: the one that its work has taken, or one that is taken now; linked to the run it is for.
 * @param {Manager} manager
 * @param {{ run: string, runId: string, step: Step, part: Part, result: any }} of
 */
async function checkpointOf(manager, { run, runId, step, part, result }) {
  const [last] = await manager.list(run);
  const facts = {
    task: part.name,
    labels: ['part'],
    parent: { run: runId, checkpoint: newest(manager, runId) ?? undefined },
  };
  if (last?.step === step) return last.checkpointId;
  const made = await manager.create(run, step, { part: part.name, result }, { facts });
  return made.checkpointId;
}

/** @param {Manager} manager @param {string} runId @returns {string | null} */
function newest(manager, runId) {
  try {
    return manager.listSync(runId)[0]?.checkpointId ?? null;
  } catch (error) {
    const { code } = /** @type {{ code?: unknown }} */ (error);
    if (code === 'ERR_RUN_NOT_FOUND' || code === 'ERR_RUNS_DIR_NOT_FOUND') return null;
    throw error;
  }
}

module.exports = { inParts, newest };
