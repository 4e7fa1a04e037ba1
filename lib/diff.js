// Differences: of two checkpoints, or of one and the disk.

const { WaymarkError } = require('./error.js');
const { bytesOf, withBytes } = require('./files.js');
const { native } = require('./native.js');
const { checkCheckpointId, checkOptions, checkRunId } = require('./options.js');

/**
 * @typedef {import('./manager.js').Calls} Calls
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').CaptureRequest} CaptureRequest
 * @typedef {import('../index.js').DiffResult} DiffResult
 */

const LIMIT = 200;
const FILE_LIMIT = 1000;
const MAX_BYTES = 1024 * 1024;

const DIFF = /** @type {const} */ ({
  text: 'text',
  maxBytes: 'count',
  limit: 'count',
  fileLimit: 'count',
  times: 'boolean',
  capture: 'capture',
  signal: 'signal',
  onProgress: 'function',
});

/**
 * @param {unknown} from
 * @param {unknown} to
 * @param {Record<string, any>} options checked
 * @param {(capture: any) => CaptureRequest | undefined} captureOf
 */
function requestOf(from, to, options, captureOf) {
  const disk = to === undefined || to === null;
  if (!disk && options.capture !== undefined) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      'diff: option "capture" says how the disk is looked at; it can\'t be given with a second checkpoint',
    );
  }
  const { text = false } = options;
  return {
    from: checkCheckpointId(from),
    to: disk ? undefined : checkCheckpointId(to),
    capture: disk ? captureOf(options.capture) : undefined,
    text: Array.isArray(text) ? text.map(bytesOf) : text,
    maxBytes: options.maxBytes ?? MAX_BYTES,
    limit: options.limit ?? LIMIT,
    fileLimit: options.fileLimit ?? FILE_LIMIT,
    times: options.times ?? false,
  };
}

/** @param {string} text @returns {DiffResult} */
function resultOf(text) {
  const found = JSON.parse(text);
  for (const change of found.files.changes) {
    withBytes(change);
    if (change.before) withBytes(change.before);
    if (change.after) withBytes(change.after);
  }
  return found;
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {(capture: any) => CaptureRequest | undefined} captureOf
 * @param {unknown[]} words run, from, to, options
 * @returns {Promise<DiffResult>}
 */
async function diff(calls, place, captureOf, [runId, from, to, options]) {
  const checked = checkOptions(options, DIFF, 'diff');
  const run = checkRunId(runId);
  const request = requestOf(from, to, checked, captureOf);
  const at = place();
  const text = await calls.run(
    checked.signal,
    (token) => native().diff(at, run, request, token),
    undefined,
    checked.onProgress,
  );
  return resultOf(text);
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {(capture: any) => CaptureRequest | undefined} captureOf
 * @param {unknown[]} words run, from, to, options
 * @returns {DiffResult}
 */
function diffSync(calls, place, captureOf, [runId, from, to, options]) {
  const checked = checkOptions(options, DIFF, 'diffSync');
  const run = checkRunId(runId);
  const request = requestOf(from, to, checked, captureOf);
  calls.refuseAborted(checked.signal);
  return resultOf(calls.unwrap(native().diffSync(place(), run, request), diffSync));
}

module.exports = { diff, diffSync };
