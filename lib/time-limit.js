// A promise that does not take longer than it may.

/**
 * @template T
 * @param {Promise<T>} work
 * @param {number} ms
 * @returns {Promise<T>}
 */
async function limited(work, ms) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      // A thread that was busy meanwhile hears the answer only after the timer.
      setImmediate(() => setImmediate(() => reject(new Error(`no answer in ${ms} ms`))));
    }, ms);
  });
  try {
    return /** @type {T} */ (await Promise.race([work, late]));
  } finally {
    clearTimeout(timer);
    // What comes later is nobody's.
    work.catch(() => {});
  }
}

module.exports = { limited };
