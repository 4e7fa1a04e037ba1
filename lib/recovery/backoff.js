// How long to wait before the next attempt. Pure: chance is an argument.

/**
 * @typedef {object} Backoff
 * @property {number} delayMs before the first repetition
 * @property {number} factor how much longer each time
 * @property {number} maxDelayMs at most
 * @property {number} jitter the share of the delay that chance decides, 0 to 1: what failed at once does not come
 * back at once
 */

/** @type {Readonly<Backoff>} */
const BACKOFF = { delayMs: 1_000, factor: 2, maxDelayMs: 60_000, jitter: 0.5 };

/**
 * @param {number} repetition 1 for the first
 * @param {Partial<Backoff>} how
 * @param {() => number} random from 0 to below 1
 * @returns {number} milliseconds
 */
function delayOf(repetition, how, random) {
  const { delayMs, factor, maxDelayMs, jitter } = { ...BACKOFF, ...how };
  const full = Math.min(maxDelayMs, delayMs * factor ** (repetition - 1));
  return Math.round(full * (1 - jitter * random()));
}

module.exports = { BACKOFF, delayOf };
