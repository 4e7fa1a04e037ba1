// The audit log in JavaScript: what a manager's listeners hear, reading the log, and following it.

const { EventEmitter } = require('node:events');
const channels = require('node:diagnostics_channel');
const { setTimeout: pause } = require('node:timers/promises');
const { WaymarkError } = require('./error.js');
const { native } = require('./native.js');
const { checkOptions, EVENT_KINDS } = require('./options.js');

/**
 * @typedef {import('../index.js').AuditEvent} AuditEvent
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').ToldEvents} ToldEvents
 * @typedef {import('./manager.js').Calls} Calls
 */

const POLL_MS = 250;
/** So many events are read at once by a follower. */
const PAGE = 500;
/** So many are read of one run. */
const MOST = 10_000;

const EVENTS = /** @type {const} */ ({
  after: 'count',
  limit: 'count',
  runId: 'id',
  kinds: 'kinds',
  signal: 'signal',
});
const FOLLOW = /** @type {const} */ ({
  after: 'count',
  runId: 'id',
  kinds: 'kinds',
  pollMs: 'positive',
  signal: 'signal',
});

/** What went wrong in telling, where there is no other ear. @param {string} text */
function warn(text) {
  process.emitWarning(text, { type: 'WaymarkWarning', code: 'WAYMARK_EVENTS' });
}

/** @param {string} kind @param {unknown} error */
function warnOfListener(kind, error) {
  const said = error instanceof Error ? (error.stack ?? error.message) : String(error);
  warn(`a listener of ${kind} threw; the operation is not touched by it: ${said}`);
}

/** The listeners of one manager. */
class Listeners {
  #emitter = new EventEmitter();

  /**
   * @param {'on' | 'off' | 'once'} how
   * @param {unknown} kind
   * @param {unknown} listener
   */
  change(how, kind, listener) {
    if (typeof kind !== 'string' || !EVENT_KINDS.includes(kind)) {
      throw new WaymarkError(
        'ERR_OPTION_INVALID',
        `${how}: the event must be one of ${EVENT_KINDS.map((one) => `'${one}'`).join(', ')}`,
      );
    }
    if (typeof listener !== 'function') {
      throw new WaymarkError('ERR_OPTION_INVALID', `${how}: the listener must be a function`);
    }
    this.#emitter[how](kind, /** @type {(...words: any[]) => void} */ (listener));
  }

  /** @param {AuditEvent} event */
  emit(event) {
    // Each by itself: one that throws must not keep the others from hearing.
    for (const listener of this.#emitter.rawListeners(event.event)) {
      try {
        const done = listener.call(this.#emitter, event);
        // Of an async one the promise would be nobody's.
        if (typeof done?.then === 'function') {
          done.then(undefined, (/** @type {unknown} */ error) =>
            warnOfListener(event.event, error),
          );
        }
      } catch (error) {
        warnOfListener(event.event, error);
      }
    }
  }
}

/**
 * Tells listeners and channels what an operation noted.
 * @param {ToldEvents} told
 * @param {Listeners | undefined} listeners
 */
function tell(told, listeners) {
  for (const warning of told.warnings) warn(warning);
  for (const line of told.events) {
    /** @type {AuditEvent} */
    const event = JSON.parse(line);
    listeners?.emit(event);
    const channel = channels.channel(`waymark:${event.event}`);
    if (channel.hasSubscribers) channel.publish(event);
  }
}

/**
 * @param {Record<string, any>} options
 * @returns {import('../native.js').EventsRequest}
 */
function requestOf({ after, limit, runId, kinds = [] }) {
  return { after, limit, runId, kinds };
}

/** @param {import('../native.js').EventsPage} page @returns {AuditEvent[]} */
function eventsOf(page) {
  if (page.passedOver > 0) {
    warn(
      `${page.passedOver} lines of the audit log are not what was written and were passed over; waymark verify tells where`,
    );
  }
  return page.events.map((line) => JSON.parse(line));
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {import('../index.js').EventsOptions | undefined} options
 */
async function events(calls, place, options) {
  const { signal, ...checked } = checkOptions(options, EVENTS, 'events');
  const [at, request] = [place(), requestOf(checked)];
  return eventsOf(
    await calls.run(signal, (token) => native().events(at, request, token), undefined),
  );
}

/**
 * Of a run that is there, back to its first checkpoint: what is older is of another run of that name.
 * @param {Place} place
 * @param {string} runId
 * @param {import('../index.js').EventKind[]} kinds
 */
async function eventsOfLife(place, runId, kinds) {
  const request = { runId, kinds, limit: MOST, ofLife: true };
  const page = /** @type {any} */ (await native().events(place, request));
  if (page.failed === true) throw WaymarkError.from(page);
  return eventsOf(page);
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {import('../index.js').EventsOptions | undefined} options
 */
function eventsSync(calls, place, options) {
  const { signal, ...checked } = checkOptions(options, EVENTS, 'eventsSync');
  calls.refuseAborted(signal);
  return eventsOf(calls.unwrap(native().eventsSync(place(), requestOf(checked)), eventsSync));
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {import('../index.js').FollowEventsOptions | undefined} options
 * @returns {AsyncGenerator<AuditEvent, void, undefined>}
 */
function followEvents(calls, place, options) {
  const checked = checkOptions(options, FOLLOW, 'followEvents');
  // Without a position: what happens from this moment on, whenever the first one is asked for.
  const now = () => native().eventsSync(place(), requestOf({ ...checked, limit: 0 }));
  const position = checked.after ?? calls.unwrap(now(), followEvents).position;
  return follow(calls, place, { ...checked, position });
}

/**
 * @param {Calls} calls
 * @param {() => Place} place
 * @param {Record<string, any>} wanted
 * @returns {AsyncGenerator<AuditEvent, void, undefined>}
 */
async function* follow(calls, place, { position, pollMs = POLL_MS, signal, ...wanted }) {
  while (!signal?.aborted) {
    const request = requestOf({ ...wanted, after: position, limit: PAGE });
    const page = await calls.run(
      undefined,
      (token) => native().events(place(), request, token),
      undefined,
    );
    for (const event of eventsOf(page)) {
      if (signal?.aborted) return;
      yield event;
    }
    const moved = page.position > position;
    position = page.position;
    if (!moved) {
      // Keeps the process alive, because somebody waits for it; nobody waits, nothing runs.
      await pause(pollMs, undefined, { signal }).catch(() => {});
    }
  }
}

module.exports = { Listeners, tell, events, eventsOfLife, eventsSync, followEvents };
