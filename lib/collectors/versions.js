// The versions that a step's work depends on: Node, Waymark, and the package locks of the project.

const path = require('node:path');
const { nowMs } = require('../clock.js');
const { version } = require('../../package.json');
const { hashFiles, hashFilesSync } = require('./read.js');

const LOCKS = [
  'package-lock.json',
  'npm-shrinkwrap.json',
  'pnpm-lock.yaml',
  'yarn.lock',
  'bun.lock',
  'bun.lockb',
];

/** @param {(string | null)[]} hashes @returns {Record<string, string>} */
function locks(hashes) {
  return Object.fromEntries(
    LOCKS.flatMap((name, at) => {
      const hash = hashes[at];
      return hash === null ? [] : [[name, hash]];
    }),
  );
}

/** So long the locks of a project count as seen, in milliseconds: a process may take many checkpoints. */
const FRESH_MS = 1_000;

/** @type {{ root: string, at: number, locks: Record<string, string> }} */
let seen = { root: '', at: Number.NEGATIVE_INFINITY, locks: {} };

/** @param {Record<string, string>} found */
function told(found) {
  return { node: process.versions.node, waymark: version, locks: { ...found } };
}

/** @param {string} root */
function known(root) {
  const isFresh = seen.root === root && nowMs() - seen.at < FRESH_MS;
  return isFresh ? seen.locks : undefined;
}

/** @param {string} root @param {Record<string, string>} found */
function keep(root, found) {
  seen = { root, at: nowMs(), locks: found };
  return found;
}

/** @param {string} root */
const paths = (root) => LOCKS.map((name) => path.join(root, name));

/** @param {string} root */
async function look(root) {
  return keep(root, locks(await hashFiles(paths(root))));
}

/** @type {import('../fingerprint.js').Collector} */
const versions = {
  name: 'versions',
  collect: ({ root }) => {
    const locked = known(root);
    return locked === undefined ? look(root).then(told) : told(locked);
  },
  collectSync: ({ root }) => told(known(root) ?? keep(root, locks(hashFilesSync(paths(root))))),
  look: async ({ root }) => told(await look(root)),
};

module.exports = { versions };
