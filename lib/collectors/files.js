// Files that a run needs besides those that are captured, by hash.

const path = require('node:path');
const { hashFiles, hashFilesSync } = require('./read.js');

/** @param {string} root @param {string[]} names */
function paths(root, names) {
  return names.map((name) => path.resolve(root, name));
}

/** @param {string[]} names @param {(string | null)[]} hashes */
function told(names, hashes) {
  return Object.fromEntries(names.map((name, at) => [name, hashes[at]]));
}

/** @param {string} root @param {string[]} names */
async function look(root, names) {
  return told(names, await hashFiles(paths(root, names)));
}

/** @type {import('../fingerprint.js').Collector} */
const files = {
  name: 'files',
  collect: async ({ declared, root }) =>
    declared.files === undefined ? null : look(root, declared.files),
  collectSync: ({ declared: { files: names }, root }) =>
    names === undefined ? null : told(names, hashFilesSync(paths(root, names))),
  look: ({ root }, then) => look(root, Object.keys(then)),
};

module.exports = { files };
