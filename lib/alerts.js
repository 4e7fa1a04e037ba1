// The thresholds of health: what may be set, what holds unless something is, and whether one is crossed.

/**
 * @typedef {import('../index.js').AlertSettings} AlertSettings
 * @typedef {import('../index.js').HealthCheckName} Name
 * @typedef {{ windowHours: number, verifiedWithinDays: number, minOperations: number, thresholds: Record<Name, Limits> }} Alerts
 * @typedef {{ warn: number | null, alert: number | null }} Limits
 */

/** What is bad: less than the threshold, or as much as it and more. @type {Record<Name, { below: boolean, max?: number } & Limits>} */
const CHECKS = {
  successRate: { below: true, max: 1, warn: 0.99, alert: 0.9 },
  verifiedShare: { below: true, max: 1, warn: 0.5, alert: null },
  checkpointAgeHours: { below: false, warn: 24, alert: 168 },
  restoreSeconds: { below: false, warn: 60, alert: 600 },
  damaged: { below: false, warn: null, alert: 1 },
  unready: { below: false, warn: null, alert: 1 },
  storeShare: { below: false, warn: 0.95, alert: 1 },
  brokenEvents: { below: false, warn: null, alert: 1 },
};
const NAMES = /** @type {Name[]} */ (Object.keys(CHECKS));
/** The numbers that are no thresholds. */
const SETTINGS = { windowHours: 24, verifiedWithinDays: 7, minOperations: 10 };

/** @param {unknown} value @returns {value is number} */
function isAmount(value) {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

/**
 * What is wrong with settings of alerts; undefined if nothing is.
 * @param {any} value
 * @returns {string | undefined}
 */
function alertsProblem(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return 'alerts must be an object';
  }
  for (const [name, one] of Object.entries(value)) {
    if (one === undefined) continue;
    if (Object.hasOwn(SETTINGS, name)) {
      if (!isAmount(one) || (name !== 'minOperations' && one === 0)) {
        const least = name === 'minOperations' ? 'from 0 on' : 'greater than 0';
        return `alerts.${name} must be a number ${least}`;
      }
    } else if (Object.hasOwn(CHECKS, name)) {
      const problem = one === false ? undefined : limitsProblem(/** @type {Name} */ (name), one);
      if (problem) return problem;
    } else {
      const known = [...NAMES, ...Object.keys(SETTINGS)].join(', ');
      return `alerts.${name} is not known; known are ${known}`;
    }
  }
  return undefined;
}

/**
 * @param {Name} name
 * @param {any} value
 * @returns {string | undefined}
 */
function limitsProblem(name, value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return `alerts.${name} must be false, or an object with warn and alert`;
  }
  const { below, max } = CHECKS[name];
  for (const [level, limit] of Object.entries(value)) {
    if (level !== 'warn' && level !== 'alert') {
      return `alerts.${name}.${level} is not known; known are warn, alert`;
    }
    if (limit === undefined || limit === null) continue;
    if (!isAmount(limit) || (max !== undefined && limit > max)) {
      const range = max === undefined ? 'a number from 0 on' : `a share from 0 to ${max}`;
      return `alerts.${name}.${level} must be ${range}, or null`;
    }
  }
  const { warn, alert } = value;
  if (isAmount(warn) && isAmount(alert) && (below ? warn < alert : warn > alert)) {
    const side = below ? 'less' : 'more';
    return `alerts.${name}.warn must not be ${side} than alert: it would never be reached`;
  }
  return undefined;
}

/**
 * The defaults with settings over them, the last one topmost; each checked before.
 * @param {(AlertSettings | undefined)[]} layers
 * @returns {Alerts}
 */
function alertsOf(...layers) {
  /** @type {Record<string, any>} */
  const settings = { ...SETTINGS };
  const thresholds = /** @type {Record<Name, Limits>} */ (
    Object.fromEntries(
      NAMES.map((name) => [name, { warn: CHECKS[name].warn, alert: CHECKS[name].alert }]),
    )
  );
  for (const layer of layers) {
    for (const [name, value] of Object.entries(layer ?? {})) {
      if (value === undefined) continue;
      if (Object.hasOwn(SETTINGS, name)) {
        settings[name] = value;
        continue;
      }
      const limits = thresholds[/** @type {Name} */ (name)];
      const { warn, alert } =
        value === false
          ? { warn: null, alert: null }
          : /** @type {import('../index.js').AlertLimits} */ (value);
      if (warn !== undefined) limits.warn = warn;
      if (alert !== undefined) limits.alert = alert;
    }
  }
  return /** @type {Alerts} */ ({ ...settings, thresholds });
}

/**
 * @param {Name} name
 * @param {number | null} value null: there is nothing to judge
 * @param {Limits} limits
 * @returns {import('../index.js').HealthLevel}
 */
function levelOf(name, value, { warn, alert }) {
  const { below } = CHECKS[name];
  /** @param {number | null} limit */
  const crossed = (limit) =>
    value !== null && limit !== null && (below ? value < limit : value >= limit);
  if (crossed(alert)) return 'alert';
  return crossed(warn) ? 'warn' : 'ok';
}

/** @param {Limits} limits */
function isOff({ warn, alert }) {
  return warn === null && alert === null;
}

module.exports = { alertsProblem, alertsOf, levelOf, isOff, NAMES };
