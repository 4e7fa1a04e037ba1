// What the preload does in a process that runs one step of a run. The runner's file stays as it is:
// it only ever sees arguments it knows. What of it concerns the run's state is in step-process.js.

const fs = require('node:fs');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { readFlags, withoutFlags } = require('./arguments.js');
const { keepCompiled } = require('./compiled.js');
const { WaymarkError } = require('./error.js');
const { CheckpointManager } = require('./manager.js');
const { isOwnCommand } = require('./own-command.js');
const { stepFromText } = require('./options.js');
const { portVariables } = require('./port-variables.js');
const { placeOf } = require('./place.js');
const { fromEnvironment, preloadSettings } = require('./settings.js');

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

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {InstanceType<typeof import('./lease.js').Lease>} Lease
 */

/** To the supervisor that started this process, if one did. @type {typeof import('./supervisor/line.js') | undefined} */
let line;

/** Looks at this process's arguments and does what they and the settings ask for. */
async function attach() {
  const words = process.argv.slice(2);
  const flags = readFlags(words);
  const runId = flags.get('run-id');
  // Waymark's own commands take --run-id and --step too. A worker thread gets the main thread's
  // arguments and flags, and a child process may get them (fork, NODE_OPTIONS): neither is a step.
  if (typeof runId !== 'string' || isOwnCommand(process.argv[1]) || isWorker()) return;
  if (process.env.WAYMARK_ATTACHED === runId) return;
  if (process.env.WAYMARK_LINE !== undefined) {
    line = require('./supervisor/line.js');
    // Whoever started this step was gone before it was known to run: nothing may be done.
    if (!line.enter()) process.exit(1);
  }
  let strict = false;
  let wantsResume = false;
  /** @type {InstanceType<typeof import('./step-process.js').StepProcess> | undefined} */
  let own;
  try {
    const fromEnv = fromEnvironment(process.env);
    strict = fromEnv.strict ?? false;
    const asksResume = flags.has('resume') || flags.has('resume-step');
    wantsResume = asksResume && fromEnv.resume !== false;
    const settings = preloadSettings(process.env, placeOf({}), runId);
    strict = settings.strict;
    wantsResume = asksResume && settings.resume;
    if (!settings.resume && !settings.checkpoint) return;
    process.env.WAYMARK_ATTACHED = runId;
    nameOurselves();
    const manager = new CheckpointManager();
    const dryRun = flags.has('dry-run');
    /** @param {string} run @param {Lease | null} [lease] */
    const started = (run, lease) => {
      own = new (require('./step-process.js').StepProcess)(manager, run, flags, say);
      if (lease) own.adopt(lease);
      if (own.enter(wantsResume)) return;
      own.leave();
      process.exit(require('./pause.js').EXIT_PAUSED);
    };
    // Somebody who holds the run is waited for, or left alone: by the resume.
    const mayBeHeld = wantsResume && settings.options?.some((one) => /^(wait|fork)\b/.test(one));
    if (!dryRun && !mayBeHeld) started(runId);
    let run = runId;
    if (wantsResume) {
      const resumed = await resume(manager, runId, words, flags, dryRun, settings);
      if (resumed === undefined) {
        own?.leave();
        process.exit(0);
      }
      run = resumed.runId;
      process.env.WAYMARK_ATTACHED = run;
      if (!dryRun && (own === undefined || run !== runId)) {
        // A fork goes on: the run that it began from is let go.
        own?.leave();
        started(run, resumed.lease);
      }
      own?.putBack(resumed.from);
    } else if (!dryRun) finishRestore(manager, runId);
    if (flags.has('pause-after')) withoutPauseAfter();
    if (own) watch(manager, run, settings, own);
  } catch (error) {
    own?.leave();
    if (wantsResume && codeOf(error) === 'ERR_RUN_STALE') {
      require('./resume-plan.js').markRefused(new CheckpointManager(), error);
    }
    const refused = own && require('./step-process.js').REFUSALS.has(`${codeOf(error)}`);
    // A resume that can't be made must not start the wrong step, and nobody starts what another is at; anything else
    // must not stop it.
    if (wantsResume || strict || refused) {
      const what = wantsResume ? 'resume' : refused ? 'start a step of' : 'watch';
      say(`can't ${what} run ${runId}: ${describe(error)}`);
      if (codeOf(error) === 'ERR_RESTORE_CONFLICT') {
        say(
          'files of the workspace were changed since the newest checkpoint: to go on set WAYMARK_ON_CONFLICT to keep-both (yours stay beside), overwrite (waymark undo brings them back) or merge',
        );
      }
      if (codeOf(error) === 'ERR_RUN_STALE') {
        say(
          'to go on all the same set WAYMARK_ACCEPT (head_moved,dirty_files), or WAYMARK_OPTION for what is to be done about it (new_ports); waymark resume --plan tells more',
        );
      }
      process.exit(1);
    }
    say(`no checkpoint will be taken of run ${runId}: ${describe(error)}`);
  }
}

/**
 * Whether this is a worker thread: there nobody may change the working directory, and the error's code says so.
 * `node:worker_threads` knows it too, but is slow to load.
 */
function isWorker() {
  try {
    process.chdir('.');
    return false;
  } catch (error) {
    return /_WORKER_UNSUPPORTED_OPERATION$/.test(`${codeOf(error)}`);
  }
}

/**
 * Children inherit `--import waymark/register`, and Node looks that name up from their working
 * directory: with our address instead they start wherever they are.
 */
function nameOurselves() {
  const address = pathToFileURL(path.join(__dirname, 'register.mjs')).href;
  const name = 'waymark/register';
  process.execArgv = process.execArgv.map((word) =>
    word === name || word === `--import=${name}` ? word.replace(name, address) : word,
  );
  if (process.env.NODE_OPTIONS) {
    process.env.NODE_OPTIONS = process.env.NODE_OPTIONS.replace(
      /(--import[= ]"?)waymark\/register\b/g,
      (_, before) => before + address,
    );
  }
}

/** @param {unknown} error */
function codeOf(error) {
  return /** @type {{ code?: unknown }} */ (error).code;
}

/** The flag is ours alone. */
function withoutPauseAfter() {
  process.argv.splice(
    2,
    process.argv.length,
    ...withoutFlags(process.argv.slice(2), ['pause-after']),
  );
}

/**
 * Restores and rewrites the arguments to the next step.
 * @param {Manager} manager
 * @param {string} runId
 * @param {string[]} words
 * @param {Map<string, string | true>} flags
 * @param {boolean} dryRun
 * @param {import('./settings.js').PreloadSettings} settings
 * @returns {Promise<{ runId: string, from: import('../index.js').Step | null, lease: Lease | null } | undefined>} the run that goes on; undefined if no step is left
 */
async function resume(manager, runId, words, flags, dryRun, { onConflict, accept, options }) {
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
  const how = { workflow, step, accept, onConflict };
  const { checkpointId, from, next, plan, did, ended, ports, ...done } = dryRun
    ? await planned(manager, runId, how)
    : await manager.resume(runId, { ...how, options });
  // Loaded here: a step that is not resumed pays for nothing.
  const { behind, circumstances, passedOver } = require('./resume-words.js');
  for (const line of [...passedOver(plan.skipped), ...circumstances(plan.reasons, did)]) say(line);
  if (ended) return undefined;
  if (next === null) {
    say(`${checkpointId} was taken after step ${from}, the workflow's last: nothing is left to do`);
    return undefined;
  }
  if (checkpointId !== null) {
    const restored = `${dryRun ? 'would restore' : 'restored'} ${checkpointId} (${behind(from)})`;
    say(`${restored}; going on with step ${next}`);
  }
  Object.assign(process.env, portVariables(ports));
  const isOther = done.runId !== runId;
  process.argv.splice(
    2,
    process.argv.length,
    ...withoutFlags(words, ['resume', 'resume-step', 'step', ...(isOther ? ['run-id'] : [])]),
    '--step',
    String(next),
    ...(isOther ? ['--run-id', done.runId] : []),
  );
  return { runId: done.runId, from, lease: /** @type {any} */ (done.lease) };
}

/**
 * What a resume would do.
 * @param {Manager} manager
 * @param {string} runId
 * @param {import('../index.js').PlanResumeOptions} how
 */
async function planned(manager, runId, how) {
  const plan = await manager.planResume(runId, { ...how, mark: false });
  require('./resume-run.js').refuseStale(plan);
  const { checkpointId, from, next } = plan;
  return { runId, checkpointId, from, next, plan, did: [], ended: false, ports: {}, lease: null };
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
  // Its lock for run.json may have been left as well, and the runner would wait for that.
  const left = [...journals, path.join(runDir, 'run.json.lock')];
  if (!fs.existsSync(own) || !left.some((file) => fs.existsSync(file))) return;
  const recovered = manager.recoverSync(runId);
  if (recovered !== 'nothing')
    say(`a restore of run ${runId} had been cut off and was ${recovered}`);
}

/**
 * Takes a checkpoint when the process ends with 0 and the step was done, and says what became of the step.
 * @param {Manager} manager
 * @param {string} runId
 * @param {import('./settings.js').PreloadSettings} settings
 * @param {InstanceType<typeof import('./step-process.js').StepProcess>} own
 */
function watch(manager, runId, settings, own) {
  const before = traces(manager, runId);
  const namesBefore = new Set(checkpointNames(manager, runId));
  // Read now: the arguments are the runner's, after a resume was worked out.
  own.begin(stepOf());
  if (settings.pauseOnSigterm) own.pauseOnTerm();
  atTheVeryEnd((code) => {
    const ended = Number(code ?? 0);
    // A runner that resumes by itself knows the step only now.
    const step = stepOf();
    /** @type {import('./step-process.js').Outcome} */
    let outcome = 'off';
    const isOurs = own.claim();
    if (!isOurs && ended === 0) {
      outcome = 'failed';
      if (settings.strict) process.exitCode = 1;
    } else if (ended === 0 && step !== undefined && settings.checkpoint) {
      try {
        outcome = checkpointOf(manager, runId, step, before, namesBefore, own);
      } catch (error) {
        outcome = 'failed';
        say(
          `step ${step} of run ${runId} is done, but no checkpoint was taken: ${describe(error)}`,
        );
        if (settings.strict) process.exitCode = 1;
      }
    }
    try {
      if (own.end(ended, step, outcome)) process.exitCode = require('./pause.js').EXIT_PAUSED;
    } catch (error) {
      say(`the state of run ${runId} is not kept: ${describe(error)}`);
      if (settings.strict && ended === 0) process.exitCode = 1;
    }
    keepCompiled();
  });
}

/** The step that the arguments name. */
function stepOf() {
  const step = stepFromText(readFlags(process.argv.slice(2)).get('step'));
  return typeof step === 'number' || typeof step === 'string' ? step : undefined;
}

/**
 * @param {Manager} manager
 * @param {string} runId
 * @param {number | string} step
 * @param {string} before the traces that there were
 * @param {Set<string>} namesBefore
 * @param {InstanceType<typeof import('./step-process.js').StepProcess>} own
 * @returns {import('./step-process.js').Outcome}
 */
function checkpointOf(manager, runId, step, before, namesBefore, own) {
  if (traces(manager, runId) === before) {
    line?.tell({ skipped: 'no_trace' });
    say(`step ${step} left no trace in run ${runId} (a condition that is false?): no checkpoint`);
    return 'none';
  }
  const status = statusOf(manager, runId);
  if (status !== undefined && NOT_DONE.has(status)) {
    line?.tell({ waiting: status });
    say(`run ${runId} is ${status} after step ${step}: no checkpoint`);
    return 'waits';
  }
  if (tookItsOwn(manager, runId, namesBefore, step)) return 'own';
  const created = manager.createSync(runId, step, stepState(own, step));
  line?.tell({ checkpoint: created.checkpointId });
  for (const warning of created.warnings) say(warning);
  own.bytes = created.size + (created.snapshot?.bytes ?? 0);
  return 'taken';
}

/**
 * Runs something behind all of the runner's own exit handlers, which may still change the exit code:
 * behind the event itself, and, where a handler exits once more, right before that.
 * @param {(code: number | string | null | undefined) => void} last
 */
function atTheVeryEnd(last) {
  let done = false;
  /** @param {number | string | null | undefined} code */
  const once = (code) => {
    if (done) return;
    done = true;
    last(code);
  };
  // `reallyExit` is Node's own, undocumented door; signal-exit and its users go through it as well.
  const inner = /** @type {any} */ (process);
  const { emit, reallyExit } = inner;
  /** @param {[string, ...unknown[]]} args */
  inner.emit = (...args) => {
    const result = Reflect.apply(emit, process, args);
    if (args[0] === 'exit') {
      once(process.exitCode ?? /** @type {number | undefined} */ (args[1]));
    }
    return result;
  };
  /** @param {number} [code] */
  inner.reallyExit = (code) => {
    once(code);
    return Reflect.apply(reallyExit, process, [process.exitCode || code]);
  };
}

/**
 * True if the runner took a checkpoint of this very step itself. One of another step is a parallel
 * step's, or that of a runner that knows no fractions.
 * @param {Manager} manager
 * @param {string} runId
 * @param {Set<string>} namesBefore
 * @param {number | string} step
 */
function tookItsOwn(manager, runId, namesBefore, step) {
  const fresh = checkpointNames(manager, runId).filter((name) => !namesBefore.has(name));
  if (fresh.length === 0) return false;
  const { isGuards } = require('./task-history.js');
  return manager.listSync(runId).some((one) => {
    // Those of tasks and guards are taken in the middle of a step.
    const { type, task } = one.facts ?? {};
    if (isGuards(one) || (type === 'automatic' && task !== undefined)) return false;
    return one.step === step && fresh.includes(path.basename(one.path));
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
 * @returns {string[]}
 */
function checkpointNames(manager, runId) {
  try {
    const folder = path.join(manager.runsDir(runId), runId, 'checkpoints');
    return fs.readdirSync(folder).filter((name) => name.endsWith('.json'));
  } catch {
    // No folder yet; what else is wrong with it, taking the checkpoint will say.
    return [];
  }
}

/**
 * What can be told of a step from outside: what the workflow file says of it.
 * @param {InstanceType<typeof import('./step-process.js').StepProcess>} own
 * @param {number | string} step
 * @returns {Record<string, unknown>}
 */
function stepState(own, step) {
  const found = own.steps()?.find((one) => one.step === step);
  if (!found) return {};
  return { step_name: found.name, agent: found.agent, artifacts: found.outputs };
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
