// A pause: asked for durably, and honoured between two steps. Nothing is taken away from a step that is at work.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { checkOptions, checkRunId, checkStep } = require('./options.js');
const { leftAtWork } = require('./left-at-work.js');
const { takeLeaseSync } = require('./lease.js');
const { placeOfManager } = require('./place.js');
const runStates = require('./run-state.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('./run-states.js').PauseRequest} PauseRequest
 * @typedef {import('./run-state.js').Look} Look
 */

/** The exit code of a process whose run was paused: EX_TEMPFAIL of sysexits.h. */
const EXIT_PAUSED = 75;

const PAUSE = /** @type {const} */ ({
  reason: 'string',
  afterStep: 'step',
  by: 'string',
  workflow: 'string',
});
const BOUNDARY = /** @type {const} */ ({ workflow: 'string' });

/**
 * Asks for a pause. Where nobody is at work and no step is waited for, the run is paused at once.
 * @param {Manager} manager
 * @param {unknown} runId
 * @param {import('../index.js').PauseOptions} [options]
 * @returns {import('../index.js').PauseResult}
 */
function pause(manager, runId, options) {
  const run = checkRunId(runId);
  const checked = checkOptions(options, PAUSE, 'pause');
  const { reason, afterStep, by = runStates.whoami(), workflow } = checked;
  if (afterStep !== undefined) checkStep(afterStep);
  // Whoever takes the lease below takes the trace of a dead holder with it.
  runStates.noteCrash(manager, run, Infinity);
  const seen = runStates.look(manager, run);
  const order = orderOf(seen, workflow, afterStep);
  const { state, record } = runStates.known(seen, Date.now());
  // One that only waits in the runner's words goes on as soon as somebody says so.
  const isPaused = state === 'paused' && record.pausedFor !== undefined;
  if (isPaused && afterStep === undefined) return resultOf(manager, run, false);
  if (state !== 'running' && !runStates.isLegal(state, 'paused')) {
    throw runStates.illegal(run, state, 'paused', record);
  }
  const request = { ...(reason === undefined ? {} : { reason }), at: '', by, afterStep };
  // A step that is to come is waited for.
  const waits =
    afterStep !== undefined &&
    (record.lastStep === undefined || !runStates.isDue(request, record.lastStep, order));
  const isFree = !seen.lease?.live && leftAtWork(placeOfManager(manager), run).length === 0;
  if (!waits && isFree) {
    const taken = tryLease(manager, run);
    if (taken) {
      try {
        honour(manager, run, request);
      } finally {
        taken.releaseSync();
      }
      return resultOf(manager, run, false);
    }
  }
  ask(manager, run, request);
  return resultOf(manager, run, true);
}

/**
 * @param {Manager} manager
 * @param {string} run
 */
function tryLease(manager, run) {
  try {
    return takeLeaseSync(placeOfManager(manager), run, {
      holder: `${runStates.whoami()} (pause)`,
      keep: false,
    });
  } catch (error) {
    // Somebody went on with it in this moment: then it is asked for.
    if (/** @type {{ code?: unknown }} */ (error).code === 'ERR_LEASE_HELD') return undefined;
    throw error;
  }
}

/**
 * Writes down that a pause is asked for.
 * @param {Manager} manager
 * @param {string} runId
 * @param {Omit<PauseRequest, 'at'>} request
 */
function ask(manager, runId, request) {
  return runStates.change(manager, runId, (seen, now) => {
    const { state, record } = runStates.known(seen, now);
    const { status, changedMs } = seen;
    return {
      ...record,
      state,
      status: status ?? null,
      changedMs: changedMs ?? null,
      pauseRequest: { ...request, at: new Date(now).toISOString() },
    };
  });
}

/**
 * Pauses a run that is between two steps. Whoever calls it holds the run.
 * @param {Manager} manager
 * @param {string} runId
 * @param {Omit<PauseRequest, 'at'> & { at?: string }} request
 * @param {(record: import('./run-states.js').StateRecord) => import('./run-states.js').StateRecord} [change]
 */
function honour(manager, runId, request, change) {
  const { by, reason } = request;
  const pausedFor = { ...request, at: request.at || new Date().toISOString() };
  return runStates.moveRunState(manager, runId, 'paused', {
    by,
    reason,
    change: ({ pauseRequest: _, ...rest }) => {
      const record = { ...rest, pausedFor };
      return change ? change(record) : record;
    },
  });
}

/**
 * Takes back what was asked for. A run that is paused stays so.
 * @param {Manager} manager
 * @param {unknown} runId
 * @returns {{ runId: string, withdrawn: boolean }}
 */
function withdrawPause(manager, runId) {
  const run = checkRunId(runId);
  let withdrawn = false;
  runStates.change(manager, run, (seen) => {
    withdrawn = seen.record?.pauseRequest !== undefined;
    if (seen.record === undefined || !withdrawn) return undefined;
    const { pauseRequest: _, ...record } = seen.record;
    return record;
  });
  return { runId: run, withdrawn };
}

/**
 * A runner's word that a step is done. If a pause is due here, a checkpoint is taken and the run is paused.
 * @param {Manager} manager
 * @param {unknown} runId
 * @param {Step} step
 * @param {unknown} state
 * @param {import('../index.js').BoundaryOptions} [options]
 * @returns {Promise<import('../index.js').BoundaryResult>}
 */
async function boundary(manager, runId, step, state, options = {}) {
  const { workflow, ...create } = options;
  checkOptions({ workflow }, BOUNDARY, 'boundary');
  const run = checkRunId(runId);
  checkStep(step);
  const seen = runStates.look(manager, run);
  const request = seen.record?.pauseRequest;
  const order = request?.afterStep === undefined ? undefined : orderOf(seen, workflow);
  if (!runStates.isDue(request, step, order)) {
    return { paused: false };
  }
  const asked = /** @type {PauseRequest} */ (request);
  const checkpoint = await manager.create(run, step, state, create);
  honour(manager, run, asked, (record) => ({ ...record, lastStep: step }));
  const { reason, by, at } = asked;
  return { paused: true, reason, by, at, checkpoint };
}

/**
 * The order of the workflow's steps; of a step that is asked for it is seen whether there is such a one.
 * @param {Look} seen
 * @param {string | undefined} named the workflow file, where it was named
 * @param {Step} [wanted]
 * @returns {Step[] | undefined} `undefined` if the file is not known
 */
function orderOf(seen, named, wanted) {
  const file = named ?? workflowOf(seen);
  if (file === undefined) return undefined;
  const { readSteps } = require('./workflow.js');
  let order;
  try {
    order = readSteps(file).map((one) => one.step);
  } catch (error) {
    if (named !== undefined) throw error;
    // What the run's record names may be meant from another folder.
    return undefined;
  }
  if (wanted !== undefined && !order.includes(wanted)) throw noSuchStep(file, wanted, order);
  return order;
}

/**
 * @param {string} file
 * @param {Step} step
 * @param {Step[]} order
 */
function noSuchStep(file, step, order) {
  return new WaymarkError(
    'ERR_WORKFLOW_STEP_MISSING',
    `the workflow file ${file} does not list step ${step}, after which the run is to be paused (it lists ${order.join(', ')}); nothing was changed`,
    { path: file },
  );
}

/**
 * The workflow file that the run's own record names, if it is there.
 * @param {Pick<Look, 'json' | 'record' | 'runDir'>} seen
 * @returns {string | undefined}
 */
function workflowOf({ json, record, runDir }) {
  const named = record?.runner?.workflow ?? json?.selected_workflow;
  if (typeof named !== 'string' || named === '') return undefined;
  const claude = runDir.lastIndexOf(`${path.sep}.claude${path.sep}`);
  const bases = [claude === -1 ? undefined : runDir.slice(0, claude), process.cwd()];
  return bases
    .filter((base) => base !== undefined)
    .map((base) => path.resolve(/** @type {string} */ (base), named))
    .find((file) => fs.existsSync(file));
}

/**
 * @param {Manager} manager
 * @param {string} runId
 * @param {boolean} pending
 * @returns {import('../index.js').PauseResult}
 */
function resultOf(manager, runId, pending) {
  const { state, holder, pauseRequest } = runStates.runState(manager, runId);
  const afterStep = pauseRequest?.afterStep;
  return {
    runId,
    state,
    pending,
    ...(afterStep === undefined ? {} : { afterStep }),
    ...(holder === undefined ? {} : { holder }),
  };
}

module.exports = {
  EXIT_PAUSED,
  ask,
  boundary,
  honour,
  noSuchStep,
  orderOf,
  pause,
  withdrawPause,
  workflowOf,
};
