// The preload in the environment of a command that is started for a step.

const path = require('node:path');
const { pathToFileURL } = require('node:url');

const preload = pathToFileURL(path.join(__dirname, 'register.mjs')).href;

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {string} its NODE_OPTIONS, with the preload once
 */
function withPreload({ NODE_OPTIONS: before = '' }) {
  const hasOurs = before.includes(preload) || /--import[= ]"?waymark\/register\b/.test(before);
  return hasOurs ? before : `${before} --import ${preload}`.trim();
}

module.exports = { withPreload };
