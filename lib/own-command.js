'use strict';

const fs = require('node:fs');
const path = require('node:path');

/** @type {Map<string, boolean>} */
const known = new Map();

/**
 * True if a main script is the `waymark` command, however it was started (npm's bin is a link).
 * @param {string | undefined} script
 * @returns {boolean}
 */
function isOwnCommand(script) {
  if (script === undefined) return false;
  let own = known.get(script);
  if (own === undefined) {
    try {
      own = path.dirname(fs.realpathSync(script)) === path.join(__dirname, '..', 'cli');
    } catch {
      // A script that can't be found is Node's to report.
      own = false;
    }
    known.set(script, own);
  }
  return own;
}

module.exports = { isOwnCommand };
