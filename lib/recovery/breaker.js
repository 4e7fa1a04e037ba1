// A circuit breaker: a worker that fails again and again gets no work for a while, then one piece to show that it
// works. Pure: what is kept goes in and comes out, and the time is an argument.

/**
 * @typedef {import('../../index.js').BreakerState} BreakerState
 * @typedef {import('../../index.js').BreakerSettings} BreakerSettings
 * @typedef {Required<BreakerSettings>} Settings
 */

/** @type {Readonly<Settings>} */
const BREAKER = {
  failures: 5,
  windowMs: 600_000,
  openMs: 60_000,
  maxOpenMs: 900_000,
  waitMs: 120_000,
  probeMs: 600_000,
  classes: [
    'timeout',
    'stalled',
    'not_started',
    'memory',
    'crash',
    'killed',
    'network',
    'overloaded',
    'disk_full',
    'unexpected',
  ],
};

/** A worker nothing is known of. @param {number} now @returns {BreakerState} */
function fresh(now) {
  return { state: 'closed', since: now, failures: [], openings: 0, until: null, probe: null };
}

/**
 * Asks for leave to give the worker work.
 * @param {BreakerState} kept
 * @param {number} now
 * @param {Settings} settings
 * @param {string} who the asker: an open breaker lets one try it
 * @returns {{ allowed: boolean, kept: BreakerState, until: number | null }} `until`: when to ask again
 */
function enter(kept, now, settings, who) {
  if (kept.state === 'closed') return { allowed: true, kept, until: null };
  const probing = kept.probe !== null && now < kept.probe.until && kept.probe.by !== who;
  if (kept.state === 'half-open' && probing) {
    return { allowed: false, kept, until: /** @type {{ until: number }} */ (kept.probe).until };
  }
  // A clock that was set back must not keep it open for longer than it was opened for.
  const wait = Math.min((kept.until ?? 0) - now, settings.maxOpenMs);
  if (kept.state === 'open' && wait > 0) return { allowed: false, kept, until: now + wait };
  const probe = { by: who, until: now + settings.probeMs };
  return {
    allowed: true,
    kept: { ...kept, state: 'half-open', since: kept.state === 'open' ? now : kept.since, probe },
    until: null,
  };
}

/**
 * The worker did its work.
 * @param {BreakerState} kept
 * @param {number} now
 * @returns {BreakerState}
 */
function succeeded(kept, now) {
  if (kept.state === 'closed') return kept.failures.length === 0 ? kept : { ...kept, failures: [] };
  return fresh(now);
}

/**
 * The worker failed.
 * @param {BreakerState} kept
 * @param {number} now
 * @param {Settings} settings
 * @param {string} class_ of the failure
 * @returns {BreakerState}
 */
function failed(kept, now, settings, class_) {
  if (!settings.classes.includes(class_)) {
    // Not the worker's fault, and no sign that it works either: another may try.
    return kept.state === 'half-open' ? { ...kept, probe: null } : kept;
  }
  const failures = [
    ...kept.failures.filter((at) => at > now - settings.windowMs && at <= now),
    now,
  ];
  const opens = kept.state === 'half-open' || failures.length >= settings.failures;
  if (!opens) return { ...kept, failures };
  const openings = kept.openings + 1;
  const openMs = Math.min(settings.maxOpenMs, settings.openMs * 2 ** (openings - 1));
  return {
    state: 'open',
    since: now,
    failures: failures.slice(-settings.failures),
    openings,
    until: now + openMs,
    probe: null,
  };
}

module.exports = { BREAKER, enter, failed, fresh, succeeded };
