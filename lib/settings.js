const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');

const CONFIG_FILE = 'waymark.config.json';

/**
 * What the preload does.
 * @typedef {object} PreloadSettings
 * @property {boolean} resume understands --resume and --resume-step
 * @property {boolean} checkpoint takes a checkpoint when a step ends well
 * @property {boolean} strict a failing checkpoint fails the step's process
 *
 * @typedef {{ mainScript: string | undefined, workingDir: string }} Around where to look from
 */

/**
 * The preload's settings: from the environment, else from `waymark.config.json`, else the defaults.
 * @param {Around & { env: NodeJS.ProcessEnv }} around
 * @returns {PreloadSettings}
 */
function preloadSettings({ env, ...around }) {
  const found = configFor(around);
  /** @type {PreloadSettings} */
  const settings = { resume: true, checkpoint: true, strict: false };
  if (found) {
    const { register = {} } = found.config;
    for (const name of /** @type {const} */ (['resume', 'checkpoint', 'strict'])) {
      if (register[name] === undefined) continue;
      if (typeof register[name] !== 'boolean') {
        throw invalid(found.file, `register.${name} must be true or false`);
      }
      settings[name] = register[name];
    }
  }
  if (env.WAYMARK_REGISTER) {
    const parts = env.WAYMARK_REGISTER.split(',').map((part) => part.trim());
    const unknown = parts.find((part) => !['resume', 'checkpoint', 'off'].includes(part));
    if (unknown !== undefined) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        `WAYMARK_REGISTER: ${JSON.stringify(unknown)} is not known; use resume, checkpoint, both with a comma, or off`,
      );
    }
    settings.resume = parts.includes('resume');
    settings.checkpoint = parts.includes('checkpoint');
  }
  if (env.WAYMARK_STRICT) settings.strict = !['0', 'false'].includes(env.WAYMARK_STRICT);
  return settings;
}

/**
 * `keepLast` in `waymark.config.json`; undefined if it is not set.
 * @param {Around} around
 * @returns {number | 'all' | undefined}
 */
function configuredKeepLast(around) {
  const found = configFor(around);
  const keepLast = found?.config.keepLast;
  if (!found || keepLast === undefined) return undefined;
  if (keepLast !== 'all' && !(Number.isSafeInteger(keepLast) && keepLast >= 1)) {
    throw invalid(found.file, "keepLast must be a whole number from 1 on, or 'all'");
  }
  return keepLast;
}

/**
 * The configuration, looked for from the main script's path upwards, then from the working
 * directory upwards.
 * @param {Around} around
 */
function configFor({ mainScript, workingDir }) {
  const starts = [mainScript && path.dirname(mainScript), workingDir];
  return starts
    .filter((start) => start !== undefined)
    .map(configAbove)
    .find(Boolean);
}

/**
 * @param {string} start
 * @returns {{ file: string, config: Record<string, any> } | undefined}
 */
function configAbove(start) {
  for (let folder = path.resolve(start); ; folder = path.dirname(folder)) {
    const file = path.join(folder, CONFIG_FILE);
    let text;
    try {
      // Asked first: there is hardly ever one, and an exception per folder would be dear.
      if (fs.statSync(file, { throwIfNoEntry: false })) text = fs.readFileSync(file, 'utf8');
    } catch (error) {
      const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw invalid(file, message);
    }
    if (text !== undefined) {
      let config;
      try {
        config = JSON.parse(text);
      } catch (error) {
        throw invalid(file, /** @type {Error} */ (error).message);
      }
      if (typeof config !== 'object' || config === null)
        throw invalid(file, 'it is no JSON object');
      return { file, config };
    }
    if (folder === path.dirname(folder)) return undefined;
  }
}

/**
 * @param {string} file
 * @param {string} reason
 */
function invalid(file, reason) {
  return new WaymarkError('ERR_CONFIG_INVALID', `${file} is not usable: ${reason}`, { path: file });
}

module.exports = { preloadSettings, configuredKeepLast };
