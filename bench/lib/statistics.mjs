// Order statistics and the result rows that every benchmark gives.

/**
 * A line of the result table.
 * @typedef {object} Row
 * @property {string} group the benchmark
 * @property {string} name what was measured
 * @property {string} unit of p50 and p90
 * @property {number} p50
 * @property {number} [p90] absent where samples don't differ by chance, as sizes
 * @property {number} count how many samples
 * @property {number} [figure] what is held against the bound, a ratio unless `figureUnit` says
 * otherwise
 * @property {string} [figureUnit]
 * @property {string} [base] what the ratio is taken to
 * @property {number} [bound] the largest figure that is accepted
 * @property {number} [control] the figure of doing nothing: where that is over the bound, this
 * run says nothing about Waymark
 */

/**
 * Something that could not be measured.
 * @typedef {{ group: string, name: string, missing: string }} Gap
 */

/**
 * @param {Row} row
 * @returns {'' | 'ok' | 'over' | 'too noisy'}
 */
export function verdict({ figure, bound, control }) {
  if (figure === undefined || bound === undefined) return '';
  if (figure <= bound) return 'ok';
  return control !== undefined && control > bound ? 'too noisy' : 'over';
}

/**
 * @param {readonly number[]} samples
 * @param {number} share 0 to 1
 * @returns {number} the nearest-rank quantile; NaN without samples
 */
export function quantile(samples, share) {
  const sorted = [...samples].sort((left, right) => left - right);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/**
 * @param {readonly number[]} samples
 * @returns {number}
 */
export function median(samples) {
  return quantile(samples, 0.5);
}

/**
 * @param {string} group
 * @param {string} name
 * @param {readonly number[]} samples
 * @param {{ base?: readonly number[], baseName?: string, bound?: number, unit?: string }} [about]
 * @returns {Row}
 */
export function row(group, name, samples, about = {}) {
  /** @type {Row} */
  const made = {
    group,
    name,
    unit: about.unit ?? 'ms',
    p50: median(samples),
    p90: quantile(samples, 0.9),
    count: samples.length,
  };
  if (about.base) made.figure = made.p50 / median(about.base);
  if (about.baseName) made.base = about.baseName;
  if (about.bound !== undefined) made.bound = about.bound;
  return made;
}

/**
 * A row of sizes, in MB of a million bytes.
 * @param {string} group
 * @param {string} name
 * @param {readonly number[]} bytes
 * @param {{ base?: readonly number[], baseName?: string, bound?: number }} [about]
 * @returns {Row}
 */
export function sizeRow(group, name, bytes, about = {}) {
  const { p90, ...made } = row(group, name, bytes, { ...about, unit: 'MB' });
  return { ...made, p50: made.p50 / 1e6 };
}
