// Files that a run needs besides those that are captured, by hash.

const path = require('node:path');
const { hashFile, hashFileSync } = require('./read.js');

/** @param {string} root @param {string[]} names */
async function told(root, names) {
  const all = names.map(async (name) => [name, await hashFile(path.resolve(root, name))]);
  return Object.fromEntries(await Promise.all(all));
}

/** @type {import('../fingerprint.js').Collector} */
const files = {
  name: 'files',
  collect: async ({ declared, root }) =>
    declared.files === undefined ? null : told(root, declared.files),
  collectSync: ({ declared, root }) =>
    declared.files === undefined
      ? null
      : Object.fromEntries(
          declared.files.map((name) => [name, hashFileSync(path.resolve(root, name))]),
        ),
  look: ({ root }, then) => told(root, Object.keys(then)),
};

module.exports = { files };
