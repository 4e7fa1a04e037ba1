// The preload as `waymark resume` and `waymark run` give it to a step's process that is Node's: by --require, with which
// it begins some 8 ms sooner than by --import, for which Node loads all that ES modules need. For --require Node waits for
// nothing, and a step that is told which one it is waits for nothing.

const { pathToFileURL } = require('node:url');

const OURS = /--require "(?:[^"\\]|\\.)*[\\/]lib[\\/]+register\.js"/g;

const { NODE_OPTIONS: before } = process.env;
if (before !== undefined) {
  // What this process starts may be asked to resume.
  const address = pathToFileURL(`${__filename.slice(0, -'.js'.length)}.mjs`).href;
  process.env.NODE_OPTIONS = before.replace(OURS, () => `--import ${address}`);
}
const words = process.argv.slice(2);
if (words.includes('--run-id')) {
  if (words.includes('--resume') || words.includes('--resume-step')) {
    // It would run while things are put back. Nobody is known to come here: whoever gives it looks at the words.
    process.stderr.write('waymark: to resume here, start it with --import waymark/register\n');
    process.exit(1);
  }
  if (words.includes('--step')) require('./start.js').load('lib/attach.js').attach();
}
