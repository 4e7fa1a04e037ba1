// Numbers of what all processes did to a store: the audit log added up, and what the store takes on the disk.
//
// The log is read once; each further call goes on where the one before ended. Nothing is written.

const fs = require('node:fs/promises');
const path = require('node:path');
const { Aggregate } = require('./aggregate.js');
const { native } = require('./native.js');
const { checkOptions } = require('./options.js');

/**
 * @typedef {import('./manager.js').Calls} Calls
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../index.js').AuditEvent} AuditEvent
 * @typedef {import('../index.js').Metrics} Metrics
 */

/** So many events are read at once: each page looks for its place in a file of the log anew. */
const PAGE = 10_000;
const DAY_MS = 86_400_000;
const METRICS = /** @type {const} */ ({ since: 'time', signal: 'signal' });

/** What of an operation the log tells. @type {Record<string, import('../index.js').OperationMetrics['noted']>} */
const NOTED = { prune: 'effects', cleanup: 'effects', import: 'effects', gc: 'failures' };
/** These are told of in any case, so that a number that is watched is there before the first one. */
const ALWAYS = ['create', 'restore', 'undo', 'prune', 'cleanup', 'import', 'verify', 'gc'];

/** @param {unknown} error @param {string} code */
function isCode(error, code) {
  return /** @type {{ code?: unknown }} */ (error)?.code === code;
}

/** The audit log of one store, as far as it was read. */
class Reader {
  #aggregate = new Aggregate();
  /** The number of the last event that was read. */
  #position = 0;
  /** Its hash; absent where what comes before is not known. @type {string | undefined} */
  #hash;
  /** The first event that was read. @type {{ seq: number, time: string } | undefined} */
  #first;
  #events = 0;
  #broken = 0;
  #missed = 0;
  /** One after the other: what is read twice would be counted twice. @type {Promise<unknown>} */
  #turn = Promise.resolve();

  /**
   * @param {Calls} calls
   * @param {Place} place
   * @param {AbortSignal | undefined} signal
   */
  read(calls, place, signal) {
    const work = () => this.#read(calls, place, signal);
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** @param {number} [since] */
  sums(since) {
    return this.#aggregate.since(since);
  }

  /** @param {string} runs @param {string} run @param {string} checkpoint */
  sizeOf(runs, run, checkpoint) {
    return this.#aggregate.sizeOf(runs, run, checkpoint);
  }

  /** @returns {import('../index.js').MetricsLog} */
  log() {
    return {
      ...(this.#first ? { first: this.#first.seq, since: this.#first.time } : {}),
      position: this.#position,
      events: this.#events,
      missed: this.#missed,
      broken: this.#broken,
    };
  }

  /**
   * @param {Calls} calls
   * @param {Place} place
   * @param {AbortSignal | undefined} signal
   */
  async #read(calls, place, signal) {
    /** @param {number | undefined} after @param {number} limit */
    const page = (after, limit) =>
      calls.run(
        signal,
        (token) => native().events(place, { after, limit, kinds: [] }, token),
        undefined,
      );
    for (let more = true; more; ) {
      try {
        const read = await page(this.#position, PAGE);
        more = read.position > this.#position;
        let breaks = 0;
        for (const line of read.events) if (!this.#take(JSON.parse(line))) breaks += 1;
        // The line behind one that was passed over does not follow the one before it.
        this.#broken += Math.max(breaks, read.passedOver);
        this.#position = Math.max(this.#position, read.position);
      } catch (error) {
        if (isCode(error, 'ERR_EVENTS_AHEAD')) this.#forget();
        else if (isCode(error, 'ERR_EVENTS_GONE')) await this.#skip(page);
        else throw error;
      }
    }
  }

  /** @param {AuditEvent} event @returns {boolean} false unless it follows the one before it */
  #take(event) {
    const follows = this.#hash === undefined || event.prev === this.#hash;
    this.#hash = event.hash;
    this.#position = event.seq ?? this.#position;
    this.#first ??= { seq: this.#position, time: event.time };
    this.#events += 1;
    this.#aggregate.add(event);
    return follows;
  }

  /** It is another log: what was read of the one before says nothing of this one. */
  #forget() {
    this.#aggregate = new Aggregate();
    this.#position = 0;
    this.#hash = undefined;
    this.#first = undefined;
    this.#events = 0;
    this.#broken = 0;
    this.#missed = 0;
  }

  /**
   * Goes on where the log begins now: some of it went before it was read.
   * @param {(after: number | undefined, limit: number) => Promise<import('../native.js').EventsPage>} page
   */
  async #skip(page) {
    let gone = this.#position;
    let there = (await page(undefined, 0)).position;
    while (there - gone > 1) {
      const middle = gone + Math.floor((there - gone) / 2);
      try {
        await page(middle, 1);
        there = middle;
      } catch (error) {
        if (!isCode(error, 'ERR_EVENTS_GONE')) throw error;
        gone = middle;
      }
    }
    // Before the first one that was read nothing is missed: the log is bounded.
    if (this.#first) this.#missed += there - this.#position;
    this.#position = there;
    this.#hash = undefined;
  }
}

/** The numbers of one manager; its readers, by store. */
class Numbers {
  /** @type {Map<string, Reader>} */
  #readers = new Map();

  /**
   * The log of the store at a place, read to its end.
   * @param {Calls} calls
   * @param {Place} place
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<{ reader: Reader, folder: string }>} with the store's folder
   */
  async read(calls, place, signal) {
    const folder = await storeOf(calls, place, signal);
    let reader = this.#readers.get(folder);
    if (!reader) {
      reader = new Reader();
      this.#readers.set(folder, reader);
    }
    await reader.read(calls, place, signal);
    return { reader, folder };
  }

  /**
   * @param {Calls} calls
   * @param {() => Place} place
   * @param {unknown} options
   * @returns {Promise<Metrics>}
   */
  async metrics(calls, place, options) {
    const { since, signal } = checkOptions(options, METRICS, 'metrics');
    const { reader, folder } = await this.read(calls, place(), signal);
    const sinceMs = since === undefined ? undefined : new Date(since).getTime();
    return { ...told(reader, sinceMs, Date.now()), store: await taken(folder) };
  }
}

/**
 * The store's folder. The core knows it, and says it with any position that no log has.
 * @param {Calls} calls
 * @param {Place} place
 * @param {AbortSignal | undefined} signal
 */
async function storeOf(calls, place, signal) {
  const request = { after: Number.MAX_SAFE_INTEGER, limit: 1, kinds: [] };
  try {
    await calls.run(signal, (token) => native().events(place, request, token), undefined);
  } catch (error) {
    const { path: events } = /** @type {{ path?: string }} */ (error);
    if (isCode(error, 'ERR_EVENTS_AHEAD') && events !== undefined) return path.dirname(events);
    throw error;
  }
  throw new RangeError('a log of that many events can not be');
}

/**
 * @param {Reader} reader
 * @param {number | undefined} since
 * @param {number} now
 * @returns {Omit<Metrics, 'store'>}
 */
function told(reader, since, now) {
  const { sums, from } = reader.sums(since);
  const begin = since === undefined ? from : Math.min(from ?? since, since);
  const log = reader.log();
  const names = [...new Set([...ALWAYS, ...sums.operations.keys()])];
  const operations = names.map((name) => [name, operationOf(name, sums.operation(name))]);
  const { succeeded, failed } = sums.operation('restore');
  const { sizes, stateBytes, fileBytes, addedBytes, logicalBytes, guessed } = sums;
  const storedBytes = sizes.sum + addedBytes;
  // A rate by less than an hour would say more than is known.
  const reached = Math.max(begin ?? 0, Date.parse(log.since ?? '') || 0);
  const days = Math.max(now - reached, DAY_MS / 24) / DAY_MS;
  return {
    at: new Date(now).toISOString(),
    ...(begin === undefined ? {} : { since: new Date(begin).toISOString() }),
    log,
    operations: Object.fromEntries(operations),
    events: Object.fromEntries([...sums.kinds].sort(([a], [b]) => (a < b ? -1 : 1))),
    checkpoints: {
      created: sums.kinds.get('created') ?? 0,
      bytes: sizes.sum,
      stateBytes,
      fileBytes,
      addedBytes,
      meanBytes: sizes.count === 0 ? null : Math.round(sizes.sum / sizes.count),
      maxBytes: sizes.count === 0 ? null : sizes.max,
      sizes: sizes.cumulative(),
    },
    dedup: {
      logicalBytes,
      storedBytes,
      ratio: storedBytes === 0 ? null : logicalBytes / storedBytes,
      atLeast: guessed,
    },
    growth: { bytes: storedBytes, perDay: Math.round(storedBytes / days) },
    restores: {
      succeeded,
      failed,
      rate: succeeded + failed === 0 ? null : succeeded / (succeeded + failed),
    },
  };
}

/**
 * @param {string} name
 * @param {InstanceType<typeof import('./aggregate.js').Tally>} tally
 * @returns {import('../index.js').OperationMetrics}
 */
function operationOf(name, { succeeded, failed, failures, latency, bytes }) {
  const noted = NOTED[name] ?? (name === 'verify' ? 'failures' : 'all');
  return {
    noted,
    count: succeeded + failed,
    succeeded,
    failed,
    failures: Object.fromEntries([...failures].sort(([a], [b]) => (a < b ? -1 : 1))),
    bytes,
    latency: {
      count: latency.count,
      sumMs: latency.sum,
      maxMs: latency.count === 0 ? null : latency.max,
      p50: latency.quantile(0.5),
      p95: latency.quantile(0.95),
      p99: latency.quantile(0.99),
      buckets: latency.cumulative(),
    },
  };
}

/** @typedef {Exclude<keyof import('../index.js').MetricsStore, 'path' | 'bytes'>} Part */

/** The parts of a store by their folders; files beside them are the rest. @type {Record<string, Part>} */
const PARTS = {
  objects: 'objects',
  cache: 'caches',
  events: 'log',
  roots: 'roots',
  archive: 'archive',
};

/**
 * What the store takes on the disk. What goes while it is looked at takes nothing.
 * @param {string} folder
 * @returns {Promise<import('../index.js').MetricsStore>}
 */
async function taken(folder) {
  /** @type {import('../index.js').MetricsStore} */
  const store = {
    path: folder,
    bytes: 0,
    objects: 0,
    caches: 0,
    log: 0,
    roots: 0,
    archive: 0,
    rest: 0,
  };
  /** @param {string} at @param {Part} part */
  const look = async (at, part) => {
    const entries = await fs.readdir(at, { withFileTypes: true }).catch(absent);
    for (const entry of entries ?? []) {
      const one = path.join(at, entry.name);
      if (entry.isDirectory()) {
        await look(one, at === folder ? (PARTS[entry.name] ?? 'rest') : part);
      } else if (entry.isFile()) {
        const found = await fs.stat(one).catch(absent);
        if (!found) continue;
        // Packs have holes where objects were that nobody needed any more.
        const holes = entry.name.endsWith('.pack') && found.blocks !== undefined;
        const bytes = holes ? Math.min(found.size, found.blocks * 512) : found.size;
        store.bytes += bytes;
        store[part] += bytes;
      }
    }
  };
  await look(folder, 'rest');
  return store;
}

/** @param {unknown} error @returns {undefined} */
function absent(error) {
  if (isCode(error, 'ENOENT') || isCode(error, 'ENOTDIR')) return undefined;
  throw error;
}

module.exports = { Numbers, told, taken };
