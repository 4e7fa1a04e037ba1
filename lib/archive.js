// Export and import: what the methods of the manager ask of the addon.

const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { native } = require('./native.js');
const { checkCheckpointId, checkOptions, checkRunId } = require('./options.js');

/**
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').CancelToken} CancelToken
 * @typedef {import('./manager.js').Calls} Calls
 */

const EXPORT = /** @type {const} */ ({
  overwrite: 'boolean',
  allowDamaged: 'boolean',
  signal: 'signal',
  onProgress: 'function',
});
const EXPORT_CHECKPOINT = /** @type {const} */ ({ format: 'string', ...EXPORT });
const IMPORT = /** @type {const} */ ({
  check: 'boolean',
  merge: 'boolean',
  maxBytes: 'number',
  signal: 'signal',
  onProgress: 'function',
});

/**
 * @param {unknown} value
 * @param {string} where
 * @returns {string} an absolute path
 */
function checkPath(value, where) {
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) {
    return path.resolve(value);
  }
  const reason = typeof value !== 'string' ? 'type' : value === '' ? 'empty' : 'nul';
  const message = `${where}: the path must be a non-empty string without a NUL`;
  throw new WaymarkError('ERR_PATH_INVALID', message, { reason });
}

/**
 * @param {unknown[]} words
 * @param {string} where
 */
function exportCheckpointRequest([runId, checkpointId, target, options], where) {
  const {
    format = 'archive',
    overwrite = false,
    allowDamaged = false,
    signal,
    onProgress,
  } = checkOptions(options, EXPORT_CHECKPOINT, where);
  if (!['archive', 'folder'].includes(format)) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      `${where}: option "format" must be 'archive' or 'folder', not ${JSON.stringify(format)}`,
    );
  }
  if (format === 'folder' && overwrite) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      `${where}: option "overwrite" is for archives; a folder is never replaced`,
    );
  }
  const request = {
    checkpointId: checkCheckpointId(checkpointId),
    target: checkPath(target, where),
    overwrite,
    allowDamaged,
  };
  return { id: checkRunId(runId), folder: format === 'folder', request, signal, onProgress };
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown[]} words
 * @returns {Promise<any>} index.d.ts tells by overloads what it is
 */
async function exportCheckpoint({ run }, place, words) {
  const asked = exportCheckpointRequest(words, 'exportCheckpoint');
  const [at, { id, folder, request }] = [place(), asked];
  /** @param {CancelToken | undefined} token @returns {Promise<any>} */
  const call = (token) =>
    folder
      ? native().exportFolder(at, id, request, token)
      : native().exportArchive(at, id, request, token);
  return run(asked.signal, call, undefined, asked.onProgress);
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown[]} words
 * @returns {any}
 */
function exportCheckpointSync({ unwrap, refuseAborted }, place, words) {
  const asked = exportCheckpointRequest(words, 'exportCheckpointSync');
  const { id, folder, request, signal } = asked;
  refuseAborted(signal);
  const done = folder
    ? native().exportFolderSync(place(), id, request)
    : native().exportArchiveSync(place(), id, request);
  return unwrap(done, exportCheckpointSync);
}

/**
 * @param {unknown[]} words
 * @param {string} where
 */
function exportRunRequest([runId, target, options], where) {
  const checked = checkOptions(options, EXPORT, where);
  const { overwrite = false, allowDamaged = false, signal, onProgress } = checked;
  const request = { target: checkPath(target, where), overwrite, allowDamaged };
  return { id: checkRunId(runId), request, signal, onProgress };
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown[]} words
 */
async function exportRun({ run }, place, words) {
  const { id, request, signal, onProgress } = exportRunRequest(words, 'exportRun');
  const at = place();
  const call = (/** @type {CancelToken | undefined} */ token) =>
    native().exportArchive(at, id, request, token);
  return run(signal, call, undefined, onProgress);
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {unknown[]} words
 */
function exportRunSync({ unwrap, refuseAborted }, place, words) {
  const { id, request, signal } = exportRunRequest(words, 'exportRunSync');
  refuseAborted(signal);
  return unwrap(native().exportArchiveSync(place(), id, request), exportRunSync);
}

/**
 * @param {unknown[]} words
 * @param {() => number | undefined} configured the project's budget
 * @param {string} where
 */
function importRequest([file, options], configured, where) {
  const checked = checkOptions(options, IMPORT, where);
  const { check = false, merge = false, maxBytes, signal, onProgress } = checked;
  const request = {
    file: checkPath(file, where),
    merge,
    // An archive can be checked anywhere.
    maxStoreBytes: check ? undefined : (maxBytes ?? configured()),
  };
  return { check, request, signal, onProgress };
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {() => number | undefined} configured
 * @param {unknown[]} words
 */
async function importArchive({ run }, place, configured, words) {
  const asked = importRequest(words, configured, 'importArchive');
  const [at, { check, request }] = [place(), asked];
  const call = (/** @type {CancelToken | undefined} */ token) =>
    check ? native().checkArchive(request.file, token) : native().importArchive(at, request, token);
  return run(asked.signal, call, undefined, asked.onProgress);
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {() => number | undefined} configured
 * @param {unknown[]} words
 */
function importArchiveSync({ now, unwrap, refuseAborted }, place, configured, words) {
  const { check, request, signal } = importRequest(words, configured, 'importArchiveSync');
  refuseAborted(signal);
  if (check) return unwrap(native().checkArchiveSync(request.file), importArchiveSync);
  return now((token) => native().importArchiveSync(place(), request, token), importArchiveSync);
}

module.exports = {
  exportCheckpoint,
  exportCheckpointSync,
  exportRun,
  exportRunSync,
  importArchive,
  importArchiveSync,
};
