// Files by hash, for the collectors. What was hashed once is not read again while it looks the same.

const { WaymarkError } = require('../error.js');
const { native } = require('../native.js');

const KEPT = 256;

/** @type {Map<string, { stamp: string, hash: string }>} */
const known = new Map();

/**
 * The SHA-256 of a content. Not by `node:crypto`: loading that keeps a step's first line waiting.
 * @param {string | Buffer} content
 * @returns {string}
 */
function hashOf(content) {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const hash = native().sha256Sync(bytes);
  if (typeof hash !== 'string') throw WaymarkError.from(hash, hashOf);
  return hash;
}

/** A file that was changed so recently, in milliseconds, may be changed again and look the same: times are coarse. */
const RACY_MS = 2_000;

/** @param {string} file @param {string} stamp @param {string} hash @returns {string} */
function keep(file, stamp, hash) {
  const modifiedNs = stamp.split(' ')[1];
  if (Date.now() - Number(modifiedNs) / 1e6 < RACY_MS) return hash;
  if (known.size >= KEPT) known.clear();
  known.set(file, { stamp, hash });
  return hash;
}

/** @param {string[]} files @returns {import('../../native.js').FileToHash[]} */
function asked(files) {
  return files.map((path) => ({ path, ...known.get(path) }));
}

/**
 * @param {string[]} files
 * @param {import('../../native.js').Failure | import('../../native.js').HashedFile[]} found
 * @returns {(string | null)[]}
 */
function told(files, found) {
  if (!Array.isArray(found)) throw WaymarkError.from(found, told);
  return found.map(({ told, stamp }, at) => {
    if (told === undefined) return null;
    return stamp === undefined ? told : keep(files[at], stamp, told);
  });
}

/**
 * The SHA-256 of files; null for one that is not there. All in one go: each hop to another thread costs more than reading
 * a small file.
 * @param {string[]} files
 */
async function hashFiles(files) {
  return told(files, await native().hashFiles(asked(files)));
}

/** The same, blocking. @param {string[]} files */
function hashFilesSync(files) {
  return told(files, native().hashFilesSync(asked(files)));
}

module.exports = { hashFiles, hashFilesSync, hashOf };
