'use strict';

// What is known of where the runs are: what was asked for, and where this process is.

const { isOwnCommand } = require('./own-command.js');

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

module.exports = { placeOf };
