// Attaches the preload to a process that looks like a runner's step.

const { load, quicken } = require('./start.js');

/**
 * What the preload does before the runner's own file. If nothing is resumed it is done when this returns.
 * @returns {Promise<void>}
 */
function attach() {
  // A process that a step started does no more than look at its arguments.
  if (process.env.WAYMARK_ATTACHED === undefined) {
    const isResumed = process.argv.includes('--resume') || process.argv.includes('--resume-step');
    quicken(isResumed ? 'resume' : 'step');
  }
  return load('lib/preload.js').attach();
}

module.exports = { attach };
