// The preload as `waymark resume` and `waymark run` give it to a step's process that is Node's: by --require, with which
// it begins some 8 ms sooner than by --import, for which Node loads all that ES modules need. For --require Node waits for
// nothing, and a step that is told which one it is waits for nothing.

const fs = require('node:fs');
const { pathToFileURL } = require('node:url');

// What this process starts may be asked to resume. Out of an archive (Yarn's) Node itself imports nothing.
const { NODE_OPTIONS: before } = process.env;
if (before !== undefined && !/\.zip[\\/]/.test(__filename)) {
  const address = pathToFileURL(`${__filename.slice(0, -'.js'.length)}.mjs`).href;
  process.env.NODE_OPTIONS = before.replace(/--require ("(?:[^"\\]|\\.)*")/g, (option, quoted) =>
    isThisFile(quoted) ? `--import ${address}` : option,
  );
}
const words = process.argv.slice(2);
if (words.includes('--run-id')) {
  const { attach, isResume } = require('./start.js').load('lib/attach.js');
  if (isResume(words)) {
    // It would run while things are put back. Somebody in between put the words there, or it comes out of an archive.
    process.stderr.write('waymark: to resume here, start it with --import waymark/register\n');
    process.exit(1);
  }
  if (words.includes('--step')) attach();
}

/** @param {string} quoted a path, as NODE_OPTIONS has it */
function isThisFile(quoted) {
  try {
    const file = JSON.parse(quoted);
    return file === __filename || fs.realpathSync(file) === fs.realpathSync(__filename);
  } catch {
    return false;
  }
}
