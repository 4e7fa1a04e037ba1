const fs = require('node:fs');
const { WaymarkError } = require('./error.js');
const { native } = require('./native.js');
const { restoreProblem } = require('./options.js');

/** @typedef {import('../native.js').Place} Place */

/**
 * What the preload does.
 * @typedef {object} PreloadSettings
 * @property {boolean} resume understands --resume and --resume-step
 * @property {boolean} checkpoint takes a checkpoint when a step ends well
 * @property {boolean} strict a failing checkpoint fails the step's process
 * @property {boolean} pauseOnSigterm SIGTERM asks for a pause behind the step
 * @property {import('../index.js').OnConflict} [onConflict] what a resume does with files changed since
 * @property {string[]} [accept] reasons that a resume goes on with all the same
 * @property {string[]} [options] what a resume does about others
 */

/**
 * The preload's settings: from the environment, else from `waymark.config.json`, else the defaults.
 * What the environment settles, no file can spoil.
 * @param {NodeJS.ProcessEnv} env
 * @param {Place} place
 * @param {string} runId
 * @returns {PreloadSettings}
 */
function preloadSettings(env, place, runId) {
  const fromEnv = fromEnvironment(env);
  if (fromEnv.resume === false && fromEnv.checkpoint === false) {
    return { resume: false, checkpoint: false, strict: false, pauseOnSigterm: false };
  }
  /** @type {PreloadSettings} */
  const settings = { resume: true, checkpoint: true, strict: false, pauseOnSigterm: false };
  const { own: found } = configFor(place, runId);
  const register = found?.config.register ?? {};
  if (found && (typeof register !== 'object' || Array.isArray(register))) {
    throw invalid(found.file, 'register must be an object');
  }
  const names = /** @type {const} */ (['resume', 'checkpoint', 'strict', 'pauseOnSigterm']);
  for (const name of names) {
    if (register[name] === undefined) continue;
    if (found && typeof register[name] !== 'boolean') {
      throw invalid(found.file, `register.${name} must be true or false`);
    }
    settings[name] = register[name];
  }
  return { ...settings, ...fromEnv };
}

/**
 * What the environment says; it is all there is to go by where the file is broken.
 * @param {NodeJS.ProcessEnv} env
 * @returns {Partial<PreloadSettings>}
 */
function fromEnvironment(env) {
  /** @type {Partial<PreloadSettings>} */
  const settings = {};
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
  if (env.WAYMARK_ON_CONFLICT) {
    const problem = restoreProblem({ onConflict: env.WAYMARK_ON_CONFLICT });
    if (problem) {
      const told = problem.replace('restore.onConflict', 'WAYMARK_ON_CONFLICT');
      throw new WaymarkError('ERR_OPTION_INVALID', told);
    }
    settings.onConflict = /** @type {import('../index.js').OnConflict} */ (env.WAYMARK_ON_CONFLICT);
  }
  if (env.WAYMARK_ACCEPT) settings.accept = namesIn(env.WAYMARK_ACCEPT);
  if (env.WAYMARK_OPTION) settings.options = namesIn(env.WAYMARK_OPTION);
  if (env.WAYMARK_STRICT) settings.strict = !['0', 'false'].includes(env.WAYMARK_STRICT);
  if (env.WAYMARK_PAUSE_ON_SIGTERM) {
    settings.pauseOnSigterm = !['0', 'false'].includes(env.WAYMARK_PAUSE_ON_SIGTERM);
  }
  return settings;
}

/** @param {string} text names with commas between them */
function namesIn(text) {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

/**
 * What `waymark.config.json` says of checkpoints, and in `runsDir` where the runs lie, if there are any.
 * @param {Place} place
 * @param {string} [runId] the run whose project counts; without one that of the place
 * @returns {{ keepLast?: number | 'all', retention?: import('../index.js').RetentionPolicy, maxBytes?: number, alerts?: import('../index.js').AlertSettings, capture?: import('../index.js').CaptureOptions, restore?: import('../index.js').RestoreSettings, recovery?: import('../index.js').RecoverySettings, environment?: import('../index.js').EnvironmentOptions | false, policy?: import('../index.js').ResumePolicy, file?: string, runsDir?: string }}
 */
function configured(place, runId) {
  const { runsDir, own: found } = configFor(place, runId);
  if (!found) return { runsDir };
  const { keepLast, retention, maxBytes, capture, restore, alerts, recovery } = found.config;
  if (
    keepLast !== undefined &&
    keepLast !== 'all' &&
    !(Number.isSafeInteger(keepLast) && keepLast >= 1)
  ) {
    throw invalid(found.file, "keepLast must be a whole number from 1 on, or 'all'");
  }
  if (maxBytes !== undefined && !(Number.isSafeInteger(maxBytes) && maxBytes >= 0)) {
    throw invalid(found.file, 'maxBytes must be a whole number from 0 on');
  }
  // Loaded when there is something to check: the preload's start pays for every file.
  if (retention !== undefined) {
    const { retentionProblem, twice } = require('./retention.js');
    const problem = retentionProblem(retention) ?? twice({ keepLast, retention });
    if (problem) throw invalid(found.file, problem);
  }
  const problem =
    capture === undefined ? undefined : require('./capture.js').captureProblem(capture);
  if (problem) throw invalid(found.file, problem);
  const wrong = restore === undefined ? undefined : restoreProblem(restore);
  if (wrong) throw invalid(found.file, wrong);
  const bad = alerts === undefined ? undefined : require('./alerts.js').alertsProblem(alerts);
  if (bad) throw invalid(found.file, bad);
  const faulty =
    recovery === undefined ? undefined : require('./recovery/rules.js').recoveryProblem(recovery);
  if (faulty) throw invalid(found.file, faulty);
  const { environment, resume } = found.config;
  const undeclared =
    environment === undefined
      ? undefined
      : require('./environment-settings.js').environmentProblem(environment);
  if (undeclared) throw invalid(found.file, undeclared);
  const policy = policyIn(found.file, resume);
  const { file } = found;
  return {
    keepLast,
    retention,
    maxBytes,
    capture,
    restore,
    alerts,
    recovery,
    environment,
    policy,
    file,
    runsDir,
  };
}

/**
 * @param {string} file
 * @param {any} resume
 * @returns {import('../index.js').ResumePolicy | undefined}
 */
function policyIn(file, resume) {
  if (resume === undefined) return undefined;
  if (typeof resume !== 'object' || resume === null || Array.isArray(resume)) {
    throw invalid(file, 'resume must be an object');
  }
  const unknown = Object.keys(resume).find((name) => name !== 'policy');
  if (unknown !== undefined) throw invalid(file, `resume.${unknown} is not known; known is policy`);
  if (resume.policy === undefined) return undefined;
  const problem = require('./gate.js').policyProblem(resume.policy);
  if (problem) throw invalid(file, problem);
  return resume.policy;
}

/**
 * The project's configuration, if it has one, and the folder of runs, if there is one. Which these are, the core says: it
 * reads the store's place from it.
 * @param {Place} place
 * @param {string} [runId]
 * @returns {{ runsDir?: string, own?: { file: string, config: Record<string, any> } }}
 */
function configFor(place, runId) {
  const found = native().projectSync(place, runId);
  if ('failed' in found) throw WaymarkError.from(found, configFor);
  const { configFile: file, runsDir } = found;
  if (file === undefined) return { runsDir };
  let config;
  try {
    config = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    throw invalid(file, /** @type {Error} */ (error).message);
  }
  if (typeof config !== 'object' || config === null) throw invalid(file, 'it is no JSON object');
  return { runsDir, own: { file, config } };
}

/**
 * @param {string} file
 * @param {string} reason
 */
function invalid(file, reason) {
  return new WaymarkError('ERR_CONFIG_INVALID', `${file} is not usable: ${reason}`, { path: file });
}

module.exports = { preloadSettings, fromEnvironment, configured };
