// Counts by size: how long operations took, how large checkpoints are.

/** The upper bounds for durations, in milliseconds; what is longer is beyond the last. */
const MS = [
  0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000,
];
/** The upper bounds for sizes, in bytes: 1 KiB to 1 GiB. */
const BYTES = Array.from({ length: 11 }, (_, at) => 4 ** at * 1024);

/** How many values lie at or below each bound, and what they come to. */
class Histogram {
  count = 0;
  sum = 0;
  max = 0;
  /** Those above the bound before and not above this one; the last: above all. @type {number[]} */
  #each;

  /** @param {number[]} bounds ascending */
  constructor(bounds) {
    this.bounds = bounds;
    this.#each = new Array(bounds.length + 1).fill(0);
  }

  /** @param {number} value @returns {number} */
  #place(value) {
    const at = this.bounds.findIndex((bound) => value <= bound);
    return at < 0 ? this.bounds.length : at;
  }

  /** @param {number} value */
  add(value) {
    this.#each[this.#place(value)] += 1;
    this.count += 1;
    this.sum += value;
    this.max = Math.max(this.max, value);
  }

  /** Takes back a value that was added. `max` stays: it is only ever replaced by a larger one. @param {number} value */
  remove(value) {
    this.#each[this.#place(value)] -= 1;
    this.count -= 1;
    this.sum = this.count === 0 ? 0 : this.sum - value;
  }

  /** @param {Histogram} other of the same bounds */
  merge(other) {
    for (const [at, count] of other.#each.entries()) this.#each[at] += count;
    this.count += other.count;
    this.sum += other.sum;
    this.max = Math.max(this.max, other.max);
  }

  /**
   * The value that this share of all does not exceed, estimated: as if those between two bounds were spread
   * evenly. Never more than the largest one.
   * @param {number} share 0 to 1
   * @returns {number | null} null without values
   */
  quantile(share) {
    if (this.count === 0) return null;
    const wanted = share * this.count;
    let before = 0;
    for (const [at, count] of this.#each.entries()) {
      if (count > 0 && before + count >= wanted) {
        const from = at === 0 ? 0 : this.bounds[at - 1];
        const to = Math.max(from, Math.min(this.bounds[at] ?? this.max, this.max));
        return from + (to - from) * ((wanted - before) / count);
      }
      before += count;
    }
    return this.max;
  }

  /** How many are at or below each bound; the last bound is null: all. */
  cumulative() {
    let count = 0;
    return this.#each.map((each, at) => {
      count += each;
      return { le: this.bounds[at] ?? null, count };
    });
  }
}

module.exports = { Histogram, MS, BYTES };
