// A resume: the plan, what is to be done about its reasons, and then the restore. What refuses it does so before
// the run is changed.

const fs = require('node:fs');
const path = require('node:path');
const { repositoryOf } = require('./collectors/git.js');
const { WaymarkError } = require('./error.js');
const { spanMs } = require('./fingerprint.js');
const { leftAtWork } = require('./left-at-work.js');
const { holderName, inWords, readLeaseSync, takeLease, tokenToGoOn } = require('./lease.js');
const { native } = require('./native.js');
const { checkOptions, checkRunId, stepFromText } = require('./options.js');
const { withPointed } = require('./json-pointer.js');
const { markRefused, PLAN, planned } = require('./resume-plan.js');
const { removeNotes, writeNotes } = require('./resume-notes.js');
const { descentOf } = require('./resume-descent.js');
const { progressAt } = require('./resume-steps.js');
const { OPTIONS } = require('./resume-table.js');
const { finishRestore } = require('./restore.js');
const { changeRecord } = require('./run-json.js');
const runStates = require('./run-state.js');
const { readSteps } = require('./workflow.js');

/**
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('../index.js').ResumePlan} ResumePlan
 * @typedef {import('../index.js').ResumeOutcome} ResumeOutcome
 * @typedef {import('./resume-plan.js').Ground} Ground
 * @typedef {{ option: string, message: string, [name: string]: unknown }} Did
 *
 * Where a resume stands while options are taken.
 * @typedef {object} Way
 * @property {string} runId
 * @property {Record<string, any>} options of the plan
 * @property {Set<string>} settled types of reasons that an option takes care of
 * @property {Did[]} did
 * @property {Record<string, { port: number, at: string }>} ports to be put into the state
 * @property {import('./workflow.js').WorkflowStep[]} [steps] of the workflow that the last plan went by
 * @property {Step} [next] the step that was asked for, where others may run beside it
 * @property {Step} [beginning] begins at this step without a checkpoint
 * @property {boolean} [asIs] nothing is to be restored
 * @property {boolean} [ended]
 * @property {number} [token] of the lease under which it goes on; absent while somebody else has the run
 * @property {InstanceType<typeof import('./lease.js').Lease>} [lease] the same, if it was taken here, for whoever goes on
 * @property {import('../index.js').RunStateName} [from] what the run was in when that was taken
 *
 * @typedef {(ground: Ground, way: Way, plan: ResumePlan, value: string | undefined) => Promise<string>} Act
 */

const RESUME = /** @type {const} */ ({ ...PLAN, options: 'strings' });
const WAIT_POLL_MS = 100;
const WAIT = '60s';

/** What is done, in this order; each tells what it did. @type {Record<string, Act>} */
const ACTS = {
  wait: waitForLease,
  recreate_branch: recreateBranch,
  recreate_worktree: recreateWorktree,
  older_checkpoint: olderCheckpoint,
  restart_from_step: restartFrom,
  fork: forkRun,
  restore_files: restoreFiles,
  new_ports: newPorts,
  complete_outside: completeOutside,
  abandon,
};
/** These need a reason that they resolve. */
const BOUND = new Set(['recreate_branch', 'recreate_worktree', 'restore_files', 'new_ports']);

/**
 * @param {string[]} options `name`, or `name=value`
 * @returns {Map<string, string | undefined>}
 */
function wantedOf(options) {
  const wanted = new Map();
  for (const text of options) {
    const at = text.indexOf('=');
    const name = at === -1 ? text : text.slice(0, at);
    const value = at === -1 ? undefined : text.slice(at + 1);
    if (!Object.hasOwn(ACTS, name)) {
      const hint = name === 'accept' ? '; reasons are accepted with "accept"' : '';
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        `resume: ${JSON.stringify(name)} is no option of a resume; options are ${Object.keys(ACTS).join(', ')}${hint}`,
      );
    }
    const takes = OPTIONS[name].value;
    if (value !== undefined && takes === undefined) {
      throw new WaymarkError('ERR_OPTION_INVALID', `resume: ${name} takes no value`);
    }
    if ((value === undefined || value === '') && takes !== undefined && name !== 'wait') {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        `resume: ${name} needs a value: ${name}=<${takes}>`,
      );
    }
    wanted.set(name, value);
  }
  return wanted;
}

/**
 * @param {Ground} ground
 * @param {unknown} runIdGiven
 * @param {unknown} options
 * @returns {Promise<ResumeOutcome>}
 */
async function resume(ground, runIdGiven, options) {
  const { options: asked = [], ...checked } = checkOptions(options, RESUME, 'resume');
  const runId = checkRunId(runIdGiven);
  const wanted = wantedOf(asked);
  /** @type {Way} */
  const way = { runId, options: checked, settled: new Set(), did: [], ports: {} };
  try {
    // A restore that was killed is part of the run's state: finished before checkpoints are judged.
    finishRestore(ground.manager, runId);
    const done = await goOn(ground, way, wanted);
    if (done.ended || done.next === null) letGo(way);
    return { ...done, lease: /** @type {any} */ (way.lease ?? null) };
  } catch (error) {
    const isOthers = way.token !== undefined && way.lease === undefined;
    letGo(way);
    // Whoever holds the run says it himself, once he has let it go.
    if (!isOthers) markRefused(ground.manager, error);
    throw error;
  }
}

/**
 * @param {Ground} ground
 * @param {Way} way
 * @param {Map<string, string | undefined>} wanted
 * @returns {Promise<Omit<ResumeOutcome, 'lease'>>}
 */
async function goOn(ground, way, wanted) {
  let plan = await look(ground, way);
  for (const [option, act] of Object.entries(ACTS)) {
    if (!wanted.has(option) || way.ended) continue;
    if (BOUND.has(option)) refuseUnneeded(plan, option);
    const message = await act(ground, way, plan, wanted.get(option));
    const known = way.did.find((one) => one.option === option);
    if (known) known.message = message;
    else way.did.push({ option, message });
    if (!way.ended && way.beginning === undefined) plan = await look(ground, way);
  }
  if (way.ended) return outcome(way, plan, null);
  if (way.beginning !== undefined) return begin(ground, way, plan, way.beginning);
  refuseStale(plan, way);
  if (isThrough(plan)) return outcome(way, plan, null);
  const { place } = ground.of(way.runId);
  const { onConflict, files, signal } = way.options;
  const restored = way.asIs
    ? null
    : await ground.manager.restore(way.runId, {
        checkpointId: /** @type {string} */ (plan.checkpointId),
        onConflict,
        files,
        signal,
      });
  await putPorts(ground, way);
  note(place, way, plan);
  noteRunning(ground, way, plan);
  return outcome(way, plan, restored);
}

/**
 * Takes the run, and looks how it stands.
 * @param {Ground} ground
 * @param {Way} way
 */
async function look(ground, way) {
  for (;;) {
    const isOurs = await hold(ground, way);
    const { plan, steps } = await planned(ground, way.runId, way.options, way.token);
    way.steps = steps;
    // Who stood in the way a moment ago may be gone by now: then it is taken after all.
    if (isOurs || plan.reasons.some(({ type }) => type === 'lease_held')) return plan;
  }
}

/**
 * Takes the run for whoever goes on with it, unless this process holds it, or was started by who does. If somebody else
 * holds it, the plan says who.
 * @param {Ground} ground
 * @param {Way} way
 * @returns {Promise<boolean>} whether it may go on as far as that goes
 */
async function hold({ manager, of }, way) {
  const { runId } = way;
  if (way.lease?.runId === runId) return true;
  letGo(way);
  const { place } = of(runId);
  way.token = tokenToGoOn(place, runId);
  if (way.token !== undefined) return true;
  const before = readLeaseSync(place, runId);
  if (before?.live) return false;
  if (process.env.WAYMARK_LEASE === 'off') return true;
  if (leftAtWork(place, runId, before).length > 0) return false;
  way.from = runStates.stateBefore(manager, runId);
  try {
    way.lease = await takeLease(place, runId, { holder: `a resume by ${holderName()}` });
  } catch (error) {
    const { code } = /** @type {{ code?: unknown }} */ (error);
    if (code !== 'ERR_LEASE_HELD') throw error;
    return false;
  }
  way.lease.reserve();
  way.token = way.lease.token;
  return true;
}

/** @param {Way} way */
function letGo(way) {
  const { lease } = way;
  way.lease = undefined;
  way.token = undefined;
  way.from = undefined;
  try {
    lease?.releaseSync();
  } catch {
    // Somebody took it over, or it expires by itself.
  }
}

/**
 * Says that the run goes on. Whoever held it before says so himself.
 * @param {Ground} ground
 * @param {Way} way
 * @param {ResumePlan} plan
 */
function noteRunning({ manager }, { runId, lease, from, steps }, plan) {
  if (lease === undefined) return;
  const order = steps?.map(({ step }) => step);
  runStates.noteResumed(manager, runId, from, { by: lease.holder, step: plan.from, order });
}

/**
 * Changes the runner's record, unless the run was taken over meanwhile.
 * @param {Ground} ground
 * @param {Way} way
 * @param {(record: Record<string, any>) => Record<string, any>} change
 */
async function changeRun({ of }, { runId, token }, change) {
  const { place, runsDir } = of(runId);
  await changeRecord(path.join(runsDir, runId), (record) => {
    const now = token === undefined ? null : readLeaseSync(place, runId);
    if (token !== undefined && now !== null && now.token > token) {
      throw new WaymarkError(
        'ERR_LEASE_LOST',
        `run ${runId} was taken over by ${inWords(now)}; nothing was changed; resume again when it is free`,
        { runId },
      );
    }
    return change(record);
  });
}

/**
 * @param {Way} way
 * @param {ResumePlan} whole
 * @param {import('../index.js').RestoreResult | null} restored
 * @returns {Omit<ResumeOutcome, 'lease'>}
 */
function outcome({ runId, did, ended = false, ports, next: asked }, whole, restored) {
  const isAsked = asked !== undefined && whole.steps.frontier.includes(asked);
  const plan = isAsked ? { ...whole, next: asked } : whole;
  const { checkpointId, from, next } = plan;
  return {
    runId,
    checkpointId,
    from,
    next: ended ? null : next,
    ended,
    did,
    ports: Object.fromEntries(Object.entries(ports).map(([name, { port }]) => [name, port])),
    plan,
    restored,
  };
}

/** @param {ResumePlan} plan @param {string} option */
function refuseUnneeded({ options, verdict, runId }, option) {
  if (options.some((one) => one.option === option)) return;
  const offered = options.map((one) => one.option).join(', ') || 'none';
  throw new WaymarkError(
    'ERR_RESUME_OPTION',
    `${option} resolves nothing here: run ${runId} is ${verdict}; options are ${offered}; nothing was changed`,
    { runId, reason: option },
  );
}

/**
 * True if no step is left: then nothing goes on, whatever the world is like.
 * @param {ResumePlan} plan
 */
function isThrough({ workflow, steps, reasons }) {
  const isKnown = workflow !== null && !reasons.some(({ type }) => type === 'step_missing');
  return isKnown && steps.todo.length === 0;
}

/**
 * @param {ResumePlan} plan
 * @param {{ settled?: ReadonlySet<string>, did?: Did[] }} [way]
 */
function refuseStale(plan, { settled = new Set(), did = [] } = {}) {
  if (isThrough(plan)) return;
  const open = plan.reasons.filter(
    ({ type, kind, severity, accepted }) =>
      severity === 'stale' && !accepted && !settled.has(type) && !settled.has(`${type}.${kind}`),
  );
  // The restore itself names all files that it would take.
  if (open.every(({ type, kind }) => type === 'dirty_files' && kind === 'conflict')) return;
  const { runId, skipped } = plan;
  const told = open.map(({ message }) => message).join('; ');
  const missing = open.every(({ type }) => type === 'step_missing');
  // Only what helps: of a reason that does not hold the run up nothing need be done.
  const stands = new Set(open.flatMap(({ type, kind }) => [type, `${type}.${kind}`]));
  const choices = plan.options
    .map(({ option, resolves }) => ({ option, helps: resolves.filter((one) => stands.has(one)) }))
    .filter(({ helps }) => helps.length > 0)
    .map(({ option, helps }) => (option === 'accept' ? `accept ${helps.join(',')}` : option))
    .join(', ');
  const done =
    did.length === 0
      ? 'nothing was changed'
      : `done so far: ${did.map(({ option, message }) => `${option} (${message})`).join(', ')}`;
  const error = new WaymarkError(
    missing ? 'ERR_WORKFLOW_STEP_MISSING' : 'ERR_RUN_STALE',
    missing
      ? `${told}; restore another checkpoint, or give the workflow file the run was started with`
      : `run ${runId} can't go on as it is: ${told}; ${done}. What can be done: ${choices}`,
    { runId, checkpointId: plan.checkpointId ?? undefined, reason: open[0].type, skipped },
  );
  throw Object.assign(error, { reasons: plan.reasons, options: plan.options });
}

/** @type {Act} */
async function waitForLease(ground, way, _, value = WAIT) {
  const until = performance.now() + spanMs(value);
  const { signal } = way.options;
  for (;;) {
    // Of several who wait, one has it then, and the others wait on.
    if (await hold(ground, way)) return `nobody else works on run ${way.runId}`;
    // What is still held then, the plan that follows says.
    if (performance.now() > until) return `waited ${value}; somebody still works on the run`;
    if (signal?.aborted) {
      throw new WaymarkError('ERR_ABORTED', 'the operation was aborted; nothing was changed', {
        cause: signal.reason,
      });
    }
    await require('node:timers/promises').setTimeout(WAIT_POLL_MS);
  }
}

/**
 * What the checkpoint's fingerprint says of git.
 * @param {Ground} ground
 * @param {string} runId
 * @param {ResumePlan} plan
 */
async function gitOf({ manager, of }, runId, plan) {
  const id = /** @type {string} */ (plan.checkpointId);
  const { checkpoint } = await manager.show(runId, id);
  const { git } = /** @type {any} */ (checkpoint).environment;
  const { root, place } = of(runId);
  const folder = path.resolve(root, git.folder);
  const repository = repositoryOf(git, /** @type {any} */ ({ root }));
  return { git, root, place, folder, repository };
}

/** @param {string} runId @param {string} message */
function notPossible(runId, message) {
  return new WaymarkError('ERR_RESUME_OPTION', message, { runId });
}

/** @type {Act} */
async function recreateWorktree(ground, way, plan) {
  const { git, folder, repository } = await gitOf(ground, way.runId, plan);
  if (git.branch === null || repository === undefined || repository === folder) {
    const why = git.branch === null ? 'it was on no branch' : 'its repository is gone, too';
    throw notPossible(way.runId, `the worktree ${folder} can't be made again: ${why}`);
  }
  const inner = git.inner === '' ? folder : git.worktree;
  const made = await native().gitAddWorktree(repository, inner, git.branch);
  if (/** @type {any} */ (made)?.failed === true) {
    throw WaymarkError.from(/** @type {any} */ (made), recreateWorktree);
  }
  return `made the worktree ${inner} from the branch ${git.branch}`;
}

/** @type {Act} */
async function recreateBranch(ground, way, plan) {
  const { git, repository } = await gitOf(ground, way.runId, plan);
  const { branch, head, commonDir } = git;
  /** @param {string} why */
  const refused = (why) =>
    notPossible(way.runId, `the branch ${branch} can't be made again: ${why}`);
  if (repository === undefined || typeof commonDir !== 'string' || !fs.existsSync(commonDir)) {
    throw refused('its repository is gone');
  }
  // Git has no such names; whoever wrote this one must not choose the place of a file by it.
  const parts = String(branch).split('/');
  if (!parts.every((part) => /^[^.\\\s~^:?*[][^\\\s~^:?*[]*$/.test(part) && !part.includes('..'))) {
    throw refused('that is no name of a branch');
  }
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(head)) throw refused('its commit is not known');
  const there = await native().gitIsAncestor(repository, head, head);
  if (there !== true) throw refused(`its commit ${head} is gone`);
  if (/refstorage *= *(?!files)/i.test(textOf(path.join(commonDir, 'config')))) {
    throw refused(
      `the repository keeps its references in another way; git branch ${branch} ${head}`,
    );
  }
  // A name is no folder of other ones at the same time.
  const packed =
    textOf(path.join(commonDir, 'packed-refs')).match(/(?<= refs\/heads\/)\S+$/gm) ?? [];
  const inTheWay = packed.find(
    (one) => one.startsWith(`${branch}/`) || branch.startsWith(`${one}/`),
  );
  if (inTheWay !== undefined) throw refused(`there is a branch ${inTheWay}`);
  const file = path.join(commonDir, 'refs', 'heads', ...parts);
  writeReference(file, head);
  return `made the branch ${branch} at ${head.slice(0, 10)}`;
}

/**
 * As git writes them: whoever makes the lock writes the reference, which is seen whole.
 * @param {string} file
 * @param {string} head
 */
function writeReference(file, head) {
  const lock = `${file}.lock`;
  let isOurs = false;
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(lock, `${head}\n`, { flag: 'wx', flush: true });
    isOurs = true;
    // Somebody may have made it meanwhile, at a commit of his own.
    if (fs.existsSync(file)) throw new Error('it is there by now');
    fs.renameSync(lock, file);
  } catch (cause) {
    if (isOurs) fs.rmSync(lock, { force: true });
    const { message } = /** @type {Error} */ (cause);
    throw new WaymarkError('ERR_IO', `${file} can't be written: ${message}`, { path: file, cause });
  }
}

/** @param {string} file */
function textOf(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** @type {Act} */
async function olderCheckpoint(ground, way, plan) {
  const rows = await ground.manager.list(way.runId);
  const at = rows.findIndex(({ checkpointId }) => checkpointId === plan.checkpointId);
  /** @type {string[]} */
  const passed = [];
  for (const { checkpointId, step } of rows.slice(at + 1)) {
    const { step: _, ...rest } = way.options;
    const options = { ...rest, checkpoint: checkpointId };
    const how = { ...options, mark: false };
    const { plan: older } = await planned(ground, way.runId, how, way.token);
    if (older.verdict !== 'stale') {
      way.options = options;
      return `went back to ${checkpointId} (step ${step})`;
    }
    passed.push(`${checkpointId}: ${older.reasons[0].message}`);
  }
  const why = passed.length > 0 ? `: ${passed.join('; ')}` : '';
  throw notPossible(
    way.runId,
    `run ${way.runId} has no older checkpoint that is good and not stale${why}; nothing was changed`,
  );
}

/** @type {Act} */
async function restartFrom(ground, way, plan, value) {
  const step = /** @type {Step} */ (stepFromText(value));
  const workflow = plan.workflow ?? way.options.workflow;
  if (typeof workflow !== 'string') {
    throw new WaymarkError(
      'ERR_WORKFLOW_NOT_FOUND',
      'the steps are taken from the workflow file; give its path as "workflow"',
      { runId: way.runId },
    );
  }
  const steps = readSteps(workflow);
  const place = steps.findIndex((one) => one.step === step);
  if (place === -1) {
    throw new WaymarkError(
      'ERR_WORKFLOW_STEP_MISSING',
      `the workflow file ${workflow} does not list step ${step} (it lists ${steps.map((one) => one.step).join(', ')})`,
      { runId: way.runId, path: workflow },
    );
  }
  const { checkpoints } = await ground.manager.verify(way.runId);
  const rows = await ground.manager.list(way.runId);
  const before = checkpoints.find(({ checkpointId, step: of }) => {
    const row = rows.find((one) => one.checkpointId === checkpointId);
    if (row === undefined) return false;
    const { known } = descentOf(row, rows, []);
    return progressAt(steps, of, { known, whole: false })?.frontier.includes(step);
  });
  if (before === undefined && place > 0) {
    throw new WaymarkError(
      'ERR_CHECKPOINT_NOT_FOUND',
      `run ${way.runId} can't restart from step ${step}: it has no good checkpoint that step ${step} comes after; from step ${steps[0].step} it can; nothing was changed`,
      { runId: way.runId },
    );
  }
  const { step: _, checkpoint: __, ...rest } = way.options;
  if (before === undefined) {
    refuseHeld(plan, way);
    way.beginning = step;
    way.steps = steps;
    return `begins at step ${step}, without a checkpoint`;
  }
  way.options = { ...rest, checkpoint: before.checkpointId };
  way.next = step;
  // Somebody wants it to go on after all.
  way.settled.add('run_ended');
  return `restarts from step ${step}, after ${before.checkpointId} (step ${before.step})`;
}

/** Whatever else is the matter: nobody works on a run that somebody works on. @param {ResumePlan} plan @param {Way} way */
function refuseHeld(plan, way) {
  const held = plan.reasons.filter(({ type }) => type === 'lease_held');
  if (held.length > 0) refuseStale({ ...plan, reasons: held, workflow: null }, way);
}

/** @type {Act} */
async function forkRun(ground, way, plan, value) {
  const newRun = /** @type {string} */ (value);
  const { signal } = way.options;
  const checkpointId = plan.checkpointId ?? undefined;
  const forked = await ground.manager.fork(way.runId, newRun, { checkpointId, signal });
  const { step: _, checkpoint: __, ...rest } = way.options;
  const from = way.runId;
  way.runId = newRun;
  way.options = { ...rest, workflow: rest.workflow ?? plan.workflow ?? undefined };
  way.did.push({ option: 'fork', message: '', from, runId: newRun });
  // It begins now, however old what it begins from is.
  way.settled.add('expired');
  return `run ${newRun} begins where ${from} was at ${forked.baseCheckpointId}`;
}

/** @type {Act} */
async function restoreFiles(_, way) {
  way.options = { ...way.options, onConflict: 'overwrite', files: true };
  for (const one of [
    'dirty_files.captured',
    'dirty_files.conflict',
    'artifact_changed',
    'artifact_missing.captured',
    'state_damaged.run',
  ]) {
    way.settled.add(one);
  }
  return 'puts the captured files back over what is there';
}

/** @type {Act} */
async function newPorts(ground, way, plan) {
  const taken = plan.reasons.filter(({ type }) => type === 'port_in_use');
  const id = /** @type {string} */ (plan.checkpointId);
  const { checkpoint } = await ground.manager.show(way.runId, id);
  const { ports } = /** @type {any} */ (checkpoint).environment;
  const declared = Object.values(ports).map((/** @type {any} */ one) => one.port);
  // Loaded here: few runs declare ports.
  const { freePorts } = require('./collectors/ports.js');
  const free = await freePorts(taken.length, new Set(declared));
  const words = taken.map(({ details }, at) => {
    const name = /** @type {string} */ (details.name);
    way.ports[name] = { port: free[at], at: ports[name].at };
    return `${name}: ${free[at]} (was ${details.port})`;
  });
  way.settled.add('port_in_use');
  return `took free ports: ${words.join(', ')}`;
}

/** @param {Ground} ground @param {Way} way */
async function putPorts(ground, way) {
  const all = Object.values(way.ports);
  if (all.length === 0) return;
  await changeRun(ground, way, (record) =>
    all.reduce((one, { port, at }) => withPointed(one, at, port), record),
  );
}

/** @type {Act} */
async function completeOutside(ground, way, plan) {
  const { next, workflow, runId } = plan;
  refuseHeld(plan, way);
  if (next === null || workflow === null) {
    throw notPossible(
      runId,
      `run ${runId} has no next step that could be done; nothing was changed`,
    );
  }
  const steps = readSteps(workflow);
  const found = steps.find(({ step }) => step === next);
  const after = progressAt(steps, next, { known: new Set(plan.steps.done), whole: false });
  const isLast = after?.todo.length === 0;
  const { place } = ground.of(runId);
  const at = new Date().toISOString();
  /** @type {Record<string, any>} */
  let before = {};
  await changeRun(ground, way, (record) => {
    before = record;
    return {
      ...record,
      current_step: next,
      status: isLast ? 'completed' : 'in_progress',
      ...(isLast ? { timestamps: { ...record.timestamps, completed_at: at } } : {}),
    };
  });
  const did = [...way.did, { option: 'complete_outside', message: `step ${next}` }];
  const revision = note(place, { ...way, did }, plan);
  const state = {
    step_name: found?.name,
    agent: found?.agent,
    artifacts: found?.outputs ?? [],
    completed_outside: true,
  };
  const description = `step ${next} was done outside of the run`;
  const made = await ground.manager
    .create(runId, next, state, {
      facts: { type: 'manual', trigger: 'user', description },
      environment: { workflow },
    })
    .catch(async (error) => {
      await changeRun(ground, way, () => before);
      if (revision !== undefined) removeNotes(place, runId, revision);
      throw error;
    });
  const { step: _, ...rest } = way.options;
  way.options = { ...rest, checkpoint: made.checkpointId };
  way.asIs = true;
  way.did.push({
    option: 'complete_outside',
    message: '',
    step: next,
    checkpointId: made.checkpointId,
  });
  return `step ${next} is taken as done; ${made.checkpointId} holds how things are now`;
}

/** @type {Act} */
async function abandon(ground, way, plan) {
  refuseHeld(plan, way);
  await changeRun(ground, way, (record) => {
    if (record.status === 'completed') {
      const why = 'it is completed; nothing was changed';
      throw notPossible(way.runId, `run ${way.runId} can't be abandoned: ${why}`);
    }
    return { ...record, status: 'cancelled' };
  });
  const pruned = await ground.manager.prune(way.runId, { keepLast: 1, gc: true });
  way.ended = true;
  way.did.push({ option: 'abandon', message: '', dropped: pruned.dropped });
  return `run ${way.runId} is cancelled; ${pruned.dropped.length} checkpoints were dropped`;
}

/**
 * Begins a run anew at its first step: nothing is restored, there is nothing to restore from.
 * @param {Ground} ground
 * @param {Way} way
 * @param {ResumePlan} plan
 * @param {Step} step
 * @returns {Promise<Omit<ResumeOutcome, 'lease'>>}
 */
async function begin(ground, way, plan, step) {
  const { place } = ground.of(way.runId);
  await changeRun(ground, way, (record) => ({
    ...record,
    current_step: step,
    status: 'in_progress',
  }));
  note(place, way, plan);
  const at = { checkpointId: null, from: null, next: step, timestamp: null };
  noteRunning(ground, way, { ...plan, ...at });
  return outcome(way, { ...plan, ...at }, null);
}

/**
 * For the checkpoint that follows.
 * @param {import('../native.js').Place} place
 * @param {Way} way
 * @param {ResumePlan} plan
 * @returns {string | undefined} the revision of the note
 */
function note(place, way, plan) {
  const at = new Date().toISOString();
  const accepted = plan.reasons
    .filter((one) => one.accepted)
    .map(({ type, kind, message }) => ({ type, ...(kind ? { kind } : {}), message, at }));
  const did = way.did.map(({ option, message }) => ({ option, message }));
  if (accepted.length === 0 && did.length === 0) return undefined;
  const checkpointId = plan.checkpointId ?? '';
  return writeNotes(place, way.runId, { at, checkpointId, accepted, did });
}

module.exports = { ACTS, refuseStale, resume, wantedOf };
