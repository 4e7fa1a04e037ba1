// What the supervisor takes from the other parts: the lease, the run's state, the pause, the caller's splitter.

const path = require('node:path');
const { WaymarkError } = require('../error.js');
const { leftAtWork } = require('../left-at-work.js');
const { readLeaseSync } = require('../lease.js');
const { honour, withdrawPause } = require('../pause.js');
const { placeOfManager } = require('../place.js');
const states = require('../run-state.js');

/**
 * @typedef {import('../../index.js').CheckpointManager} Manager
 * @typedef {import('../../index.js').Step} Step
 */

/**
 * Takes the run, and keeps it while this process lives.
 * @param {Manager} manager
 * @param {string} runId
 */
function takeLease(manager, runId) {
  const lease = manager.leaseSync(runId, { holder: `${states.whoami()} (waymark run)` });
  return {
    env: lease.environment,
    /** Whether somebody else has taken the run over. */
    isLost: () => lease.lost,
    release: () => {
      try {
        lease.releaseSync();
      } catch {
        // It was lost, or can't be given back: it ends with this process.
      }
    },
  };
}

/** Whether somebody is at work on the run now. @param {Manager} manager @param {string} runId */
function isHeld(manager, runId) {
  return readLeaseSync(placeOfManager(manager), runId)?.live === true;
}

/**
 * Steps that are at work although whoever held the run is gone, in the form of those that a supervisor keeps.
 * @param {Manager} manager
 * @param {string} runId
 * @returns {import('./left-over.js').UnderWay[]}
 */
function left(manager, runId) {
  return leftAtWork(placeOfManager(manager), runId).map((one) => ({
    attempt: 1,
    worker: 'default',
    step: '?',
    ...one,
    host: one.host ?? '',
    started: one.started ?? null,
  }));
}

/**
 * @param {Manager} manager
 * @param {string} runId
 * @param {import('../../index.js').RunStateName} to
 * @param {{ by: string, reason?: string, again?: boolean }} how
 */
function moveRunState(manager, runId, to, how) {
  return states.moveRunState(manager, runId, to, how);
}

/**
 * Says that a run that was put back goes on.
 * @param {Manager} manager
 * @param {string} runId
 * @param {import('../../index.js').RunStateName | undefined} from
 * @param {Step | null} step the last one that is done
 * @param {import('../workflow.js').WorkflowStep[]} steps
 */
function noteResumed(manager, runId, from, step, steps) {
  const order = steps.map((one) => one.step);
  states.noteResumed(manager, runId, from, { by: 'supervisor', step, order });
}

/**
 * The pause that is due now.
 * @param {Manager} manager
 * @param {string} runId
 * @param {Step | undefined} last the step that was done last
 * @param {import('../workflow.js').WorkflowStep[]} steps
 * @returns {{ by: string, reason?: string } | undefined}
 */
function pauseRequest(manager, runId, last, steps) {
  let seen;
  try {
    seen = states.look(manager, runId);
  } catch (error) {
    const { code } = /** @type {{ code?: unknown }} */ (error);
    // Before its first step the run may have no folder.
    if (code === 'ERR_RUN_NOT_FOUND' || code === 'ERR_RUNS_DIR_NOT_FOUND') return undefined;
    throw error;
  }
  const asked = seen.record?.pauseRequest;
  if (asked === undefined) return undefined;
  const order = steps.map((one) => one.step);
  const isDue =
    asked.afterStep === undefined || (last !== undefined && states.isDue(asked, last, order));
  return isDue ? asked : undefined;
}

/**
 * A step that was ended because its time was over took that for somebody's SIGTERM, and asked for a pause by it.
 * @param {Manager} manager
 * @param {string} runId
 */
function forgetTerm(manager, runId) {
  try {
    const asked = states.look(manager, runId).record?.pauseRequest;
    if (asked?.by === 'SIGTERM') withdrawPause(manager, runId);
  } catch (error) {
    const { code } = /** @type {{ code?: unknown }} */ (error);
    // Before its first step the run may have no folder; and what is damaged is begun anew by the next attempt.
    const isNone = code === 'ERR_RUN_NOT_FOUND' || code === 'ERR_RUNS_DIR_NOT_FOUND';
    if (!isNone && code !== 'ERR_RECORD_DAMAGED') throw error;
  }
}

/** Why the run is in its state. @param {Manager} manager @param {string} runId @returns {string | undefined} */
function reasonOf(manager, runId) {
  try {
    return states.runState(manager, runId).reason;
  } catch {
    // It is only told.
    return undefined;
  }
}

/** @param {Manager} manager @param {string} runId @param {{ by: string, reason?: string }} asked */
function honourPause(manager, runId, asked) {
  honour(manager, runId, asked);
}

/**
 * The caller's splitter: a module that exports `split` and `merge`.
 * @param {string} name its path, relative to the working directory
 * @returns {Promise<import('../recovery/parts.js').Splitter>}
 */
async function splitterFrom(name) {
  const file = path.resolve(name);
  const { pathToFileURL } = require('node:url');
  let found;
  try {
    found = await import(pathToFileURL(file).href);
  } catch (cause) {
    throw new WaymarkError(
      'ERR_RECOVERY_SPLIT_INVALID',
      `the splitter ${file} can't be loaded: ${/** @type {Error} */ (cause).message}`,
      { path: file, cause },
    );
  }
  const { split = found.default?.split, merge = found.default?.merge } = found;
  if (typeof split !== 'function' || typeof merge !== 'function') {
    throw new WaymarkError(
      'ERR_RECOVERY_SPLIT_INVALID',
      `the splitter ${file} must export the functions split and merge`,
      { path: file },
    );
  }
  return { split, merge };
}

module.exports = {
  forgetTerm,
  honourPause,
  isHeld,
  left,
  moveRunState,
  noteResumed,
  pauseRequest,
  splitterFrom,
  reasonOf,
  takeLease,
};
