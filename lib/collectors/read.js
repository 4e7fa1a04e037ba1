// Files by hash, for the collectors. What was hashed once is not read again while it looks the same.

const fs = require('node:fs');
const { WaymarkError } = require('../error.js');
const { native } = require('../native.js');

/** Larger files are known by size and time alone, in bytes. */
const MAX_BYTES = 16 * 1024 * 1024;
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

/** @param {string} file @param {string} stamp @param {string} hash */
function keep(file, stamp, hash) {
  if (known.size >= KEPT) known.clear();
  known.set(file, { stamp, hash });
  return hash;
}

/** @param {import('node:fs').BigIntStats} found */
function stampOf({ size, mtimeNs, ino, ctimeNs }) {
  return `${size} ${mtimeNs} ${ctimeNs} ${ino}`;
}

/** @param {unknown} error @returns {null} for what is not there */
function unlessMissing(error) {
  const { code } = /** @type {NodeJS.ErrnoException} */ (error);
  if (code === 'ENOENT' || code === 'ENOTDIR') return null;
  throw error;
}

/**
 * @param {import('node:fs').BigIntStats} found
 * @returns {string | undefined} what it is known by without being read
 */
function unread(found) {
  if (found.isDirectory()) return 'a folder';
  if (!found.isFile()) return 'no file';
  // A named pipe would never end.
  return found.size > MAX_BYTES ? `${found.size} bytes of ${found.mtimeMs}` : undefined;
}

/**
 * The SHA-256 of a file; null if there is none.
 * @param {string} file
 * @returns {Promise<string | null>}
 */
async function hashFile(file) {
  try {
    const found = await fs.promises.stat(file, { bigint: true });
    const other = unread(found);
    if (other !== undefined) return other;
    const stamp = stampOf(found);
    const before = known.get(file);
    if (before?.stamp === stamp) return before.hash;
    return keep(file, stamp, hashOf(await fs.promises.readFile(file)));
  } catch (error) {
    return unlessMissing(error);
  }
}

/**
 * The SHA-256 of a file; null if there is none.
 * @param {string} file
 * @returns {string | null}
 */
function hashFileSync(file) {
  try {
    const found = fs.statSync(file, { bigint: true });
    const other = unread(found);
    if (other !== undefined) return other;
    const stamp = stampOf(found);
    const before = known.get(file);
    if (before?.stamp === stamp) return before.hash;
    return keep(file, stamp, hashOf(fs.readFileSync(file)));
  } catch (error) {
    return unlessMissing(error);
  }
}

module.exports = { hashFile, hashFileSync, hashOf };
