// Environment variables that a run needs: their names, and what tells two values apart. Values are never kept.

const { hashOf } = require('./read.js');

/** @param {Iterable<string>} names */
function told(names) {
  return Object.fromEntries(
    [...names].map((name) => {
      const value = process.env[name];
      return [name, value === undefined ? null : hashOf(`${name}\0${value}`).slice(0, 16)];
    }),
  );
}

/** @type {import('../fingerprint.js').Collector} */
const variables = {
  name: 'variables',
  collect: (context) => variables.collectSync(context),
  collectSync: ({ declared }) =>
    declared.variables === undefined ? null : told(declared.variables),
  look: async (_, then) => told(Object.keys(then)),
};

module.exports = { variables };
