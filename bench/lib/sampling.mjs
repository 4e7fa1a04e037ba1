// Takes samples of several contenders in turn. Machines that run benchmarks are noisy, and noise
// comes in waves: contenders that take turns see the same waves, so their ratio holds where times
// don't.

/**
 * @typedef {object} Contender
 * @property {(round: number) => unknown} [before] untimed, to the end of its promise if it gives one
 * @property {(round: number) => unknown} run timed, to the end of its promise if it gives one
 * @property {(result: any, round: number) => void | Promise<void>} [after] untimed
 */

/**
 * @template {string} K
 * @param {Record<K, Contender>} contenders
 * @param {{ rounds: number, warmUp: number }} plan
 * @returns {Promise<Record<K, number[]>>} milliseconds
 */
export async function interleave(contenders, { rounds, warmUp }) {
  const names = /** @type {K[]} */ (Object.keys(contenders));
  const samples = /** @type {Record<K, number[]>} */ ({});
  for (const name of names) samples[name] = [];
  for (let round = 0; round < warmUp + rounds; round += 1) {
    for (let turn = 0; turn < names.length; turn += 1) {
      // What one leaves behind in the page cache and in the disk's queue, the next one pays for; so
      // nobody always comes after the same one.
      const name = names[(round % 2 ? names.length - 1 - turn : turn + round) % names.length];
      const contender = contenders[name];
      await contender.before?.(round);
      const from = performance.now();
      let result = contender.run(round);
      // Waiting for what is no promise would add a turn of the event loop to synchronous calls.
      if (result instanceof Promise) result = await result;
      const took = performance.now() - from;
      await contender.after?.(result, round);
      if (round >= warmUp) samples[name].push(took);
    }
  }
  return samples;
}
