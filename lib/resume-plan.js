// The plan of a resume: from which checkpoint a run would go on, with which step, and whether the world is still
// as it was. Looks at everything, changes nothing but the mark of a checkpoint that is found stale.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { contextOf, FORMAT, lookAgain, spanMs } = require('./fingerprint.js');
const { checkAccept, compare, difference, offered, some, weigh } = require('./gate.js');
const { leftAtWork, leftInWords } = require('./left-at-work.js');
const { inWords, leaseToken, readLeaseSync } = require('./lease.js');
const { checkOptions, checkRunId } = require('./options.js');
const { descentOf } = require('./resume-descent.js');
const { progressAt, progressOfTasks } = require('./resume-steps.js');
const { stepInWords } = require('./run-state.js');
const { realPath } = require('./real-path.js');
const { readSteps } = require('./workflow.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').Step} Step
 * @typedef {import('../index.js').ResumePlan} ResumePlan
 * @typedef {import('../index.js').ResumeReason} ResumeReason
 * @typedef {import('../index.js').CheckpointInfo} CheckpointInfo
 * @typedef {import('../index.js').SkippedCheckpoint} SkippedCheckpoint
 * @typedef {import('./gate.js').Difference} Difference
 *
 * What a manager gives.
 * @typedef {object} Ground
 * @property {Manager} manager
 * @property {(runId: string) => { place: import('../native.js').Place, root: string, runsDir: string, storeDir: string | undefined, declared: import('../index.js').EnvironmentOptions, policy: import('../index.js').ResumePolicy, files: boolean }} of
 */

const PLAN = /** @type {const} */ ({
  checkpoint: 'id',
  step: 'step',
  accept: 'strings',
  policy: 'resumePolicy',
  workflow: 'string',
  onConflict: 'policy',
  files: 'boolean',
  mark: 'boolean',
  signal: 'signal',
});

/** Statuses after which a run does not go on by itself. */
const ENDED = new Set(['completed', 'cancelled']);
/** So many artifacts are looked for that no checkpoint holds. */
const ARTIFACTS_MAX = 10_000;
/** A registry of megabytes is looked at by its ends: all of it is read by the restore anyway. */
const PARSED_MAX = 256 * 1024;
/** What changes where the next checkpoint of a run comes from. @type {import('../index.js').EventKind[]} */
const WAYS = ['created', 'restored', 'undone'];

/**
 * @param {Ground} ground
 * @param {unknown} runId
 * @param {unknown} options
 * @returns {Promise<ResumePlan>}
 */
async function planResume(ground, runId, options) {
  const checked = checkOptions(options, PLAN, 'planResume');
  const run = checkRunId(runId);
  const { plan } = await planned(ground, run, checked, leaseToken(ground.of(run).place, run));
  return plan;
}

/**
 * @param {Ground} ground
 * @param {string} runId
 * @param {Record<string, any>} options checked
 * @param {number | undefined} token the token of the lease under which the run would go on
 * @returns {Promise<Planned>}
 *
 * @typedef {object} Planned
 * @property {ResumePlan} plan
 * @property {import('./workflow.js').WorkflowStep[]} [steps] of the workflow that it went by
 */
async function planned(ground, runId, options, token) {
  const { manager } = ground;
  const { accept = [], signal, mark = true } = options;
  if (options.step !== undefined && options.checkpoint !== undefined) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      'planResume: give "checkpoint" or "step", not both',
    );
  }
  const accepted = checkAccept(accept);
  const at = Date.now();
  const { place, root, runsDir, storeDir, declared, files, ...own } = ground.of(runId);
  const policy = { ...own.policy, ...options.policy };
  const maxAgeMs = policy.maxAge === undefined ? undefined : spanMs(policy.maxAge);
  const runDir = path.join(runsDir, runId);
  /** @type {SkippedCheckpoint[]} */
  const skipped = [];
  /** @type {CheckpointInfo[]} */
  const rows = [];
  for (const one of await manager.list(runId, { includeDamaged: true, signal })) {
    if ('damage' in one) {
      const { checkpointId, damage, message } = one;
      skipped.push({ checkpointId, damage, message });
    } else rows.push(one);
  }
  const isListed = [...rows, ...skipped].some(
    ({ checkpointId }) => checkpointId === options.checkpoint,
  );
  // What is wrong with an id, the core knows best.
  if (options.checkpoint !== undefined && !isListed) {
    await manager.show(runId, options.checkpoint, { signal });
    // It is there, and in no list: a restore has kept it.
    throw new WaymarkError(
      'ERR_CHECKPOINT_NOT_FOUND',
      `${options.checkpoint} is what a restore of run ${runId} kept, and nothing to go on from; put it back (waymark restore ${runId} ${options.checkpoint}), take a checkpoint of that (waymark create), and go on from it`,
      { runId, checkpointId: options.checkpoint },
    );
  }
  const takesFiles = options.files ?? files;
  /** @param {CheckpointInfo} row */
  const look = async (row) => {
    const { checkpointId } = row;
    const verified = manager.verify(runId, { checkpointId, signal });
    verified.catch(() => {});
    const { checkpoint } = await manager.show(runId, checkpointId, { signal });
    const then = environmentOf(checkpoint);
    const workflow = workflowOf(options.workflow, then, declared, root);
    const context = contextOf({
      place,
      root,
      runsDir,
      storeDir,
      runId,
      declared: workflow === undefined ? declared : { ...declared, workflow },
    });
    const isNewest = row.checkpointId === rows[0]?.checkpointId;
    const how = { ...options, files: takesFiles };
    // All of it at once; if it is damaged the rest was in vain.
    const rest = Promise.all([
      lookAgain(context, then, at),
      driftOf(ground, runId, row, how, checkpoint, isNewest, { root, runDir }),
      historyOf(place, runId, row, rows),
    ]);
    rest.catch(() => {});
    const { damaged } = await verified;
    if (damaged.length === 0) return { row, checkpoint, then, workflow, context, rest: await rest };
    const [{ checkpointId: id, damage, message }] = damaged;
    skipped.push({ checkpointId: id, damage, message });
    await rest.catch(() => {});
    return undefined;
  };
  /** @type {Awaited<ReturnType<typeof look>>} */
  let looked;
  for (const row of wantedIn(rows, options)) {
    looked = await look(row);
    if (looked) break;
  }
  const chosen = { id: looked?.row.checkpointId ?? options.checkpoint, row: looked?.row };
  if (looked === undefined) refuseNone(runId, rows, skipped, options);
  const passed = looked === undefined ? skipped : passedOver(skipped, looked.row, options);
  const found = [...ofLease(place, runId, token), ...ofDamage(runDir, chosen, passed)];
  if (looked === undefined) {
    const { verdict, reasons } = weigh(found, policy, accepted);
    const plan = {
      ...common(runId, verdict, reasons, skipped, accept),
      options: offered(reasons).filter(
        ({ option }) => option !== 'older_checkpoint' || rows.length > 0,
      ),
      checkpointId: chosen.id ?? null,
      from: null,
      timestamp: null,
      next: null,
      workflow: null,
      steps: { done: [], skipped: [], todo: [], frontier: [] },
    };
    return { plan };
  }
  const { row, checkpoint, then, workflow, context } = looked;
  const [now, drift, history] = looked.rest;
  const steps = workflow === undefined ? undefined : stepsOf(workflow, then, now);
  const from = steps === undefined ? row.step : await doneBy(manager, runId, steps, rows, row);
  const progress = stepsAt(steps, from, history, checkpoint);
  const next = /** @type {Step | undefined} */ (steps ? progress.frontier[0] : undefined);
  const isNamed = options.step !== undefined || options.checkpoint !== undefined;
  found.push(
    ...drift,
    ...ofStatus(context.record(), isNamed, steps !== undefined && isNearEnd(progress)),
  );
  const snapshot = /** @type {any} */ (checkpoint).snapshot;
  const [before, present] = takesFiles ? withoutCaptured([then, now], snapshot, root) : [then, now];
  const differences = compare(
    {
      was: isBeginning(row) && before ? { ...before, expires: undefined } : before,
      now: /** @type {import('../index.js').Environment} */ (present),
      steps,
      at,
      found,
      checkpoint: {
        id: row.checkpointId,
        step: from,
        timestamp: row.timestamp,
        partial: snapshot?.problems_total ?? 0,
      },
    },
    { ...policy, maxAgeMs },
  );
  const { verdict, reasons } = weigh(differences, policy, accepted);
  const older = rows.slice(
    rows.findIndex(({ checkpointId }) => checkpointId === row.checkpointId) + 1,
  );
  const options_ = offered(reasons).filter(
    ({ option }) =>
      (option !== 'older_checkpoint' || older.length > 0) &&
      (option !== 'restore_files' || takesFiles) &&
      (option !== 'complete_outside' || next !== undefined) &&
      (option !== 'restart_from_step' || steps !== undefined),
  );
  // Of a run that is through nothing is to go on.
  const isLeft = steps === undefined || next !== undefined || progress.done.length === 0;
  const isStale = verdict === 'stale' && isLeft;
  // What an older checkpoint comes to says nothing of the run, which would go on from the newest.
  const isRuns = !isNamed || row.checkpointId === rows[0]?.checkpointId;
  if (mark) await markStale(manager, runId, row, isStale ? reasons : undefined, at, isRuns);
  const plan = {
    ...common(runId, verdict, reasons, passed, accept),
    options: options_,
    checkpointId: row.checkpointId,
    from,
    timestamp: row.timestamp,
    next: next ?? null,
    workflow: workflow ?? null,
    steps: progress,
  };
  return { plan, steps };
}

/**
 * @param {string} runId
 * @param {import('../index.js').ResumeVerdict} verdict
 * @param {ResumeReason[]} reasons
 * @param {SkippedCheckpoint[]} skipped
 * @param {string[]} accept
 */
function common(runId, verdict, reasons, skipped, accept) {
  return { runId, verdict, reasons, skipped, accepted: [...accept] };
}

/**
 * The checkpoints to go on from, the best first: the one asked for, or the newest (of a step).
 * @param {CheckpointInfo[]} rows
 * @param {Record<string, any>} options
 */
function wantedIn(rows, { step, checkpoint }) {
  if (checkpoint !== undefined) return rows.filter((one) => one.checkpointId === checkpoint);
  return step === undefined ? rows : rows.filter((one) => one.step === step);
}

/**
 * There is none to go on from. One that was asked for by its id and is damaged gets a plan all the same.
 * @param {string} runId
 * @param {CheckpointInfo[]} rows
 * @param {SkippedCheckpoint[]} skipped
 * @param {Record<string, any>} options
 */
function refuseNone(runId, rows, skipped, { step, checkpoint }) {
  if (checkpoint !== undefined) return;
  const passedOver = skipped.map((one) => `${one.checkpointId} (${one.message})`).join(', ');
  const damaged = new Set(skipped.map(({ checkpointId }) => checkpointId));
  const usable = rows.filter(({ checkpointId }) => !damaged.has(checkpointId));
  if (step !== undefined && usable.length > 0) {
    const steps = usable.map((one) => one.step).join(', ');
    throw new WaymarkError(
      'ERR_CHECKPOINT_NOT_FOUND',
      `Checkpoint not found: step ${step} of run ${runId}; there are checkpoints of the steps ${steps}${
        passedOver && `; damaged: ${passedOver}`
      }`,
      { runId, skipped },
    );
  }
  if (skipped.length > 0) {
    throw new WaymarkError(
      'ERR_NO_GOOD_CHECKPOINT',
      `none of the ${skipped.length} checkpoints of run ${runId} can be restored: ${passedOver}; nothing was changed`,
      { runId, skipped },
    );
  }
  throw new WaymarkError(
    'ERR_NO_CHECKPOINT',
    `run ${runId} has no checkpoint; start it from its first step`,
    { runId },
  );
}

/**
 * Whether a fork begins with it: it has the fingerprint of its base, but not its age.
 * @param {CheckpointInfo} row
 */
function isBeginning({ parentCheckpointId, facts }) {
  return parentCheckpointId === undefined && facts?.parent !== undefined;
}

/**
 * Another tool may have a member of that name, and a newer version another format.
 * @param {any} checkpoint
 * @returns {import('../index.js').Environment | undefined}
 */
function environmentOf({ environment }) {
  return environment?.format === FORMAT ? environment : undefined;
}

/**
 * @param {string | undefined} asked
 * @param {any} then
 * @param {import('../index.js').EnvironmentOptions} declared
 * @param {string} root
 * @returns {string | undefined} the path of the workflow file
 */
function workflowOf(asked, then, declared, root) {
  if (asked !== undefined) return path.resolve(asked);
  const known = then?.workflow?.path ?? declared.workflow;
  return typeof known === 'string' ? path.resolve(root, known) : undefined;
}

/**
 * @param {string} file
 * @param {any} then
 * @param {any} now
 */
function stepsOf(file, then, now) {
  const isSame = then?.workflow?.hash !== undefined && then.workflow.hash === now?.workflow?.hash;
  if (!isSame || !Array.isArray(then.workflow.steps)) return readSteps(file);
  return require('./collectors/workflow.js').stepsTold(then.workflow);
}

/**
 * @param {import('./workflow.js').WorkflowStep[] | undefined} steps
 * @param {Step | null} at
 * @param {{ known: Set<Step>, whole: boolean }} history
 * @param {any} checkpoint
 */
function stepsAt(steps, at, history, checkpoint) {
  const tasks = checkpoint.step_state?.tasks?.roots;
  const none = { done: [], skipped: [], todo: [], frontier: [] };
  if (steps) return progressAt(steps, at ?? undefined, history) ?? none;
  if (Array.isArray(tasks)) return progressOfTasks(tasks);
  return { ...none, done: at === null ? [] : [at] };
}

/**
 * The last step of the workflow that was done when a checkpoint was taken. Tasks and guards take theirs in the middle of
 * a step: what they were taken after is no step of the workflow, and the step that they lie in is not done.
 * @param {Manager} manager
 * @param {string} runId
 * @param {import('./workflow.js').WorkflowStep[]} steps
 * @param {CheckpointInfo[]} rows
 * @param {CheckpointInfo} chosen
 * @returns {Promise<Step | null>} null if none was; one that the workflow does not list if that is not known
 */
async function doneBy(manager, runId, steps, rows, chosen) {
  const { forestIn, isGuards } = require('./task-history.js');
  const place = (/** @type {Step | undefined} */ one) =>
    steps.findIndex((each) => each.step === one);
  const byId = new Map(rows.map((row) => [row.checkpointId, row]));
  /** @type {CheckpointInfo | undefined} */
  let row = chosen;
  for (; row !== undefined; row = byId.get(row.parentCheckpointId ?? '')) {
    const { facts } = row;
    // Only of these it is looked at what they hold.
    if (facts?.type === 'automatic' && facts.task !== undefined) {
      const { checkpoint } = await manager.show(runId, row.checkpointId);
      const forest = forestIn(checkpoint.step_state);
      if (forest) {
        const whole = forest.roots.filter(({ status }) => status === 'completed');
        // A runner may make a task of each of its steps.
        const done = [forest.base, ...whole.map(({ name }) => name)].map(place);
        const last = Math.max(...done);
        if (last >= 0) return steps[last].step;
        return forest.base ?? null;
      }
    }
    if (!isGuards(row)) return place(row.step) >= 0 ? row.step : chosen.step;
    // What a fork began from lies in another run: what was done there is not known.
    if (row.parentCheckpointId === undefined)
      return facts?.parent === undefined ? null : chosen.step;
  }
  return chosen.step;
}

/**
 * Which steps have had a checkpoint on the way to one of them: those that its state descends from. What was pruned is
 * still in the audit log, which is only read then, back to the run's first checkpoint.
 * @param {import('../native.js').Place} place
 * @param {string} runId
 * @param {CheckpointInfo} row
 * @param {CheckpointInfo[]} rows
 */
async function historyOf(place, runId, row, rows) {
  const seen = descentOf(row, rows, []);
  if (seen.ends) return seen;
  // Loaded here: a run of a few checkpoints does without.
  const { eventsOfLife } = require('./events.js');
  try {
    return descentOf(row, rows, await eventsOfLife(place, runId, WAYS));
  } catch {
    // Without the log only what is there is known.
    return seen;
  }
}

/**
 * Somebody works on the run.
 * @param {import('../native.js').Place} place
 * @param {string} runId
 * @param {number | undefined} own
 * @returns {Difference[]}
 */
function ofLease(place, runId, own) {
  const lease = readLeaseSync(place, runId);
  // It may be this very process, or the one that started it.
  if (lease === null || lease.token === own) return [];
  const { holder, pid, host, since, expires, problem } = lease;
  if (!lease.live) {
    const left = leftAtWork(place, runId, lease);
    if (left.length === 0) return [];
    const [one] = left;
    const details = {
      holder: stepInWords(one),
      pid: one.pid,
      host: one.host,
      since: one.since,
      until: null,
    };
    return [difference('lease_held', undefined, leftInWords(left, lease), details)];
  }
  if (lease.why === 'damaged') {
    const message = `the file of the lease of run ${runId} can't be trusted (${problem}): somebody may work on the run; nobody does if it is not renewed until ${expires}`;
    const details = { holder: null, pid: null, host: null, since, until: expires, problem };
    return [difference('lease_held', undefined, message, details)];
  }
  const message = `${inWords(lease)} works on run ${runId} since ${since}, until ${expires}`;
  return [
    difference('lease_held', undefined, message, { holder, pid, host, since, until: expires }),
  ];
}

/**
 * @param {string} runDir
 * @param {{ id?: string, row?: CheckpointInfo }} chosen
 * @param {SkippedCheckpoint[]} skipped
 * @returns {Difference[]}
 */
function ofDamage(runDir, { id, row }, skipped) {
  /** @type {Difference[]} */
  const found = [];
  if (row === undefined) {
    const why = skipped.find(({ checkpointId }) => checkpointId === id)?.message;
    found.push(
      difference('state_damaged', 'checkpoint', `${id} is damaged: ${why}`, { checkpointId: id }),
    );
  } else if (skipped.length > 0) {
    const names = skipped.map(({ checkpointId }) => checkpointId);
    found.push(
      difference('state_damaged', 'passed_over', `damaged and passed over: ${some(names)}`, {
        checkpoints: skipped,
      }),
    );
  }
  for (const name of ['run.json', 'artifact-registry.json']) {
    const why = problemOf(path.join(runDir, name));
    if (why !== undefined) {
      found.push(difference('state_damaged', 'run', `${name} ${why}`, { file: name }));
    }
  }
  return found;
}

/** @param {string} file @returns {string | undefined} */
function problemOf(file) {
  try {
    const { size } = fs.statSync(file);
    if (size <= PARSED_MAX) {
      const value = JSON.parse(fs.readFileSync(file, 'utf8'));
      return typeof value === 'object' && value !== null ? undefined : 'is no JSON object';
    }
    const end = Buffer.alloc(16);
    const fd = fs.openSync(file, 'r');
    try {
      fs.readSync(fd, end, 0, end.length, size - end.length);
    } finally {
      fs.closeSync(fd);
    }
    return end.toString('utf8').trimEnd().endsWith('}') ? undefined : 'is cut off';
  } catch (error) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
    return code === 'ENOENT' ? 'is missing' : `is damaged: ${message}`;
  }
}

/**
 * Whether nothing is left, or only what comes last. A runner calls a run completed before that step's checkpoint is there,
 * and may be killed in between.
 * @param {import('../index.js').ResumeSteps} progress
 */
function isNearEnd({ todo, frontier }) {
  return todo.every((step) => frontier.includes(step));
}

/**
 * @param {Record<string, any> | undefined} record
 * @param {boolean} isNamed the checkpoint or step was named: it is meant to begin once more
 * @param {boolean} isNearEnd nothing is left, or only what comes last
 * @returns {Difference[]}
 */
function ofStatus(record, isNamed, isNearEnd) {
  const status = record?.status;
  if (!ENDED.has(status) || (status === 'completed' && (isNamed || isNearEnd))) return [];
  const message =
    status === 'completed' ? 'the run is completed' : 'the run was cancelled: somebody gave it up';
  return [difference('run_ended', status, message, { status })];
}

/**
 * What a restore would find changed.
 * @param {Ground} ground
 * @param {string} runId
 * @param {CheckpointInfo} row
 * @param {Record<string, any>} options
 * @param {any} checkpoint
 * @param {boolean} isNewest
 * @param {{ root: string, runDir: string }} where
 * @returns {Promise<Difference[]>}
 */
async function driftOf({ manager }, runId, row, options, checkpoint, isNewest, where) {
  const { root } = where;
  const { files, onConflict, signal } = options;
  const artifacts = registered(checkpoint, root);
  /** @type {any[]} */
  let paths = [];
  if (files && checkpoint.snapshot) {
    try {
      const how = { checkpointId: row.checkpointId, onConflict, signal };
      ({ paths } = await manager.planRestore(runId, how));
    } catch (error) {
      const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code === 'ERR_ABORTED') throw error;
      return [
        difference('not_known', 'now', `what a restore would change can't be told: ${message}`, {
          name: 'files',
          why: message,
        }),
      ];
    }
  }
  const captured = new Set();
  /** @type {Record<'missing' | 'changed' | 'conflict' | 'drifted', string[]>} */
  const found = { missing: [], changed: [], conflict: [], drifted: [] };
  for (const one of paths) {
    const file = path.resolve(root, one.rootPath, one.path);
    const isArtifact = one.root !== 'workspace' && one.action !== 'keep' && artifacts.has(file);
    if (isArtifact) captured.add(file);
    if (isArtifact && one.after !== undefined) {
      if (one.before === undefined) found.missing.push(file);
      else if (isNewest && one.differs?.content !== false) found.changed.push(file);
    } else if (one.root === 'workspace') {
      if (one.action === 'conflict') found.conflict.push(file);
      else if (one.action === 'keep_both' || one.action === 'merge') found.drifted.push(file);
      else if (isNewest && one.action !== 'keep') found.drifted.push(file);
    }
  }
  const lost = await lostArtifacts(artifacts, captured, checkpoint, files, where);
  /** @param {string} type @param {string | undefined} kind @param {string} words @param {string[]} all */
  const told = (type, kind, words, all) =>
    all.length === 0
      ? []
      : [
          difference(
            type,
            kind,
            `${words}: ${some(all.map((file) => path.relative(root, file) || file))}`,
            { paths: all.slice(0, 200), count: all.length },
          ),
        ];
  return [
    ...told('artifact_missing', 'captured', 'artifacts are gone', found.missing),
    ...told('artifact_missing', 'uncaptured', 'artifacts are gone', lost.uncaptured),
    ...told('artifact_missing', 'unknown', 'artifacts are not there', lost.unknown),
    ...told('artifact_changed', undefined, 'artifacts were changed', found.changed),
    ...told(
      'dirty_files',
      'conflict',
      'files were changed, and a restore would refuse',
      found.conflict,
    ),
    ...told('dirty_files', 'captured', 'files were changed', found.drifted),
  ];
}

/**
 * Of folders that were captured the snapshot knows more than git does.
 * @param {(import('../index.js').Environment | undefined)[]} environments
 * @param {any} snapshot
 * @param {string} root
 * @returns {(import('../index.js').Environment | undefined)[]}
 */
function withoutCaptured(environments, snapshot, root) {
  const roots = (snapshot?.roots ?? []).filter(
    (/** @type {any} */ one) => one.name === 'workspace',
  );
  if (roots.length === 0) return environments;
  // Git tells where a worktree is without links.
  const folders = roots.map((/** @type {any} */ one) => realPath(path.resolve(root, one.path)));
  return environments.map((environment) => {
    const git = /** @type {any} */ (environment?.git);
    if (!Array.isArray(git?.dirty)) return environment;
    const dirty = git.dirty.filter((/** @type {any} */ one) => {
      const file = path.join(git.worktree, one.path);
      return !folders.some(
        (/** @type {string} */ own) => file === own || file.startsWith(own + path.sep),
      );
    });
    const dirtyCount = git.dirtyCount - (git.dirty.length - dirty.length);
    return /** @type {any} */ ({ ...environment, git: { ...git, dirty, dirtyCount } });
  });
}

/** @param {any} checkpoint @param {string} root @returns {Set<string>} */
function registered({ artifact_registry: registry }, root) {
  const { artifacts } = registry ?? {};
  const entries =
    typeof artifacts === 'object' && artifacts !== null ? Object.values(artifacts) : [];
  const paths = entries.slice(0, ARTIFACTS_MAX).flatMap((entry) => {
    const isOwn = entry?.agent === 'checkpoint-manager';
    return !isOwn && typeof entry?.path === 'string' ? [path.resolve(root, entry.path)] : [];
  });
  return new Set(paths);
}

/**
 * Artifacts that are gone and that no restore brings back: those that could not be captured, and those of which the
 * checkpoint does not say whether they were there. What is known not to have been there is not missed.
 * @param {Set<string>} artifacts
 * @param {Set<unknown>} captured
 * @param {any} checkpoint
 * @param {boolean} files
 * @param {{ root: string, runDir: string }} where
 * @returns {Promise<{ uncaptured: string[], unknown: string[] }>}
 */
async function lostArtifacts(artifacts, captured, checkpoint, files, { root, runDir }) {
  const { snapshot, artifact_registry: registry } = checkpoint;
  const roots = files ? (snapshot?.roots ?? []) : [];
  /** @param {string} name */
  const rootOf = (name) => roots.find((/** @type {any} */ one) => one.name === name);
  const problems = new Set(
    (snapshot?.problems ?? []).map((/** @type {any} */ one) =>
      path.resolve(root, rootOf(one.root)?.path ?? '.', one.path),
    ),
  );
  const missing = new Set(
    (snapshot?.missing ?? []).flatMap((/** @type {string} */ name) => [
      path.resolve(root, name),
      path.resolve(root, registry?.artifacts?.[name]?.path ?? name),
    ]),
  );
  /** @type {{ uncaptured: string[], unknown: string[] }} */
  const lost = { uncaptured: [], unknown: [] };
  const asked = [...artifacts].map(async (file) => {
    const isLooked = rootOf(file.startsWith(runDir + path.sep) ? 'run' : 'artifacts') !== undefined;
    const kind = problems.has(file) ? 'uncaptured' : 'unknown';
    if (captured.has(file) || missing.has(file) || (kind === 'unknown' && isLooked)) return;
    const isThere = await fs.promises.access(file).then(
      () => true,
      () => false,
    );
    if (!isThere) lost[kind].push(file);
  });
  await Promise.all(asked);
  return lost;
}

/**
 * Those of the damaged ones that were in the way: the newer ones, unless another was asked for. Of a damaged one only its
 * id says when it was taken.
 * @param {SkippedCheckpoint[]} skipped
 * @param {CheckpointInfo} chosen
 * @param {Record<string, any>} options
 */
function passedOver(skipped, { checkpointId: id, timestamp }, { checkpoint }) {
  if (checkpoint !== undefined) return [];
  const at = takenAt(id) ?? Date.parse(timestamp);
  return skipped.filter(({ checkpointId }) => !(Number(takenAt(checkpointId)) < at));
}

/** @param {string} id @returns {number | undefined} in milliseconds */
function takenAt(id) {
  const [, ms] = /-(\d{12,15})$/.exec(id) ?? [];
  return ms === undefined ? undefined : Number(ms);
}

/** @param {ResumeReason[]} reasons */
function staleIn(reasons) {
  return (
    reasons
      // Who works on the run now says nothing of the checkpoint.
      .filter((one) => one.severity === 'stale' && !one.accepted && one.type !== 'lease_held')
      .map(({ type, kind, message }) => ({
        type,
        ...(kind ? { kind } : {}),
        message: message.slice(0, 300),
      }))
      .slice(0, 20)
  );
}

/**
 * Says of a checkpoint that it is stale, and why; or that it is not any more. A mark that can't be made is not
 * worth a failure: the plan says the same.
 * @param {Manager} manager
 * @param {string} runId
 * @param {CheckpointInfo} row
 * @param {ResumeReason[] | undefined} reasons
 * @param {number} at
 * @param {boolean} isRuns whether the run goes on from it
 */
async function markStale(manager, runId, row, reasons, at, isRuns) {
  const before = /** @type {any} */ (row.facts?.data)?.waymark?.stale;
  const told = reasons && staleIn(reasons);
  const isStale = told !== undefined && told.length > 0;
  if (isRuns) markRun(manager, runId, isStale ? told : undefined);
  if (!isStale && !before) return;
  if (isStale && JSON.stringify(before?.reasons) === JSON.stringify(told)) return;
  const stale = isStale ? { since: new Date(at).toISOString(), reasons: told } : null;
  try {
    await manager.update(runId, row.checkpointId, { data: { waymark: { stale } } });
  } catch (error) {
    if (!(error instanceof WaymarkError)) throw error;
  }
}

/**
 * Says the same of the run, while nobody is at work on it.
 * @param {Manager} manager
 * @param {string} runId
 * @param {{ type: string, message: string }[] | undefined} stale
 */
function markRun(manager, runId, stale) {
  try {
    const words = stale?.map(({ message }) => message).join('; ');
    require('./run-state.js').noteStale(manager, runId, stale, words);
  } catch (error) {
    if (!(error instanceof WaymarkError)) throw error;
  }
}

/**
 * Of a refused resume, once the run is let go: while it was held it could not be said.
 * @param {Manager} manager
 * @param {unknown} error
 */
function markRefused(manager, error) {
  const { code, runId, reasons } = /** @type {any} */ (error);
  if (code !== 'ERR_RUN_STALE' || !Array.isArray(reasons)) return;
  const stale = staleIn(reasons);
  if (stale.length > 0) markRun(manager, runId, stale);
}

module.exports = { markRefused, PLAN, planned, planResume };
