// Forks: another run that begins where a run was at a checkpoint.

const { native } = require('./native.js');
const { checkOptions, checkRunId, checkStep } = require('./options.js');
const { WaymarkError } = require('./error.js');

/**
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').ForkOutcome} ForkOutcome
 * @typedef {{ place: Place, key: string, maxBytes: number | undefined }} Ground
 */

const FORK = /** @type {const} */ ({
  checkpointId: 'id',
  step: 'step',
  signal: 'signal',
  onProgress: 'function',
});

/**
 * @param {unknown} runId
 * @param {unknown} newRunId
 * @param {unknown} options
 * @param {string} where
 */
function asked(runId, newRunId, options, where) {
  const { checkpointId, step, signal, onProgress } = checkOptions(options, FORK, where);
  if (checkpointId !== undefined && step !== undefined) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      `${where}: give "checkpointId" or "step", not both`,
    );
  }
  return {
    run: checkRunId(runId),
    request: {
      runId: checkRunId(newRunId),
      checkpointId,
      step: step === undefined ? undefined : checkStep(step),
    },
    signal,
    onProgress,
  };
}

/**
 * @param {import('./manager.js').Calls} calls
 * @param {(runId: string) => Ground} ground
 * @param {string} runId
 * @param {string} newRunId
 * @param {unknown} options
 * @returns {Promise<ForkOutcome>}
 */
async function fork(calls, ground, runId, newRunId, options) {
  const { run, request, signal, onProgress } = asked(runId, newRunId, options, 'fork');
  const { place, key, maxBytes } = ground(run);
  const wanted = { ...request, maxStoreBytes: maxBytes };
  const call = (/** @type {any} */ token) => native().fork(place, run, wanted, token);
  return calls.run(signal, call, key, onProgress);
}

/**
 * @param {import('./manager.js').Calls} calls
 * @param {(runId: string) => Ground} ground
 * @param {string} runId
 * @param {string} newRunId
 * @param {unknown} options
 * @param {Function} above
 * @returns {ForkOutcome}
 */
function forkSync(calls, ground, runId, newRunId, options, above) {
  const { run, request, signal } = asked(runId, newRunId, options, 'forkSync');
  calls.refuseAborted(signal);
  const { place, maxBytes } = ground(run);
  const wanted = { ...request, maxStoreBytes: maxBytes };
  return calls.now((token) => native().forkSync(place, run, wanted, token), above);
}

module.exports = { fork, forkSync };
