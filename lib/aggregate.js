// Adds up the audit log: what each operation did, how often, how long, and what failed.
//
// The sums are kept in slices of time, so that those of the last hours can be told too. Slices are of a minute; when there
// are many, the older half become slices of an hour.

const { BYTES, Histogram, MS } = require('./histogram.js');

/** @typedef {import('../index.js').AuditEvent} AuditEvent */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** With more slices than this the older half becomes hours. */
const SLICES_MAX = 4_000;
/** So many operations that may go on are remembered, to tell one that notes several events from several. */
const OPEN_MAX = 256;

/** Operations that note exactly one event each time. */
const SINGLE = new Set([
  'create',
  'restore',
  'undo',
  'activate',
  'complete',
  'fail',
  'update',
  'pin',
  'unpin',
]);
/** Operations whose events are about several runs. */
const ACROSS = new Set(['cleanup', 'fork']);
/** What happens beside an operation, and says nothing of whether it succeeded. */
const BESIDE = new Set(['damaged', 'budget']);

/** What is known of an operation. */
class Tally {
  succeeded = 0;
  failed = 0;
  bytes = 0;
  /** By code. @type {Map<string, number>} */
  failures = new Map();
  latency = new Histogram(MS);

  /** @param {Tally} other */
  merge(other) {
    this.succeeded += other.succeeded;
    this.failed += other.failed;
    this.bytes += other.bytes;
    this.latency.merge(other.latency);
    for (const [code, count] of other.failures) add(this.failures, code, count);
  }
}

/** What happened in a stretch of time. */
class Sums {
  /** By name. @type {Map<string, Tally>} */
  operations = new Map();
  /** How many events of each kind. @type {Map<string, number>} */
  kinds = new Map();
  /** The manifests of checkpoints that were taken. */
  sizes = new Histogram(BYTES);
  stateBytes = 0;
  fileBytes = 0;
  addedBytes = 0;
  /** What full copies would have taken, at the least. */
  logicalBytes = 0;
  /** True if some checkpoint did not say how large its files are. */
  guessed = false;
  /** Of restores that put files back. */
  restoredBytes = 0;
  restoredMs = 0;

  /** @param {string} name @returns {Tally} */
  operation(name) {
    let tally = this.operations.get(name);
    if (!tally) {
      tally = new Tally();
      this.operations.set(name, tally);
    }
    return tally;
  }

  /** @param {Sums} other */
  merge(other) {
    for (const [name, tally] of other.operations) this.operation(name).merge(tally);
    for (const [kind, count] of other.kinds) add(this.kinds, kind, count);
    this.sizes.merge(other.sizes);
    this.stateBytes += other.stateBytes;
    this.fileBytes += other.fileBytes;
    this.addedBytes += other.addedBytes;
    this.logicalBytes += other.logicalBytes;
    this.guessed ||= other.guessed;
    this.restoredBytes += other.restoredBytes;
    this.restoredMs += other.restoredMs;
  }
}

/**
 * An operation that noted something, and may note more.
 * @typedef {{ tally: Tally, ms: number | undefined }} Open
 */

/** Everything that is known from events, in slices of time. */
class Aggregate {
  /** By the time at which it begins. @type {Map<number, Sums>} */
  #slices = new Map();
  #slicesMax = SLICES_MAX;
  /** What is older is kept by the hour. */
  #hoursUntil = Number.NEGATIVE_INFINITY;
  /** @type {Map<string, Open>} */
  #open = new Map();
  /** The newest checkpoint of each run, and how large it is. @type {Map<string, { checkpoint: string, bytes: number }>} */
  #newest = new Map();

  /** @param {AuditEvent} event */
  add(event) {
    const at = Date.parse(event.time);
    const sums = this.#slice(Number.isNaN(at) ? 0 : at);
    add(sums.kinds, event.event, 1);
    const { data } = event;
    const operation = typeof data.operation === 'string' ? data.operation : 'unknown';
    const took = amount(data.took_us);
    const ms = took === undefined ? undefined : took / 1000;
    if (event.event === 'operation_failed') {
      this.#failed(sums.operation(operation), this.#key(event, operation, at, ms), data.code);
      return;
    }
    if (event.event === 'created') this.#created(sums, event);
    if (event.event === 'cleaned') this.#newest.delete(runKey(event.runs, event.run));
    // Old ones that go for a new one are a part of the create, which notes itself.
    if (event.event === 'pruned' && operation === 'create') return;
    if (BESIDE.has(event.event) && operation !== 'verify') return;
    const bytes = (amount(data.bytes) ?? 0) + (amount(data.added_bytes) ?? 0);
    if (event.event === 'restored' && bytes > 0 && ms !== undefined) {
      sums.restoredBytes += bytes;
      sums.restoredMs += ms;
    }
    // Noted by somebody else, long after: how long it took is not known.
    const known = data.recovered === true ? undefined : ms;
    const key = SINGLE.has(operation) ? undefined : this.#key(event, operation, at, ms);
    this.#succeeded(sums.operation(operation), key, known, bytes);
  }

  /**
   * The sums since a time, and since when they really are: slices are taken whole.
   * @param {number} [since]
   * @returns {{ sums: Sums, from: number | undefined }} `from` is absent if nothing happened
   */
  since(since = Number.NEGATIVE_INFINITY) {
    const sums = new Sums();
    /** @type {number | undefined} */
    let from;
    for (const [begin, slice] of this.#slices) {
      const width = begin < this.#hoursUntil ? HOUR_MS : MINUTE_MS;
      if (begin + width <= since) continue;
      sums.merge(slice);
      from = Math.min(from ?? begin, begin);
    }
    return { sums, from };
  }

  /**
   * How large a checkpoint is, if it is the newest one of its run that the log tells of.
   * @param {string} runs
   * @param {string} run
   * @param {string} checkpoint
   */
  sizeOf(runs, run, checkpoint) {
    const newest = this.#newest.get(runKey(runs, run));
    return newest?.checkpoint === checkpoint ? newest.bytes : undefined;
  }

  /** @param {number} at @returns {Sums} */
  #slice(at) {
    const minute = at - (at % MINUTE_MS);
    const begin = minute < this.#hoursUntil ? at - (at % HOUR_MS) : minute;
    const slice = this.#slices.get(begin);
    if (slice) return slice;
    if (this.#slices.size >= this.#slicesMax) {
      this.#coarsen();
      return this.#slice(at);
    }
    const fresh = new Sums();
    this.#slices.set(begin, fresh);
    return fresh;
  }

  #coarsen() {
    const begins = [...this.#slices.keys()].sort((a, b) => a - b);
    const middle = begins[Math.floor(begins.length / 2)];
    this.#hoursUntil = middle - (middle % HOUR_MS);
    /** @type {Map<number, Sums>} */
    const coarser = new Map();
    for (const [begin, slice] of this.#slices) {
      const to = begin < this.#hoursUntil ? begin - (begin % HOUR_MS) : begin;
      const there = coarser.get(to);
      if (there) there.merge(slice);
      else coarser.set(to, slice);
    }
    this.#slices = coarser;
    // Where there is little in each hour it does not help much, and need not be tried each time.
    this.#slicesMax = Math.max(SLICES_MAX, coarser.size * 2);
    // Their tallies may be no more.
    this.#open.clear();
  }

  /**
   * The same for all events of one operation: what did it, and when it began.
   * @param {AuditEvent} event
   * @param {string} operation
   * @param {number} at
   * @param {number | undefined} ms
   */
  #key({ pid, host, run }, operation, at, ms) {
    const of = ACROSS.has(operation) ? '' : (run ?? '');
    return `${pid}\0${host}\0${operation}\0${of}\0${at - Math.floor(ms ?? 0)}`;
  }

  /**
   * @param {Tally} tally
   * @param {string | undefined} key absent for operations that note one event each
   * @param {number | undefined} ms
   * @param {number} bytes
   */
  #succeeded(tally, key, ms, bytes) {
    const before = key === undefined ? undefined : this.#open.get(key);
    if (before) {
      before.tally.bytes += bytes;
      if (before.ms !== undefined) before.tally.latency.remove(before.ms);
      if (ms !== undefined) before.tally.latency.add(ms);
      before.ms = ms;
      return;
    }
    tally.succeeded += 1;
    tally.bytes += bytes;
    if (ms !== undefined) tally.latency.add(ms);
    if (key === undefined) return;
    this.#open.set(key, { tally, ms });
    if (this.#open.size > OPEN_MAX) {
      const [oldest] = this.#open.keys();
      this.#open.delete(oldest);
    }
  }

  /** @param {Tally} tally @param {string} key @param {unknown} code */
  #failed(tally, key, code) {
    const begun = this.#open.get(key);
    if (begun) {
      // It had done a part when it failed.
      begun.tally.succeeded -= 1;
      if (begun.ms !== undefined) begun.tally.latency.remove(begun.ms);
      this.#open.delete(key);
    }
    tally.failed += 1;
    add(tally.failures, typeof code === 'string' ? code : 'unknown', 1);
  }

  /** @param {Sums} sums @param {AuditEvent} event */
  #created(sums, { data, runs, run, checkpoint }) {
    const bytes = amount(data.bytes);
    const added = amount(data.added_bytes) ?? 0;
    sums.addedBytes += added;
    if (bytes === undefined) {
      // A fork, or one that was noted later: no more is known of it.
      sums.logicalBytes += added;
      return;
    }
    const state = amount(data.state_bytes) ?? 0;
    const files = amount(data.file_bytes);
    sums.sizes.add(bytes);
    sums.stateBytes += state;
    sums.fileBytes += files ?? 0;
    // Where it is not said how large the files are, they are at least what was added.
    const logical = Math.max(bytes, state) + (files ?? added);
    sums.logicalBytes += logical;
    sums.guessed ||= files === undefined;
    if (checkpoint !== undefined) {
      this.#newest.set(runKey(runs, run), { checkpoint, bytes: logical });
    }
  }
}

/** @param {string | undefined} runs @param {string | undefined} run */
function runKey(runs, run) {
  return `${runs}\0${run}`;
}

/** @param {unknown} value @returns {number | undefined} */
function amount(value) {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** @param {Map<string, number>} counts @param {string} name @param {number} count */
function add(counts, name, count) {
  counts.set(name, (counts.get(name) ?? 0) + count);
}

module.exports = { Aggregate, Sums, Tally };
