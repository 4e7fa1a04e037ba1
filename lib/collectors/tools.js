// Programs that a run needs: where each is found, and, where asked for, which version it says it is.

const { execFile, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

/**
 * @typedef {import('../fingerprint.js').Context} Context
 * @typedef {Record<string, true | string[]>} Wanted
 */

const MAX_OUTPUT = 64 * 1024;
/** So much of the time has each of them. */
const SHARE = 0.8;

/** @param {Context['declared']['tools']} tools @returns {Wanted} */
function wanted(tools) {
  if (!Array.isArray(tools)) return /** @type {Wanted} */ (tools ?? {});
  return Object.fromEntries(tools.map((name) => [name, /** @type {const} */ (true)]));
}

/** @param {string} name @returns {string | null} */
function found(name) {
  const folders = name.includes(path.sep) ? [''] : (process.env.PATH ?? '').split(path.delimiter);
  const ends =
    process.platform === 'win32' ? (process.env.PATHEXT ?? '.EXE;.CMD').split(';') : [''];
  for (const folder of folders) {
    for (const end of ends) {
      const file = path.join(folder, name + end);
      try {
        fs.accessSync(file, fs.constants.X_OK);
        if (fs.statSync(file).isFile()) return path.resolve(file);
      } catch {
        // Not there, or not ours to start.
      }
    }
  }
  return null;
}

/** @param {string} text @returns {string} */
function firstLine(text) {
  return (text.trim().split('\n')[0] ?? '').slice(0, 200);
}

/**
 * @param {string} file
 * @param {string[]} words
 * @param {number} timeoutMs
 * @returns {Promise<string>}
 */
function versionOf(file, words, timeoutMs) {
  return new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, maxBuffer: MAX_OUTPUT, killSignal: 'SIGKILL' };
    execFile(file, words, /** @type {any} */ (options), (error, stdout, stderr) => {
      // Many end with a code of their own when they are only asked for their version.
      if (error && typeof error.code !== 'number') reject(wordOf(error, timeoutMs));
      else resolve(firstLine(String(stdout) || String(stderr)));
    });
  });
}

/** @param {any} error @param {number} timeoutMs */
function wordOf(error, timeoutMs) {
  const isLate = error.killed || error.code === 'ETIMEDOUT';
  return new Error(isLate ? `no answer in ${timeoutMs} ms` : error.message);
}

/** @param {string} file @param {string[]} words @param {number} timeoutMs @returns {string} */
function versionOfSync(file, words, timeoutMs) {
  const { error, stdout, stderr } = spawnSync(file, words, {
    encoding: 'utf8',
    timeout: Math.max(1, timeoutMs),
    maxBuffer: MAX_OUTPUT,
    killSignal: 'SIGKILL',
  });
  if (error) throw wordOf(error, timeoutMs);
  return firstLine(stdout || stderr);
}

/** @param {Wanted} tools @param {Context} context */
async function told(tools, { timeoutMs: limit }) {
  // Before the limit of all of them: one that hangs costs its own version only.
  const timeoutMs = Math.ceil(limit * SHARE);
  const all = Object.entries(tools).map(async ([name, words]) => {
    const file = found(name);
    if (file === null) return [name, null];
    if (words === true) return [name, { path: file }];
    const known = { path: file, asked: words };
    try {
      return [name, { ...known, version: await versionOf(file, words, timeoutMs) }];
    } catch (error) {
      return [name, { ...known, failed: /** @type {Error} */ (error).message }];
    }
  });
  return Object.fromEntries(await Promise.all(all));
}

/** @type {import('../fingerprint.js').Collector} */
const tools = {
  name: 'tools',
  collect: async (context) =>
    context.declared.tools === undefined ? null : told(wanted(context.declared.tools), context),
  collectSync(context) {
    if (context.declared.tools === undefined) return null;
    const until = performance.now() + context.timeoutMs * SHARE;
    const all = Object.entries(wanted(context.declared.tools)).map(([name, words]) => {
      const file = found(name);
      if (file === null) return [name, null];
      if (words === true) return [name, { path: file }];
      const known = { path: file, asked: words };
      try {
        const left = Math.ceil(until - performance.now());
        return [name, { ...known, version: versionOfSync(file, words, left) }];
      } catch (error) {
        return [name, { ...known, failed: /** @type {Error} */ (error).message }];
      }
    });
    return Object.fromEntries(all);
  },
  look: (context, then) =>
    told(
      Object.fromEntries(
        Object.entries(then).map(([name, one]) => [name, /** @type {any} */ (one)?.asked ?? true]),
      ),
      context,
    ),
};

module.exports = { tools };
