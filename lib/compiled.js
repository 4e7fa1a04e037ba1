// Takes a bundle from what V8 made of it in an earlier process, and keeps that for the next one: a resumed step begins some
// 20 ms sooner on Node 20, 30 on Node 24. Node itself does the same from 22.8 on, but for all of a process, and a runner's
// own files are not ours to change; the libraries for it do so as well, by replacing a function of Node's.
//
// What is kept lies beside the bundles: who can write there can change what is run anyway. V8 does not check it, so the
// addon does, by hash (src/store/compiled.rs).

const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');
const { native } = require('./native.js');

/** The bundles that this process took from here. @type {{ key: string, script: vm.Script }[]} */
const taken = [];
/** Where one of them was not kept. @type {string | undefined} */
let missing;

/** What this process is: each kind calls another part of the bundles, and gets no more than that. */
let kind = '';

/**
 * Begins to take bundles from here.
 * @param {string} of a kind of processes
 * @returns {boolean} false if it is left to Node, as for Node's own: what is covered would be counted less exactly
 */
function begin(of) {
  kind = of;
  return !(process.env.NODE_DISABLE_COMPILE_CACHE || process.env.NODE_V8_COVERAGE);
}

/** Of Node's own flags those that may be another each time. */
const NODES = /^--(import|require|loader|experimental-loader|title|inspect|env-file|conditions)/;

/** V8 takes only what it made with the same flags, the size of its heap among them. What names a file is none of V8's. */
function flags() {
  const words = [...process.execArgv, ...(process.env.NODE_OPTIONS ?? '').split(/\s+/)];
  return words.filter((word) => /^--[^/\\]*$/.test(word) && !NODES.test(word));
}

/** @param {string} folder of the bundles */
const kept = (folder) => path.join(folder, 'compiled');

/**
 * Runs a bundle, and gives what is its value as a script, and what it exports as a module.
 * @param {string} file
 * @returns {Record<string, any>}
 */
function taking(file) {
  const folder = path.dirname(file);
  const text = fs.readFileSync(file, 'utf8');
  // V8 looks at no more of the text than its length.
  const key = JSON.stringify([kind, process.version, process.arch, ...flags()]) + text;
  const before = native().readCompiledSync(kept(folder), key);
  const cachedData = Buffer.isBuffer(before) ? before : undefined;
  const script = new vm.Script(text, { filename: file, cachedData });
  const found = script.runInThisContext();
  taken.push({ key, script });
  if (cachedData === undefined || script.cachedDataRejected) missing = folder;
  return found;
}

/**
 * Where something was missing, keeps all that was taken: what one bundle calls in another was only now compiled. At the very
 * end of a step's process, or of a command that resumes: it has called by then what others will.
 */
function keepCompiled() {
  const folder = missing;
  if (folder === undefined) return;
  missing = undefined;
  try {
    if (!mayKeep(folder)) return;
    for (const { key, script } of taken) {
      native().keepCompiledSync(kept(folder), key, script.createCachedData());
    }
  } catch {
    // It only saves time. Where the package can't be written, nothing is kept.
  }
}

/**
 * Whether it is our own folder, and can be written: what root left there, its owner could not remove.
 * @param {string} folder
 */
function mayKeep(folder) {
  fs.accessSync(folder, fs.constants.W_OK);
  return process.geteuid === undefined || fs.statSync(folder).uid === process.geteuid();
}

module.exports = { begin, keepCompiled, taking };
