// The preload in the environment of a command that is started for a step.

const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { isResume } = require('./attach.js');

const imported = pathToFileURL(path.join(__dirname, 'register.mjs')).href;
/** In quotes, as NODE_OPTIONS has them. */
const required = JSON.stringify(path.join(__dirname, 'register.js'));

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {string[]} command
 * @returns {string} its NODE_OPTIONS, with the preload once
 */
function withPreload({ NODE_OPTIONS: before = '' }, command) {
  const hasOurs =
    before.includes(imported) ||
    before.includes(required) ||
    /--import[= ]"?waymark\/register\b/.test(before);
  if (hasOurs) return before;
  // Behind what somebody else has Node import, as that may set what ours goes by.
  const isAlone = !/--(import|loader|experimental-loader)\b/.test(before);
  const option =
    isAlone && isStepOfNode(command) ? `--require ${required}` : `--import ${imported}`;
  return `${before} ${option}`.trim();
}

/**
 * Whether a command is Node with a runner and its step, and nothing before the runner: with `inspect` Node is the
 * debugger, with `--run` a script begins that may ask for a resume, and what is given by `-r` is to come before the preload.
 * @param {string[]} command
 */
function isStepOfNode([program, first = '-', ...words]) {
  const isNode = program === process.execPath || /^node(\.exe)?$/.test(path.basename(program));
  const isRunner = !first.startsWith('-') && first !== 'inspect';
  return isNode && isRunner && !isResume(words) && /^[^\0-\x1f]*$/.test(__dirname);
}

module.exports = { withPreload };
