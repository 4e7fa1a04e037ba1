// All runs at one glance: what state each is in, how far it is, and whether it can go on.
//
// Of each run its record, the runner's and the lease count, read only where one changed since the last look; checkpoints
// come from the index. Runs that were cut off are noted as such on the way.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { inWords } = require('./lease.js');
const { checkOptions, checkRunId } = require('./options.js');
const { workflowOf } = require('./pause.js');
const { placeOfManager } = require('./place.js');
const runStates = require('./run-state.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').RunStatus} RunStatus
 * @typedef {import('../index.js').QueryRow} QueryRow
 */

const RUNS = /** @type {const} */ ({
  states: 'strings',
  quietMs: 'positive',
  note: 'boolean',
  signal: 'signal',
});

/**
 * @param {Manager} manager
 * @param {import('../index.js').RunsOptions} [options]
 * @returns {Promise<RunStatus[]>} those that changed last first
 */
async function runs(manager, options) {
  const { states, quietMs, note = true, signal } = checkOptions(options, RUNS, 'runs');
  for (const one of states ?? []) {
    if (!runStates.NAMES.includes(one)) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        `runs: there is no state ${JSON.stringify(one)}; there are ${runStates.NAMES.join(', ')}`,
      );
    }
  }
  const runsDir = manager.runsDir();
  // Asked while the runs are looked at: it works on another thread.
  const asked = newestOf(manager, signal);
  // Told where it is waited for.
  asked.catch(() => {});
  // Said once: looked for, it would be looked for a thousand times.
  const place = { ...placeOfManager(manager), runsDir, root: undefined, environment: undefined };
  const now = Date.now();
  const glance = new (require('./glance.js').Glance)(place, now);
  /** @type {ReturnType<typeof lookQuickly>[]} */
  const seen = [];
  for (const entry of fs.readdirSync(runsDir, { withFileTypes: true })) {
    if (!entry.isDirectory() || entry.name.startsWith('.')) continue;
    seen.push(lookQuickly(glance, entry.name, `${runsDir}${path.sep}${entry.name}`));
  }
  glance.keep();
  const newest = await asked;
  return seen
    .filter((one) => one !== undefined)
    .map((one) => rowOf(manager, one, newest.get(one.runId), { now, quietMs, note }))
    .filter((row) => states === undefined || states.includes(row.state))
    .sort((a, b) => a.ageMs - b.ageMs);
}

/**
 * @param {Manager} manager
 * @param {unknown} runId
 * @param {import('../index.js').RunsOptions} [options]
 * @returns {Promise<RunStatus>}
 */
async function status(manager, runId, options) {
  const { quietMs, note = true, signal } = checkOptions(options, RUNS, 'status');
  const run = checkRunId(runId);
  const seen = runStates.look(manager, run);
  const newest = await newestOf(manager, signal, run);
  const row = rowOf(manager, seen, newest.get(run), { now: Date.now(), quietMs, note });
  const progress = row.progress ?? progressOf(seen, row.lastStep ?? row.checkpoint?.step);
  const decide = row.state === 'paused' ? await decisionDue(manager, run) : undefined;
  return {
    ...row,
    ...(decide === undefined ? {} : { way: decide }),
    ...(progress === undefined ? {} : { progress }),
  };
}

/**
 * How to answer what a run waits for somebody to decide; a resume would only ask again.
 * @param {Manager} manager
 * @param {string} runId
 * @returns {Promise<string | undefined>}
 */
async function decisionDue(manager, runId) {
  try {
    const recovery = /** @type {any} */ (manager.recovery(runId));
    const question = await recovery.unanswered();
    return question ? `waymark decide ${runId} ${question.options.join('|')}` : undefined;
  } catch {
    // `waymark failures` tells what is wrong with it.
    return undefined;
  }
}

/**
 * The newest good checkpoint of each run that could go on.
 * @param {Manager} manager
 * @param {AbortSignal | undefined} signal
 * @param {string} [run]
 */
async function newestOf(manager, signal, run) {
  /** @type {Map<string, QueryRow>} */
  const newest = new Map();
  for await (const row of manager.query({ resumable: true, signal, run })) {
    newest.set(row.runId, row);
  }
  return newest;
}

/**
 * What is known of a run, also of one that can't be read.
 * @param {InstanceType<typeof import('./glance.js').Glance>} glance
 * @param {string} runId
 * @param {string} runDir
 * @returns {import('./run-state.js').Look & { problem?: string } | undefined}
 */
function lookQuickly(glance, runId, runDir) {
  try {
    const seen = glance.look(runId, runDir);
    // A folder among the runs that is none.
    if (seen.changedMs === undefined && !fs.existsSync(path.join(runDir, 'checkpoints'))) {
      return undefined;
    }
    return seen;
  } catch (error) {
    // One run that can't be read does not hide the others.
    const { message, code } = /** @type {{ message: string, code?: string }} */ (error);
    if (code === 'ERR_RUN_NOT_FOUND' || code === 'ERR_RUN_ID_INVALID') return undefined;
    const { readRunJson } = require('./run-json.js');
    return {
      runId,
      runDir,
      ...readRunJson(runDir),
      record: undefined,
      revision: null,
      lease: undefined,
      problem: code ? `${message} [${code}]` : message,
    };
  }
}

/**
 * @param {Manager} manager
 * @param {import('./run-state.js').Look & { problem?: string }} seen
 * @param {QueryRow | undefined} checkpoint
 * @param {{ now: number, quietMs: number | undefined, note: boolean }} how
 * @returns {RunStatus}
 */
function rowOf(manager, seen, checkpoint, { now, quietMs, note }) {
  const at = runStates.known(seen, now, quietMs);
  if (note && at.isNew && at.state === 'interrupted' && seen.problem === undefined) {
    try {
      runStates.noteCrash(manager, seen.runId, quietMs);
    } catch {
      // It is told all the same; in a folder that can't be written nothing can be noted.
    }
  }
  const state = runStates.told(seen, at, now);
  const { problem } = seen;
  const changed = Math.max(
    seen.changedMs ?? 0,
    seen.record === undefined ? 0 : Date.parse(seen.record.since),
    seen.lease?.renewed === undefined ? 0 : Date.parse(seen.lease.renewed),
  );
  const why = leftIn(manager, seen) ?? whyNot(state, checkpoint, problem);
  // That hinders no resume: a restore writes it anew.
  const told =
    problem ??
    (seen.damage === undefined
      ? undefined
      : `run.json is damaged (${seen.damage}); a restore puts it back`);
  const way = wayOf(state, seen, why);
  return {
    ...state,
    changedAt: new Date(changed).toISOString(),
    ageMs: Math.max(0, Math.round(now - changed)),
    resumable: why === undefined,
    ...(why === undefined ? {} : { why }),
    ...(way === undefined ? {} : { way }),
    ...(checkpoint === undefined ? {} : { checkpoint: shortly(checkpoint) }),
    bytes: seen.record?.bytes ?? checkpoint?.size ?? null,
    ...(told === undefined ? {} : { problem: told }),
  };
}

/** @param {QueryRow} row @returns {RunStatus['checkpoint']} */
function shortly({ checkpointId, step, timestamp }) {
  return { checkpointId, step: step ?? '', timestamp };
}

/**
 * That a step is still at work, although whoever held the run is gone.
 * @param {Manager} manager
 * @param {import('./run-state.js').Look & { problem?: string }} seen
 */
function leftIn(manager, { runId, lease, problem }) {
  // Of few runs: records are read for it.
  if (lease?.why !== 'dead' || problem !== undefined) return undefined;
  const { leftAtWork, leftInWords } = require('./left-at-work.js');
  const left = leftAtWork(placeOfManager(manager), runId, lease);
  return left.length === 0 ? undefined : leftInWords(left, lease);
}

/**
 * Why a run can't go on from a checkpoint now.
 * @param {import('../index.js').RunState} state
 * @param {QueryRow | undefined} checkpoint
 * @param {string | undefined} problem
 */
function whyNot({ state, holder, stale }, checkpoint, problem) {
  if (problem !== undefined) return problem;
  if (state === 'completed' || state === 'cancelled') return `it is ${state}`;
  if (holder !== undefined) {
    return `held by ${inWords(holder)} since ${holder.since}, until ${holder.until}`;
  }
  if (checkpoint === undefined) return 'it has no good checkpoint: start it from its first step';
  if (state === 'stale') {
    const reasons = (stale ?? []).map((/** @type {any} */ one) =>
      typeof one === 'string' ? one : (one?.message ?? one?.reason ?? one?.type),
    );
    const named = reasons.filter((one) => typeof one === 'string');
    return `it is stale${named.length > 0 ? `: ${named.join(', ')}` : ''}`;
  }
  return undefined;
}

/**
 * How a person goes on with it.
 * @param {import('../index.js').RunState} state
 * @param {import('./run-state.js').Look} seen
 * @param {string | undefined} why
 */
function wayOf({ runId, state, holder }, { record, json }, why) {
  if (state === 'completed' || state === 'cancelled') return undefined;
  if (holder !== undefined) return `waymark pause ${runId}`;
  if (state === 'stale') return `waymark resume ${runId} --plan`;
  if (why !== undefined) return undefined;
  const script = record?.runner?.script ?? '<the runner>';
  const workflow = record?.runner?.workflow ?? json?.selected_workflow ?? '<the workflow file>';
  return `waymark resume ${runId} -- node ${script} --workflow ${workflow}`;
}

/**
 * How far a run is, by its workflow file.
 * @param {import('./run-state.js').Look} seen
 * @param {import('../index.js').Step | undefined} last
 */
function progressOf(seen, last) {
  const file = workflowOf(seen);
  if (file === undefined) return undefined;
  try {
    const steps = require('./workflow.js').readSteps(file);
    const at = steps.findIndex((one) => one.step === last);
    return { done: at + 1, total: steps.length };
  } catch {
    // A workflow file that is missing or broken is told where somebody wants to go on with it.
    return undefined;
  }
}

module.exports = { runs, status };
