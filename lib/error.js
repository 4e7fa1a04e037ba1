/**
 * @typedef {import('../native.js').Failure} Failure
 */

/**
 * Every error of Waymark: a stable `code`, a message a person can act on, and what it concerns.
 */
class WaymarkError extends Error {
  /**
   * @param {string} code `ERR_…`, listed in docs/errors.md
   * @param {string} message
   * @param {Partial<Failure> & { cause?: unknown }} [details]
   * @param {Function} [above] the function whose callers the stack shall show
   */
  constructor(code, message, details = {}, above = WaymarkError) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    /** The stable code. @type {string} */
    this.code = code;
    /** The finer reason inside the code. @type {string | undefined} */
    this.reason = details.reason;
    /** The path concerned. @type {string | undefined} */
    this.path = details.path;
    /** The run concerned. @type {string | undefined} */
    this.runId = details.runId;
    /** The checkpoint concerned. @type {string | undefined} */
    this.checkpointId = details.checkpointId;
    /** Checkpoints that were passed over. @type {Failure['skipped']} */
    this.skipped = details.skipped ?? [];
    /** The lease that stands in the way, or that took the place of the caller's. @type {Failure['lease']} */
    this.lease = details.lease;
    if (code === 'ERR_ABORTED') {
      this.name = 'AbortError';
    }
    Error.captureStackTrace(this, above);
  }

  /**
   * @param {Failure} failure
   * @param {Function} [above]
   * @returns {WaymarkError}
   */
  static from(failure, above) {
    return new WaymarkError(failure.code, failure.message, failure, above);
  }
}
WaymarkError.prototype.name = 'WaymarkError';

module.exports = { WaymarkError };
