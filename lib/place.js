'use strict';

// What is known of where the runs are: what was asked for, and where this process is.

const { isOwnCommand } = require('./own-command.js');

/** @type {WeakMap<object, () => import('../native.js').Place>} */
const places = new WeakMap();

/**
 * @param {{ runsDir?: string, root?: string, store?: string }} options
 * @returns {import('../native.js').Place}
 */
function placeOf({ runsDir, root, store }) {
  const script = process.argv[1];
  return {
    runsDir,
    root,
    store,
    environment: process.env.WAYMARK_RUNS_DIR || undefined,
    // The runner's script lies in its project; where Waymark itself lies says nothing.
    mainScript: isOwnCommand(script) ? undefined : script,
    workingDir: process.cwd(),
  };
}

/**
 * Notes where a manager's runs are, for those parts of it that lie in files of their own.
 * @param {object} manager
 * @param {() => import('../native.js').Place} place
 */
function notePlace(manager, place) {
  places.set(manager, place);
}

/**
 * @param {object} manager
 * @returns {import('../native.js').Place}
 */
function placeOfManager(manager) {
  return /** @type {() => import('../native.js').Place} */ (places.get(manager))();
}

module.exports = { notePlace, placeOf, placeOfManager };
