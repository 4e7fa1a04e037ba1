// The states of a run: what they are, which moves are legal, how they are said in the runner's words, and what a run's
// files together say. Pure: no disk, no clock.

/**
 * @typedef {import('../index.js').RunStateName} Name
 * @typedef {import('../index.js').Step} Step
 *
 * What Waymark keeps of a run's state, in its record `run-state`.
 * @typedef {object} StateRecord
 * @property {Name} state
 * @property {string} since when it came to be in it, ISO 8601
 * @property {string} [by] who moved it
 * @property {string} [reason] why
 * @property {string | null} [status] the runner's word when this was written
 * @property {number | null} [changedMs] when `run.json` had been changed last, when this was written
 * @property {number} pauses how often it was paused
 * @property {number} resumes how often it went on after it had stopped
 * @property {number} interruptions how often it was cut off
 * @property {number} workMs how long processes of its steps were at work
 * @property {string} elapsedFrom when it began
 * @property {Step} [lastStep] the step that was done last
 * @property {{ done: number, total: number }} [progress] how many steps of the workflow that are
 * @property {UnderWay} [underWay] what is at work; of an interrupted run what was
 * @property {{ script?: string, workflow?: string }} [runner] what runs its steps
 * @property {Interruption} [interruption] how it was cut off
 * @property {PauseRequest} [pauseRequest] a pause that is asked for
 * @property {PauseRequest} [pausedFor] the request that was honoured; absent of a run that only waits
 * @property {number} [bytes] what its newest checkpoint holds
 * @property {unknown[]} [stale] the reasons for which it is stale
 * @property {{ state: Name, since: string, by?: string, reason?: string }} [staleFrom] what it was before it was found stale
 *
 * @typedef {{ step?: Step, since: string, pid: number, host?: string, started?: string | null }} UnderWay
 * @typedef {{ why: Crash, at: string, holder?: string, pid?: number, host?: string }} Interruption
 * @typedef {{ reason?: string, at: string, by: string, afterStep?: Step }} PauseRequest
 *
 * What a lease says.
 * @typedef {object} LeaseSeen
 * @property {string} [holder]
 * @property {number} [pid]
 * @property {string} [host]
 * @property {string} [since]
 * @property {string} [renewed]
 * @property {string} [expires]
 * @property {boolean} live
 * @property {'live' | 'released' | 'expired' | 'dead' | 'rebooted' | 'damaged'} why
 *
 * @typedef {'dead' | 'expired' | 'rebooted' | 'quiet'} Crash
 *
 * What is known of a run.
 * @typedef {object} Seen
 * @property {string | undefined} status the runner's word, from `run.json`
 * @property {number | undefined} changedMs when `run.json` was changed last
 * @property {string} [damage] why `run.json` can't be read, of one that is there
 * @property {StateRecord | undefined} record
 * @property {LeaseSeen | undefined} lease
 */

/**
 * The states, in the order of a run's life: what each is, the runner's word for it (absent: it has none), the states
 * that a run can go to, and those it only goes to when a step is named (`again`).
 * @type {Record<Name, { about: string, status?: string, to: Name[], again?: Name[] }>}
 */
const STATES = {
  pending: {
    about: 'no step was begun yet',
    status: 'pending',
    to: ['running', 'paused', 'cancelled', 'stale'],
  },
  running: {
    about: 'a step is at work, or the next one is about to begin',
    status: 'in_progress',
    to: ['paused', 'completed', 'failed', 'cancelled', 'stale', 'interrupted'],
  },
  paused: {
    about: 'it stopped between two steps because somebody asked for it, or it waits for somebody',
    status: 'paused',
    to: ['running', 'completed', 'failed', 'cancelled', 'stale'],
  },
  interrupted: {
    about: 'it was cut off: it says that it runs, and nobody is at work',
    to: ['running', 'paused', 'completed', 'failed', 'cancelled', 'stale'],
  },
  stale: {
    about: 'the world is not as it was at its checkpoint',
    to: ['running', 'paused', 'completed', 'failed', 'cancelled'],
  },
  failed: {
    about: 'a step ended badly',
    status: 'failed',
    to: ['running', 'paused', 'completed', 'cancelled', 'stale'],
  },
  completed: { about: 'all its steps are done', status: 'completed', to: [], again: ['running'] },
  cancelled: {
    about: 'somebody gave it up',
    status: 'cancelled',
    to: [],
    again: ['running'],
  },
};
const NAMES = /** @type {Name[]} */ (Object.keys(STATES));

/**
 * The runner's words. One that is not here is kept as it is, and taken for a run that waits: nothing is done with it
 * until somebody says so.
 * @type {Record<string, Name>}
 */
const OF_STATUS = {
  pending: 'pending',
  initializing: 'pending',
  in_progress: 'running',
  awaiting_approval: 'paused',
  handoff_pending: 'paused',
  handed_off: 'paused',
  paused: 'paused',
  completed: 'completed',
  failed: 'failed',
  error: 'failed',
  cancelled: 'cancelled',
};

/** After so long without a sign of life a run that says it runs is not believed any more. */
const QUIET_MS = 15 * 60_000;

/**
 * The state that a runner's word says.
 * @param {string | undefined} status
 * @returns {Name}
 */
function stateOf(status) {
  if (status === undefined) return 'pending';
  return Object.hasOwn(OF_STATUS, status) ? OF_STATUS[status] : 'paused';
}

/**
 * The runner's word for a state. One that already says the same stays: `awaiting_approval` of a paused run is more
 * than `paused`.
 * @param {Name} state
 * @param {string | undefined} status the word that is there
 * @returns {string | undefined} `undefined` if there is none: then the word that is there stays
 */
function statusFor(state, status) {
  return status !== undefined && stateOf(status) === state ? status : STATES[state].status;
}

/**
 * Whether a run may go from one state to another.
 * @param {Name} from
 * @param {Name} to
 * @param {{ again?: boolean }} [how] `again`: a step was named, so a run that is over may begin once more
 */
function isLegal(from, to, { again = false } = {}) {
  if (from === to) return true;
  const { to: next, again: named = [] } = STATES[from];
  return next.includes(to) || (again && named.includes(to));
}

/**
 * The shortest way from one state to another.
 * @param {Name} from
 * @param {Name} to
 * @returns {Name[]} the states on it, both ends included; empty if there is none
 */
function wayTo(from, to) {
  /** @type {Name[][]} */
  const ways = [[from]];
  const seen = new Set([from]);
  for (const way of ways) {
    const last = /** @type {Name} */ (way.at(-1));
    if (last === to) return way;
    for (const next of [...STATES[last].to, ...(STATES[last].again ?? [])]) {
      if (seen.has(next)) continue;
      seen.add(next);
      ways.push([...way, next]);
    }
  }
  return [];
}

/**
 * What a run's files say together. The runner's word counts where it was said after the record: the runner knows
 * nothing of Waymark. Of a run that runs, the lease says whether somebody is at work.
 * @param {Seen} seen
 * @param {number} now
 * @param {number} [quietMs]
 * @returns {{ state: Name, since: string | undefined, isOwn: boolean, crash?: { why: Crash, at: string } }} `isOwn`:
 * the record says it, with who and why; `crash`: it is interrupted, and no record says so yet
 */
function settle({ status, changedMs, damage, record, lease }, now, quietMs = QUIET_MS) {
  // A file that can't be read says nothing against the record.
  const isOwn = record !== undefined && (damage !== undefined || holds(record, status, changedMs));
  let state = isOwn ? record.state : stateOf(status);
  let since = isOwn ? record.since : timeOf(changedMs);
  // Somebody went on with it and has not said so yet.
  if (state === 'interrupted' && lease?.live) state = 'running';
  if (state !== 'running' || lease?.live) return { state, since, isOwn };
  const last = Math.max(
    changedMs ?? 0,
    record === undefined ? 0 : Date.parse(record.since),
    lease?.renewed === undefined ? 0 : Date.parse(lease.renewed),
  );
  const at = new Date(Math.round(last)).toISOString();
  const why = lease?.why;
  // Of one that is known to be cut off somebody wrote since, who takes no lease.
  const isKnown = record?.state === 'interrupted';
  if (!isKnown && (why === 'dead' || why === 'expired' || why === 'rebooted')) {
    return { state: 'interrupted', since: at, isOwn, crash: { why, at } };
  }
  // Between two steps nobody holds it. A clock that was set back does not make it quiet.
  if (last > 0 && now - last > quietMs) {
    since = at;
    state = 'interrupted';
    return { state, since, isOwn, crash: { why: 'quiet', at } };
  }
  return { state, since, isOwn };
}

/**
 * Whether a record still says what is.
 * @param {StateRecord} record
 * @param {string | undefined} status
 * @param {number | undefined} changedMs
 */
function holds(record, status, changedMs) {
  if ((record.status ?? undefined) !== status) return false;
  // A runner that goes on says the same word again.
  return stateOf(status) !== 'running' || (record.changedMs ?? undefined) === changedMs;
}

/** @param {number | undefined} ms */
function timeOf(ms) {
  return ms === undefined ? undefined : new Date(Math.round(ms)).toISOString();
}

/**
 * The record after a move.
 * @param {StateRecord} before
 * @param {Name} from what the run is in, by all that is known
 * @param {Name} to
 * @param {{ now: number, by: string, reason?: string, status?: string, changedMs?: number }} how
 * @returns {StateRecord}
 */
function moved(before, from, to, { now, by, reason, status, changedMs }) {
  const { stale, staleFrom: __, interruption, pausedFor, reason: _, ...kept } = before;
  const at = new Date(now).toISOString();
  const isNew = from !== to;
  // One that was found stale between two steps had not stopped for it.
  const stood = stoodIn(from, before);
  const goesOn = isNew && to === 'running' && stood !== 'pending' && stood !== 'running';
  return {
    ...kept,
    state: to,
    since: isNew ? at : before.since,
    by,
    ...(reason === undefined ? (isNew ? {} : { reason: before.reason }) : { reason }),
    status: status ?? null,
    changedMs: changedMs ?? null,
    pauses: before.pauses + (isNew && to === 'paused' ? 1 : 0),
    resumes: before.resumes + (goesOn ? 1 : 0),
    interruptions: before.interruptions + (isNew && to === 'interrupted' ? 1 : 0),
    ...(to === 'stale' && stale ? { stale } : {}),
    ...(to === 'interrupted' && interruption ? { interruption } : {}),
    ...(to === 'paused' && pausedFor ? { pausedFor } : {}),
  };
}

/**
 * What a run is in; of a stale one what it was in before that.
 * @param {Name} state
 * @param {Pick<StateRecord, 'staleFrom'>} record
 */
function stoodIn(state, { staleFrom }) {
  return state === 'stale' ? (staleFrom?.state ?? state) : state;
}

/**
 * The record of a run of which nothing was kept yet.
 * @param {Name} state
 * @param {string} begun ISO 8601
 * @returns {StateRecord}
 */
function fresh(state, begun) {
  return {
    state,
    since: begun,
    pauses: 0,
    resumes: 0,
    interruptions: 0,
    workMs: 0,
    elapsedFrom: begun,
  };
}

/**
 * Whether a pause that is asked for is due behind a step.
 * @param {PauseRequest | undefined} request
 * @param {Step} step the step that was done
 * @param {Step[] | undefined} order the workflow's steps in their order
 */
function isDue(request, step, order) {
  if (request === undefined) return false;
  const { afterStep } = request;
  if (afterStep === undefined || afterStep === step) return true;
  const [wanted, at] = [order?.indexOf(afterStep) ?? -1, order?.indexOf(step) ?? -1];
  // The step it was asked for may have been done by a process that knew nothing of it.
  if (wanted >= 0 && at >= 0) return at > wanted;
  return typeof afterStep === 'number' && typeof step === 'number' && step > afterStep;
}

module.exports = {
  NAMES,
  OF_STATUS,
  QUIET_MS,
  STATES,
  fresh,
  isDue,
  isLegal,
  moved,
  settle,
  stateOf,
  statusFor,
  stoodIn,
  wayTo,
};
