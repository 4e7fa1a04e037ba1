// Records: small durable JSON documents of a run, or of the store.

const { WaymarkError } = require('./error.js');
const { freeLater, native } = require('./native.js');
const { checkOptions } = require('./options.js');

/**
 * @typedef {import('../native.js').Failure} Failure
 * @typedef {import('../native.js').Place} Place
 * @typedef {import('../native.js').RecordExpected} RecordExpected
 */

const EXPECTED = /** @type {const} */ ({ revision: 'revision' });

/**
 * @template T
 * @param {Failure | T} reply
 * @param {Function} above
 * @returns {T}
 */
function unwrap(reply, above) {
  if (/** @type {Failure | null} */ (reply)?.failed === true) {
    throw WaymarkError.from(/** @type {Failure} */ (reply), above);
  }
  return /** @type {T} */ (reply);
}

/** @param {string} name @param {unknown} value */
function toJson(name, value) {
  /** @type {unknown} */
  let cause;
  try {
    const text = JSON.stringify(value);
    if (typeof text === 'string') return text;
  } catch (error) {
    cause = error;
  }
  throw new WaymarkError('ERR_OPTION_INVALID', `record ${name}: its value has no JSON form`, {
    cause,
  });
}

/**
 * What a change is about.
 * @param {import('../index.js').RecordOptions | undefined} options
 * @param {string} where
 * @returns {RecordExpected}
 */
function expectedOf(options, where) {
  const { revision } = checkOptions(options, EXPECTED, where);
  return revision === null ? { missing: true } : { revision };
}

/** @param {import('../native.js').RecordText | null} found */
function parsed(found) {
  return found === null ? null : { value: JSON.parse(found.json), revision: found.revision };
}

/** @param {unknown} error */
function isChanged(error) {
  return /** @type {{ code?: unknown }} */ (error)?.code === 'ERR_RECORD_CHANGED';
}

/** The records of a run, or of the store. */
class Records {
  /** @type {Place} */
  #place;
  /** @type {string | undefined} */
  #runId;

  /**
   * @param {Place} place
   * @param {string | null | undefined} runId null: the store's
   */
  constructor(place, runId) {
    this.#place = place;
    this.#runId = runId ?? undefined;
  }

  /** @param {string} name */
  async read(name) {
    return parsed(unwrap(await native().readRecord(this.#place, this.#runId, name), this.read));
  }

  /** @param {string} name */
  readSync(name) {
    return parsed(unwrap(native().readRecordSync(this.#place, this.#runId, name), this.readSync));
  }

  /**
   * @param {string} name
   * @param {unknown} value
   * @param {import('../index.js').RecordOptions} [options]
   */
  async write(name, value, options) {
    const [json, expected] = [toJson(name, value), expectedOf(options, 'write')];
    const reply = await native().writeRecord(this.#place, this.#runId, name, json, expected);
    freeLater();
    return unwrap(reply, this.write);
  }

  /**
   * @param {string} name
   * @param {unknown} value
   * @param {import('../index.js').RecordOptions} [options]
   */
  writeSync(name, value, options) {
    const [json, expected] = [toJson(name, value), expectedOf(options, 'writeSync')];
    const reply = native().writeRecordSync(this.#place, this.#runId, name, json, expected);
    freeLater();
    return unwrap(reply, this.writeSync);
  }

  /**
   * @param {string} name
   * @param {(value: any) => unknown} change
   */
  async change(name, change) {
    for (;;) {
      const found = await this.read(name);
      const value = await change(found?.value);
      if (value === undefined) return found?.value;
      try {
        await this.write(name, value, { revision: found?.revision ?? null });
        return value;
      } catch (error) {
        // Somebody else was quicker: what is there now is changed instead.
        if (!isChanged(error)) throw error;
      }
    }
  }

  /**
   * @param {string} name
   * @param {(value: any) => unknown} change
   */
  changeSync(name, change) {
    for (;;) {
      const found = this.readSync(name);
      const value = change(found?.value);
      if (value === undefined) return found?.value;
      try {
        this.writeSync(name, value, { revision: found?.revision ?? null });
        return value;
      } catch (error) {
        if (!isChanged(error)) throw error;
      }
    }
  }

  /**
   * @param {string} name
   * @param {import('../index.js').RecordOptions} [options]
   */
  async remove(name, options) {
    const expected = expectedOf(options, 'remove');
    const reply = await native().removeRecord(this.#place, this.#runId, name, expected);
    return unwrap(reply, this.remove);
  }

  /**
   * @param {string} name
   * @param {import('../index.js').RecordOptions} [options]
   */
  removeSync(name, options) {
    const expected = expectedOf(options, 'removeSync');
    const reply = native().removeRecordSync(this.#place, this.#runId, name, expected);
    return unwrap(reply, this.removeSync);
  }

  async list() {
    return unwrap(await native().listRecords(this.#place, this.#runId), this.list);
  }

  listSync() {
    return unwrap(native().listRecordsSync(this.#place, this.#runId), this.listSync);
  }
}

module.exports = { Records };
