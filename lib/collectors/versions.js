// The versions that a step's work depends on: Node, Waymark, and the package locks of the project.

const path = require('node:path');
const { version } = require('../../package.json');
const { hashFile, hashFileSync } = require('./read.js');

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

/** @type {import('../fingerprint.js').Collector} */
const versions = {
  name: 'versions',
  async collect({ root }) {
    const hashes = await Promise.all(LOCKS.map((name) => hashFile(path.join(root, name))));
    return { node: process.versions.node, waymark: version, locks: locks(hashes) };
  },
  collectSync({ root }) {
    const hashes = LOCKS.map((name) => hashFileSync(path.join(root, name)));
    return { node: process.versions.node, waymark: version, locks: locks(hashes) };
  },
};

module.exports = { versions };
