// Captured files: listed in pages, so that a hundred thousand of them never hold up the event loop,
// and read one by one.

const { WaymarkError } = require('./error.js');
const { native } = require('./native.js');
const { checkCheckpointId, checkOptions, checkRunId } = require('./options.js');

/**
 * @typedef {import('./manager.js').Calls} Calls
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../index.js').CapturedFile} CapturedFile
 */

/** So many entries cross at once: less than a millisecond of parsing. */
const PAGE = 500;
/** The largest file that is read unless the caller sets another limit, in bytes. */
const MAX_BYTES = 256 * 1024 * 1024;

const FILES = /** @type {const} */ ({ root: 'string', under: 'path', signal: 'signal' });
const READ = /** @type {const} */ ({
  root: 'string',
  maxBytes: 'count',
  signal: 'signal',
  onProgress: 'function',
});

/** @param {string | Uint8Array} path @returns {Buffer} */
const bytesOf = (path) => Buffer.from(/** @type {string} */ (path));

/**
 * @param {unknown} value
 * @returns {string | Uint8Array}
 */
function checkPath(value) {
  if ((typeof value === 'string' || value instanceof Uint8Array) && value.length > 0) return value;
  throw new WaymarkError(
    'ERR_PATH_INVALID',
    'the path must be a non-empty string, or bytes (pathBytes)',
    { reason: value === '' ? 'empty' : 'type' },
  );
}

/**
 * @param {string} text a page
 * @returns {{ entries: CapturedFile[], done: boolean }}
 */
function page(text) {
  const found = JSON.parse(text);
  for (const entry of found.entries) withBytes(entry);
  return found;
}

/**
 * Turns what is base64 into bytes.
 * @param {Record<string, any>} entry
 */
function withBytes(entry) {
  for (const name of ['pathBytes', 'targetBytes', 'besideBytes']) {
    if (entry[name] !== undefined) entry[name] = Buffer.from(entry[name], 'base64');
  }
}

/**
 * @param {Place} place
 * @param {unknown} runId
 * @param {unknown} checkpointId
 * @param {Record<string, any>} options checked
 */
function walkOf(place, runId, checkpointId, { root, under }) {
  const [run, id] = [checkRunId(runId), checkCheckpointId(checkpointId)];
  const walk = native().FileWalk;
  return new walk(place, run, id, root, under === undefined ? undefined : bytesOf(under));
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown} runId
 * @param {unknown} checkpointId
 * @param {unknown} options
 * @returns {AsyncGenerator<CapturedFile, void, void>}
 */
async function* files(calls, place, runId, checkpointId, options) {
  const checked = checkOptions(options, FILES, 'files');
  const walk = walkOf(place(), runId, checkpointId, checked);
  for (let done = false; !done; ) {
    const text = await calls.run(checked.signal, (token) => walk.next(PAGE, token), undefined);
    const next = page(text);
    yield* next.entries;
    done = next.done;
  }
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown} runId
 * @param {unknown} checkpointId
 * @param {unknown} options
 * @returns {CapturedFile[]}
 */
function filesSync(calls, place, runId, checkpointId, options) {
  const checked = checkOptions(options, FILES, 'filesSync');
  calls.refuseAborted(checked.signal);
  const walk = walkOf(place(), runId, checkpointId, checked);
  /** @type {CapturedFile[]} */
  const all = [];
  for (let done = false; !done; ) {
    const next = page(calls.unwrap(walk.nextSync(PAGE), filesSync));
    for (const entry of next.entries) all.push(entry);
    done = next.done;
  }
  return all;
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown} runId
 * @param {unknown} checkpointId
 * @param {unknown} path
 * @param {unknown} options
 * @returns {Promise<Buffer>}
 */
async function readFile(calls, place, runId, checkpointId, path, options) {
  const { signal, onProgress, root, maxBytes } = checkOptions(options, READ, 'readFile');
  const [run, id] = [checkRunId(runId), checkCheckpointId(checkpointId)];
  const [bytes, limit] = [bytesOf(checkPath(path)), maxBytes ?? MAX_BYTES];
  const at = place();
  return calls.run(
    signal,
    (token) => native().readFile(at, run, id, root, bytes, limit, token),
    undefined,
    onProgress,
  );
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown} runId
 * @param {unknown} checkpointId
 * @param {unknown} path
 * @param {unknown} options
 * @returns {Buffer}
 */
function readFileSync(calls, place, runId, checkpointId, path, options) {
  const { signal, root, maxBytes } = checkOptions(options, READ, 'readFileSync');
  const [run, id] = [checkRunId(runId), checkCheckpointId(checkpointId)];
  const bytes = bytesOf(checkPath(path));
  calls.refuseAborted(signal);
  return calls.unwrap(
    native().readFileSync(place(), run, id, root, bytes, maxBytes ?? MAX_BYTES),
    readFileSync,
  );
}

module.exports = { bytesOf, files, filesSync, readFile, readFileSync, withBytes };
