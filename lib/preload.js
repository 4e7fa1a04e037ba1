// What the preload does in a process that runs one step of a run. The runner's file stays as it is:
// it only ever sees arguments it knows.

const fs = require('node:fs');
const path = require('node:path');
const { isMainThread } = require('node:worker_threads');
const { readFlags, withoutFlags } = require('./arguments.js');
const { WaymarkError } = require('./error.js');
const { CheckpointManager } = require('./manager.js');
const { isOwnCommand } = require('./own-command.js');
const { stepFromText } = require('./options.js');
const { resumeSync } = require('./resume.js');
const { preloadSettings } = require('./settings.js');

/**
 * Statuses of a run whose step is not done although its process ends well: it waits for somebody,
 * or it did not go well. A checkpoint would make a resume pass over it.
 */
const NOT_DONE = new Set([
  'awaiting_approval',
  'handoff_pending',
  'paused',
  'failed',
  'error',
  'cancelled',
]);

/** @typedef {import('../index.js').CheckpointManager} Manager */

/** Looks at this process's arguments and does what they and the settings ask for. */
function attach() {
  const words = process.argv.slice(2);
  const flags = readFlags(words);
  const runId = flags.get('run-id');
  // Waymark's own commands take --run-id and --step too.
  const own = isOwnCommand(process.argv[1]);
  // A worker thread gets the main thread's arguments and flags, but is no step of its own.
  if (typeof runId !== 'string' || own || !isMainThread) return;
  const wantsResume = flags.has('resume') || flags.has('resume-step');
  let strict = process.env.WAYMARK_STRICT !== undefined;
  try {
    const settings = preloadSettings({
      env: process.env,
      mainScript: process.argv[1],
      workingDir: process.cwd(),
    });
    strict = settings.strict;
    const manager = new CheckpointManager();
    const dryRun = flags.has('dry-run');
    if (wantsResume && settings.resume) {
      resume(manager, runId, words, flags, dryRun);
    } else if (settings.resume || settings.checkpoint) {
      finishRestore(manager, runId);
    }
    if (settings.checkpoint && !dryRun) watch(manager, runId, settings.strict);
  } catch (error) {
    // A resume that can't be made must not start the wrong step; anything else must not stop it.
    if (wantsResume || strict) {
      say(`can't ${wantsResume ? 'resume' : 'watch'} run ${runId}: ${describe(error)}`);
      process.exit(1);
    }
    say(`no checkpoint will be taken of run ${runId}: ${describe(error)}`);
  }
}

/**
 * Restores and rewrites the arguments to the next step.
 * @param {Manager} manager
 * @param {string} runId
 * @param {string[]} words
 * @param {Map<string, string | true>} flags
 * @param {boolean} dryRun
 */
function resume(manager, runId, words, flags, dryRun) {
  const workflow = flags.get('workflow');
  if (typeof workflow !== 'string') {
    throw new WaymarkError(
      'ERR_WORKFLOW_NOT_FOUND',
      'the next step is taken from the workflow file; give --workflow <yaml>',
      { runId },
    );
  }
  const wanted = flags.get('resume-step');
  const step = wanted === undefined ? undefined : stepFromText(wanted);
  if (step !== undefined && typeof step !== 'number' && typeof step !== 'string') {
    throw new WaymarkError('ERR_STEP_INVALID', '--resume-step needs a step, such as 3 or 1.5', {
      runId,
      reason: 'missing',
    });
  }
  const point = resumeSync(manager, runId, { workflow, step, dryRun });
  for (const one of point.skipped) say(`passed over ${one.checkpointId}: ${one.message}`);
  if (point.next === undefined) {
    const from = `${point.checkpointId} was taken after step ${point.from}`;
    say(`${from}, the workflow's last: nothing is left to do`);
    process.exit(0);
  }
  const restored = `${dryRun ? 'would restore' : 'restored'} ${point.checkpointId} (step ${point.from})`;
  say(`${restored}; going on with step ${point.next}`);
  process.argv.splice(
    2,
    process.argv.length,
    ...withoutFlags(words, ['resume', 'resume-step', 'step']),
    '--step',
    String(point.next),
  );
}

/**
 * A restore that was killed is finished before the runner reads the run's files.
 * @param {Manager} manager
 * @param {string} runId
 */
function finishRestore(manager, runId) {
  let runDir;
  try {
    runDir = path.join(manager.runsDir(runId), runId);
  } catch (error) {
    // The runner makes its folders itself on a first run.
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ERR_RUNS_DIR_NOT_FOUND') return;
    throw error;
  }
  const own = path.join(runDir, 'checkpoints', '.waymark');
  const journals = ['restore.journal', 'restore.undo'].map((name) => path.join(own, name));
  if (!journals.some((journal) => fs.existsSync(journal))) return;
  const recovered = manager.recoverSync(runId);
  if (recovered !== 'nothing')
    say(`a restore of run ${runId} had been cut off and was ${recovered}`);
}

/**
 * Takes a checkpoint when the process ends with 0 and the step was done.
 * @param {Manager} manager
 * @param {string} runId
 * @param {boolean} strict
 */
function watch(manager, runId, strict) {
  const before = traces(manager, runId);
  const namesBefore = checkpointNames(manager, runId);
  process.on('exit', (code) => {
    if (code !== 0) return;
    // Read now: the arguments are the runner's, after a resume was worked out.
    const flags = readFlags(process.argv.slice(2));
    const step = stepFromText(flags.get('step'));
    if (typeof step !== 'number' && typeof step !== 'string') return;
    try {
      if (traces(manager, runId) === before) {
        say(
          `step ${step} left no trace in run ${runId} (a condition that is false?): no checkpoint`,
        );
        return;
      }
      const status = statusOf(manager, runId);
      if (status !== undefined && NOT_DONE.has(status)) {
        say(`run ${runId} is ${status} after step ${step}: no checkpoint`);
        return;
      }
      // A runner that takes its own checkpoints has done so by now.
      if (checkpointNames(manager, runId) !== namesBefore) return;
      const created = manager.createSync(runId, step, stepState(flags, step));
      for (const warning of created.warnings) say(warning);
    } catch (error) {
      say(`step ${step} of run ${runId} is done, but no checkpoint was taken: ${describe(error)}`);
      if (strict) process.exitCode = 1;
    }
  });
}

/**
 * What the run's folder looks like from outside: names, sizes and times of the files at its top and
 * one level below. A step that was really done changes it.
 * @param {Manager} manager
 * @param {string} runId
 * @returns {string}
 */
function traces(manager, runId) {
  /** @type {string[]} */
  const lines = [];
  /** @param {string} folder @param {number} levels */
  const look = (folder, levels) => {
    for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
      const file = path.join(folder, entry.name);
      if (entry.isDirectory()) {
        if (levels > 0 && entry.name !== 'checkpoints') look(file, levels - 1);
      } else if (!entry.name.endsWith('.lock')) {
        const found = fs.lstatSync(file, { bigint: true, throwIfNoEntry: false });
        lines.push(`${file} ${found?.size} ${found?.mtimeNs} ${found?.ino}`);
      }
    }
  };
  try {
    look(path.join(manager.runsDir(runId), runId), 1);
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code !== 'ENOENT' && code !== 'ERR_RUNS_DIR_NOT_FOUND') throw error;
    return 'none';
  }
  return lines.sort().join('\n');
}

/**
 * @param {Manager} manager
 * @param {string} runId
 * @returns {string | undefined}
 */
function statusOf(manager, runId) {
  const file = path.join(manager.runsDir(runId), runId, 'run.json');
  try {
    const status = JSON.parse(fs.readFileSync(file, 'utf8')).status;
    return typeof status === 'string' ? status : undefined;
  } catch {
    // Taking the checkpoint will say what is wrong with it.
    return undefined;
  }
}

/**
 * The names of the run's checkpoints: only to notice a new one.
 * @param {Manager} manager
 * @param {string} runId
 * @returns {string}
 */
function checkpointNames(manager, runId) {
  try {
    const folder = path.join(manager.runsDir(runId), runId, 'checkpoints');
    const names = fs.readdirSync(folder).filter((name) => name.endsWith('.json'));
    return names.sort().join('\n');
  } catch {
    return '';
  }
}

/**
 * What can be told of a step from outside: what the workflow file says of it.
 * @param {Map<string, string | true>} flags
 * @param {number | string} step
 * @returns {Record<string, unknown>}
 */
function stepState(flags, step) {
  const workflow = flags.get('workflow');
  if (typeof workflow !== 'string') return {};
  try {
    const { readSteps } = require('./workflow.js');
    const found = readSteps(workflow).find((one) => one.step === step);
    if (!found) return {};
    return { step_name: found.name, agent: found.agent, artifacts: found.outputs };
  } catch {
    // The state is an extra; a workflow file that can't be read is the runner's to report.
    return {};
  }
}

/** @param {unknown} error */
function describe(error) {
  const { message, code } = /** @type {NodeJS.ErrnoException} */ (error);
  return code ? `${message} [${code}]` : message;
}

/** @param {string} text */
function say(text) {
  // Written at once: the process may be about to end.
  try {
    fs.writeSync(2, `waymark: ${text}\n`);
  } catch {
    // Nobody reads stderr any more.
  }
}

module.exports = { attach };
