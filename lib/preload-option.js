// The preload in the environment of a command that is started for a step.

const path = require('node:path');
const { pathToFileURL } = require('node:url');

const preload = pathToFileURL(path.join(__dirname, 'register.mjs')).href;
/** In quotes, as NODE_OPTIONS has them. */
const required = JSON.stringify(path.join(__dirname, 'register.js'));

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {string[]} command
 * @returns {string} its NODE_OPTIONS, with the preload once
 */
function withPreload({ NODE_OPTIONS: before = '' }, command) {
  const hasOurs =
    before.includes(preload) ||
    before.includes(required) ||
    /--import[= ]"?waymark\/register\b/.test(before);
  if (hasOurs) return before;
  const option = isStepOfNode(command) ? `--require ${required}` : `--import ${preload}`;
  return `${before} ${option}`.trim();
}

/**
 * Whether a command is Node itself with a step to run, and not something that starts it in the end, nor a resume.
 * @param {string[]} command
 */
function isStepOfNode([program, ...words]) {
  const isNode = program === process.execPath || /^node(\.exe)?$/.test(path.basename(program));
  const resumes = words.includes('--resume') || words.includes('--resume-step');
  return isNode && !resumes && /^[^\0-\x1f]*$/.test(__dirname);
}

module.exports = { withPreload };
