// The state of a run as it is kept: read together with the runner's record and the lease, and moved.
//
// The record `run-state` is durable before a call returns. Where the runner has a word for a state, `run.json` gets it
// first: cut off in between, the runner's word is the one that counts.

const os = require('node:os');
const path = require('node:path');
const { WaymarkError } = require('./error.js');
const { readLeaseSync } = require('./lease.js');
const { checkRunId } = require('./options.js');
const { placeOfManager } = require('./place.js');
const { Records } = require('./records.js');
const { readRunJson, writeStatus } = require('./run-json.js');
const states = require('./run-states.js');

/**
 * @typedef {import('../index.js').CheckpointManager} Manager
 * @typedef {import('../index.js').RunStateName} Name
 * @typedef {import('../index.js').RunState} RunState
 * @typedef {import('./run-states.js').StateRecord} StateRecord
 * @typedef {import('./run-states.js').LeaseSeen} LeaseSeen
 *
 * All that is known of a run's state at one moment.
 * @typedef {object} Look
 * @property {string} runId
 * @property {string} runDir
 * @property {string | undefined} status
 * @property {number | undefined} changedMs
 * @property {string} [damage] why `run.json` can't be read, of one that is there
 * @property {Record<string, any> | undefined} json
 * @property {StateRecord | undefined} record
 * @property {string | null} revision
 * @property {(LeaseSeen & { token: number }) | undefined} lease
 */

const RECORD = 'run-state';
/** So often a change is tried anew because somebody else wrote in between. */
const TRIES = 50;

/**
 * @param {Manager} manager
 * @param {unknown} runId
 * @returns {Look}
 */
function look(manager, runId) {
  const run = checkRunId(runId);
  const place = placeOfManager(manager);
  return lookAt(place, run, path.join(manager.runsDir(run), run));
}

/**
 * @param {import('../native.js').Place} place
 * @param {string} runId
 * @param {string} runDir
 * @returns {Look}
 */
function lookAt(place, runId, runDir) {
  const found = new Records(place, runId).readSync(RECORD);
  const runJson = readRunJson(runDir);
  const lease = readLeaseSync(place, runId) ?? undefined;
  return {
    runId,
    runDir,
    ...runJson,
    record: found?.value,
    revision: found?.revision ?? null,
    lease,
  };
}

/**
 * The record to go on from, with what happened unseen: a crash is counted, and how long was worked before it.
 * @param {Look} seen
 * @param {number} now
 * @param {number} [quietMs]
 * @returns {{ state: Name, record: StateRecord, isNew: boolean }} `isNew`: the record does not say so yet
 */
function known(seen, now, quietMs) {
  const { record, status, changedMs, lease } = seen;
  const settled = states.settle(seen, now, quietMs);
  const { state, since, isOwn, crash } = settled;
  const begun = beginOf(seen) ?? new Date(now).toISOString();
  const base = record ?? states.fresh(state, since ?? begun);
  if (crash === undefined) {
    if (record === undefined || (isOwn && record.state === state)) {
      return { state, record: base, isNew: false };
    }
    // The runner said something since, or somebody goes on with it.
    const gone = {
      by: undefined,
      reason: undefined,
      stale: undefined,
      pausedFor: undefined,
      interruption: undefined,
    };
    const kept = base.state === state ? base.since : (since ?? base.since);
    return { state, record: { ...base, ...gone, state, since: kept }, isNew: true };
  }
  const { why, at } = crash;
  const cut = states.moved({ ...base, state: 'running' }, 'running', 'interrupted', {
    now: Date.parse(at),
    by: 'waymark',
    reason: reasonOf(why, lease),
    status,
    changedMs,
  });
  const { holder, pid, host } = lease ?? {};
  const worked = workedBefore(base, lease);
  return {
    state,
    isNew: true,
    record: {
      ...cut,
      workMs: cut.workMs + worked,
      interruption: { why, at, holder, pid, host },
    },
  };
}

/**
 * How long a process that was cut off had worked, by its last sign of life.
 * @param {StateRecord} record
 * @param {LeaseSeen | undefined} lease
 */
function workedBefore({ underWay }, lease) {
  if (underWay === undefined || lease?.renewed === undefined) return 0;
  return Math.max(0, Date.parse(lease.renewed) - Date.parse(underWay.since));
}

/**
 * @param {import('./run-states.js').Crash} why
 * @param {LeaseSeen | undefined} lease
 */
function reasonOf(why, lease) {
  const who = `${lease?.holder ?? 'its process'}${lease?.pid ? ` (pid ${lease.pid})` : ''}`;
  if (why === 'dead') return `${who} is gone`;
  if (why === 'rebooted') return `the machine was started anew since ${who} was at work`;
  if (why === 'expired') return `nothing was heard of ${who} since ${lease?.renewed}`;
  return 'it says that it runs, nobody holds it, and nothing has changed for a while';
}

/** When the run began. @param {Look} seen */
function beginOf({ json, changedMs }) {
  for (const one of [json?.created_at, json?.timestamps?.started_at]) {
    const ms = typeof one === 'string' || typeof one === 'number' ? Date.parse(`${one}`) : NaN;
    if (!Number.isNaN(ms)) return new Date(ms).toISOString();
  }
  return changedMs === undefined ? undefined : new Date(changedMs).toISOString();
}

/**
 * Reads, changes and writes the record, once more where somebody else wrote in between.
 * @param {Manager} manager
 * @param {unknown} runId
 * @param {(seen: Look, now: number) => StateRecord | undefined} change `undefined` leaves it as it is
 * @returns {Look} as it was when the change was made, with the record that was written
 */
function change(manager, runId, change) {
  const records = new Records(placeOfManager(manager), checkRunId(runId));
  for (let tries = 0; ; tries += 1) {
    const seen = look(manager, runId);
    const record = change(seen, Date.now());
    if (record === undefined) return seen;
    try {
      const { revision } = records.writeSync(RECORD, record, { revision: seen.revision });
      return { ...seen, record, revision };
    } catch (error) {
      const { code } = /** @type {{ code?: unknown }} */ (error);
      if (code !== 'ERR_RECORD_CHANGED' || tries === TRIES) throw error;
    }
  }
}

/**
 * Takes away what is kept of a run's state, also if it is damaged.
 * @param {Manager} manager
 * @param {string} runId
 */
function forget(manager, runId) {
  new Records(placeOfManager(manager), runId).removeSync(RECORD);
}

/**
 * The state of a run, by all that is known of it. Nothing is written.
 * @param {Manager} manager
 * @param {unknown} runId
 * @param {{ quietMs?: number }} [options]
 * @returns {RunState}
 */
function runState(manager, runId, { quietMs } = {}) {
  const now = Date.now();
  const seen = look(manager, runId);
  return told(seen, known(seen, now, quietMs), now);
}

/**
 * Notes that a run was cut off, if it was and nothing says so yet.
 * @param {Manager} manager
 * @param {unknown} runId
 * @param {number} [quietMs]
 * @returns {RunState}
 */
function noteCrash(manager, runId, quietMs) {
  const seen = change(manager, runId, (seen, now) => {
    const { state, record, isNew } = known(seen, now, quietMs);
    return isNew && state === 'interrupted' ? record : undefined;
  });
  const now = Date.now();
  return told(seen, known(seen, now, quietMs), now);
}

/**
 * What a run is in, before it is taken, and of a stale one what it was in before that: who holds it looks as if he had been at work all the time.
 * @param {Manager} manager
 * @param {string} runId
 * @returns {Name | undefined} undefined where nothing of it can be read any more
 */
function stateBefore(manager, runId) {
  try {
    const found = noteCrash(manager, runId, Number.POSITIVE_INFINITY);
    return states.stoodIn(found.state, found);
  } catch (error) {
    const { code } = /** @type {{ code?: unknown }} */ (error);
    if (code !== 'ERR_RECORD_DAMAGED') throw error;
    // The run is worth more than the counts of its pauses and resumes.
    forget(manager, runId);
    return undefined;
  }
}

/** What is under way, for people. @param {{ step?: import('../index.js').Step }} underWay */
function stepInWords({ step }) {
  return step === undefined ? 'a step' : `step ${step}`;
}

/**
 * @param {Look} seen
 * @param {{ state: Name, record: StateRecord }} at
 * @param {number} now
 * @returns {RunState}
 */
function told({ runId, status, lease, json }, { state, record }, now) {
  const { status: _, changedMs: __, ...kept } = record;
  const isOver = state === 'completed' || state === 'cancelled';
  const end = isOver ? Date.parse(record.since) : now;
  const worksSince =
    lease?.live && record.underWay ? Math.max(0, now - Date.parse(record.underWay.since)) : 0;
  return {
    runId,
    ...kept,
    state,
    status: status ?? null,
    workMs: record.workMs + worksSince,
    elapsedMs: Math.max(0, end - Date.parse(record.elapsedFrom)),
    ...(record.lastStep === undefined &&
    isStep(json?.current_step) &&
    state !== 'pending' &&
    json?.current_step !== record.underWay?.step
      ? { currentStep: json?.current_step }
      : {}),
    ...(lease?.live ? { holder: holderOf(lease) } : {}),
  };
}

/** @param {unknown} value */
function isStep(value) {
  return typeof value === 'number' || (typeof value === 'string' && value !== '');
}

/** @param {LeaseSeen} lease @returns {import('../index.js').LeaseHolder} */
function holderOf({ holder, pid, host, since, expires, why }) {
  const name = why === 'damaged' ? 'unknown (the file of its lease is damaged)' : holder;
  return { holder: name || 'unknown', pid, host, since, until: expires };
}

/**
 * Moves a run from the state it is in to another.
 * @param {Manager} manager
 * @param {unknown} runId
 * @param {Name} to
 * @param {import('../index.js').MoveRunOptions & { keepStatus?: boolean, change?: (record: StateRecord, seen: Look) => StateRecord }} [options]
 * `keepStatus`: the runner's word stays; `change`: what else changes in the record
 * @returns {RunState}
 */
function moveRunState(manager, runId, to, options = {}) {
  const { by = whoami(), reason, again = false, stale, keepStatus = false } = options;
  if (!states.NAMES.includes(to)) {
    throw new WaymarkError(
      'ERR_OPTION_INVALID',
      `there is no run state ${JSON.stringify(to)}; there are ${states.NAMES.join(', ')}`,
    );
  }
  const seen = change(manager, runId, (seen, now) => {
    const { state: from, record } = known(seen, now);
    if (!states.isLegal(from, to, { again })) throw illegal(seen.runId, from, to, record);
    const word = keepStatus ? undefined : states.statusFor(to, seen.status);
    if (word !== undefined && word !== seen.status && seen.status !== undefined) {
      writeStatus(seen.runDir, word);
      Object.assign(seen, readRunJson(seen.runDir));
    }
    const { status, changedMs } = seen;
    const next = states.moved(record, from, to, { now, by, reason, status, changedMs });
    if (to === 'stale' && stale !== undefined) next.stale = stale;
    return options.change ? options.change(next, seen) : next;
  });
  const now = Date.now();
  return told(seen, known(seen, now), now);
}

/** How a run that is over begins once more. @type {Partial<Record<Name, string>>} */
const AGAIN = {
  completed: 'where a step is named (--resume-step)',
  cancelled: 'where somebody says that it does (--accept run_ended)',
};

/**
 * @param {string} runId
 * @param {Name} from
 * @param {Name} to
 * @param {{ since: string, by?: string, reason?: string }} record
 */
function illegal(runId, from, to, { since, by, reason }) {
  const way = states.wayTo(from, to);
  const over = states.STATES[from].again?.includes(way[1]);
  const there =
    way.length === 0
      ? 'there is no way there'
      : `the way there is ${way.join(' → ')}${over ? `, ${AGAIN[from]}` : ''}`;
  const told = [`since ${since}`, by && `by ${by}`, reason].filter(Boolean).join(', ');
  return new WaymarkError(
    'ERR_RUN_STATE',
    `run ${runId} is ${from} (${told}) and can't become ${to}; ${there}; nothing was changed`,
    { runId, reason: `${from}_to_${to}` },
  );
}

/**
 * The record of a run that was put back: what was done behind that step is not done any more.
 * @param {StateRecord} record
 * @param {At} at
 * @returns {StateRecord}
 *
 * @typedef {{ step: import('../index.js').Step | null, order?: import('../index.js').Step[] }} At the last step that is
 * done, and the workflow's in their order, where they are known
 */
function putBack({ lastStep, progress, ...record }, { step, order }) {
  const place = step === null ? -1 : (order?.indexOf(step) ?? -1);
  const isKnown = order !== undefined && (step === null || place >= 0);
  return {
    ...record,
    ...(step === null ? {} : { lastStep: step }),
    ...(isKnown
      ? { progress: { done: place + 1, total: order.length } }
      : progress && lastStep === step
        ? { progress }
        : {}),
  };
}

/**
 * Says that a run goes on after a resume, which is somebody's word that it does: a pause that is asked for and due now does
 * not hold any more.
 * @param {Manager} manager
 * @param {string} runId
 * @param {Name | undefined} from what it was in before its files said that it runs
 * @param {At & { by: string }} how
 */
function noteResumed(manager, runId, from, { by, ...at }) {
  change(manager, runId, (seen, now) => {
    const { state, record } = known(seen, now, Number.POSITIVE_INFINITY);
    const { pauseRequest, ...rest } = record;
    const { step, order } = at;
    const isPassed =
      pauseRequest?.afterStep === undefined ||
      (step !== null && states.isDue(pauseRequest, step, order));
    const { status, changedMs } = seen;
    const kept = putBack(isPassed ? rest : record, at);
    return states.moved(kept, from ?? state, 'running', { now, by, status, changedMs });
  });
}

/**
 * Says of a run that it is stale, and why; or that it is not any more: then it is what it was before. Of a run that
 * somebody is at work on, and of one that is over, nothing is said.
 * @param {Manager} manager
 * @param {string} runId
 * @param {unknown[] | undefined} reasons
 * @param {string} [reason] in words
 */
function noteStale(manager, runId, reasons, reason) {
  change(manager, runId, (seen, now) => {
    const { state, record } = known(seen, now);
    const { status, changedMs } = seen;
    const how = { now, by: whoami(), reason, status, changedMs };
    // What it was before stays with it.
    const { staleFrom, pausedFor, interruption } = record;
    const before = {
      ...(pausedFor ? { pausedFor } : {}),
      ...(interruption ? { interruption } : {}),
    };
    if (reasons === undefined) {
      if (state !== 'stale' || staleFrom === undefined) return undefined;
      const { state: to, since, by, reason } = staleFrom;
      const back = states.moved(record, state, to, how);
      return { ...back, ...before, ...counts(record), since, by, reason };
    }
    if (state === 'stale') {
      return JSON.stringify(record.stale) === JSON.stringify(reasons)
        ? undefined
        : { ...record, stale: reasons, reason };
    }
    // Between two steps nobody holds it. Where leases are off, what is under way says that somebody is at work.
    const isAtWork = seen.lease?.live || (state === 'running' && record.underWay !== undefined);
    if (isAtWork || !states.isLegal(state, 'stale')) return undefined;
    const next = states.moved(record, state, 'stale', how);
    const was = { state, since: record.since, by: record.by, reason: record.reason };
    return { ...next, ...before, stale: reasons, staleFrom: was };
  });
}

/** What does not count once more. @param {StateRecord} record */
function counts({ pauses, resumes, interruptions }) {
  return { pauses, resumes, interruptions };
}

/** Who is at work here, for people. */
function whoami() {
  try {
    return os.userInfo().username;
  } catch {
    // A container may run as a user that has no name.
    return `uid ${process.getuid?.() ?? '?'}`;
  }
}

module.exports = {
  ...states,
  change,
  forget,
  holderOf,
  illegal,
  known,
  look,
  lookAt,
  moveRunState,
  noteCrash,
  noteResumed,
  noteStale,
  putBack,
  runState,
  stateBefore,
  stepInWords,
  told,
  whoami,
};
