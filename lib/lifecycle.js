// What happens to a checkpoint after it was taken: its state, what is said of it, whether it must stay.

const { WaymarkError } = require('./error.js');
const { leaseToken } = require('./lease.js');
const { native } = require('./native.js');
const { checkCheckpointId, checkOptions, checkRunId } = require('./options.js');

/**
 * @typedef {import('../native.js').ChangeRequest} ChangeRequest
 * @typedef {import('../native.js').BecomeOutcome} BecomeOutcome
 * @typedef {import('../native.js').Place} Place
 * @typedef {{ place: Place, key: string }} Ground
 * @typedef {'activate' | 'complete' | 'fail' | 'update' | 'pin' | 'unpin'} Verb
 */

const SIGNAL = /** @type {const} */ ({ signal: 'signal' });
const KNOWN = /** @type {const} */ ({
  activate: SIGNAL,
  complete: { update: 'facts', ...SIGNAL },
  fail: { update: 'facts', ...SIGNAL },
  update: SIGNAL,
  pin: { reason: 'string', until: 'time', ...SIGNAL },
  unpin: SIGNAL,
});
const FAILURE = ['name', 'message', 'code', 'stack', 'details'];

/**
 * Any JSON value as text.
 * @param {string} name
 * @param {unknown} value
 */
function toJson(name, value) {
  try {
    const text = JSON.stringify(value);
    if (typeof text === 'string') return text;
  } catch (cause) {
    throw new WaymarkError('ERR_OPTION_INVALID', `option "${name}" can't be written as JSON`, {
      cause,
    });
  }
  throw new WaymarkError('ERR_OPTION_INVALID', `option "${name}" can't be written as JSON`);
}

/**
 * An error, or what is known of one, as JSON text.
 * @param {unknown} error
 */
function failureToJson(error) {
  if (error === undefined || error === null) return undefined;
  if (typeof error === 'string') return toJson('error', { message: error });
  if (typeof error !== 'object' || Array.isArray(error)) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      'option "error" must be an Error, a string, or an object with name, message, code, stack and details',
    );
  }
  const one = /** @type {Record<string, unknown>} */ (error);
  const found = Object.fromEntries(
    FAILURE.filter((name) => one[name] !== undefined && one[name] !== null).map((name) => [
      name,
      name === 'details' ? one[name] : String(one[name]),
    ]),
  );
  if (!(error instanceof Error)) {
    const unknown = Object.keys(one).filter((name) => !FAILURE.includes(name));
    if (unknown.length > 0) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        `error.${unknown[0]} is not known; known are ${FAILURE.join(', ')}`,
      );
    }
  }
  return toJson('error', found);
}

/** @param {Date | string | number | undefined} time */
function toMs(time) {
  return time === undefined ? undefined : new Date(time).getTime();
}

/**
 * What to ask of the addon.
 * @param {Verb} verb
 * @param {unknown} what an update, or an error
 * @param {unknown} options
 */
function asked(verb, what, options) {
  const checked = /** @type {Record<string, any>} */ (checkOptions(options, KNOWN[verb], verb));
  /** @type {ChangeRequest} */
  const request = { verb };
  if (verb === 'fail') request.failure = failureToJson(what);
  if (verb === 'update') {
    if (typeof what !== 'object' || what === null || Array.isArray(what)) {
      throw new WaymarkError('ERR_FACTS_INVALID', 'an update must be an object of facts');
    }
    request.update = toJson('update', what);
  }
  if (checked.update !== undefined) request.update = toJson('update', checked.update);
  if (verb === 'pin') {
    if (checked.reason === undefined) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        'option "reason" is missing; say why the checkpoint must stay',
      );
    }
    request.reason = checked.reason;
    request.untilMs = toMs(checked.until);
  }
  return { request, signal: checked.signal };
}

/**
 * @param {import('./manager.js').Calls} calls
 * @param {(runId: string) => Ground} ground
 * @param {Verb} verb
 * @param {string} runId
 * @param {string} checkpointId
 * @param {unknown} what
 * @param {unknown} options
 * @returns {Promise<BecomeOutcome>}
 */
async function change(calls, ground, verb, runId, checkpointId, what, options) {
  const [run, id] = [checkRunId(runId), checkCheckpointId(checkpointId)];
  const { request, signal } = asked(verb, what, options);
  const { place, key } = ground(run);
  request.lease = leaseToken(place, run);
  return calls.run(signal, (token) => native().change(place, run, id, request, token), key);
}

/**
 * @param {import('./manager.js').Calls} calls
 * @param {(runId: string) => Ground} ground
 * @param {Verb} verb
 * @param {string} runId
 * @param {string} checkpointId
 * @param {unknown} what
 * @param {unknown} options
 * @param {Function} above
 * @returns {BecomeOutcome}
 */
function changeSync(calls, ground, verb, runId, checkpointId, what, options, above) {
  const [run, id] = [checkRunId(runId), checkCheckpointId(checkpointId)];
  const { request, signal } = asked(verb, what, options);
  calls.refuseAborted(signal);
  const { place } = ground(run);
  request.lease = leaseToken(place, run);
  return calls.now((token) => native().changeSync(place, run, id, request, token), above);
}

module.exports = { change, changeSync };
