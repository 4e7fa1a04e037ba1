// Attaches the preload to a process that looks like a runner's step.

const { load, quicken } = require('./start.js');

/**
 * What the preload does before the runner's own file. If nothing is resumed it is done when this returns.
 * @returns {Promise<void>}
 */
function attach() {
  // A process that a step started does no more than look at its arguments.
  if (process.env.WAYMARK_ATTACHED === undefined) {
    quicken(isResume(process.argv) ? 'resume' : 'step');
  }
  return load('lib/preload.js').attach();
}

/**
 * Whether the words of a command ask for a resume.
 * @param {string[]} words
 */
function isResume(words) {
  return words.includes('--resume') || words.includes('--resume-step');
}

module.exports = { attach, isResume };
