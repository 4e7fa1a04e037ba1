// A clock that never goes back, in milliseconds. Not `performance`: at its first use Node loads eleven modules for it, and a
// step's first line waits for them.

/** @returns {number} since some moment that is the same for all of the process */
function nowMs() {
  const [seconds, ns] = process.hrtime();
  return seconds * 1_000 + ns / 1e6;
}

module.exports = { nowMs };
