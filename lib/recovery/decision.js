// A question to a person about a failure, and the answer: by `waymark decide`, by the API, or by a file. The question
// waits in the run's record `decision`, so that it outlives the process that asked.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('../error.js');
const { reportOf } = require('./report.js');

/**
 * @typedef {import('../../index.js').FailureRecord} FailureRecord
 * @typedef {import('../../index.js').RecoveryQuestion} RecoveryQuestion
 * @typedef {import('../../index.js').RecoveryAnswer} RecoveryAnswer
 * @typedef {InstanceType<typeof import('./kept.js')['Kept']>} Kept
 */

const FORMAT = 1;
const DECISIONS = /** @type {const} */ (['retry', 'skip', 'reassign', 'decompose', 'abort']);
/** How often the answer is looked for, in milliseconds. */
const POLL_MS = 250;

class Decisions {
  /**
   * @param {Kept} run
   * @param {() => string} folder of the run's reports and of the file with the answer
   * @param {string} runId
   * @param {() => number} now
   */
  constructor(run, folder, runId, now) {
    this.run = run;
    this.folderOf = folder;
    this.runId = runId;
    this.now = now;
  }

  get folder() {
    return this.folderOf();
  }

  /** The file that an answer may come in. */
  get file() {
    return path.join(this.folder, 'decision.json');
  }

  /** @returns {Promise<{ question: RecoveryQuestion | null, answer: RecoveryAnswer | null }>} */
  async look() {
    const kept = await this.run.read('decision');
    const found = { question: kept?.question ?? null, answer: kept?.answer ?? null };
    if (found.question === null || found.answer !== null) return found;
    const answer = await this.#fromFile();
    return answer ? { ...found, answer } : found;
  }

  /**
   * Asks, with a report for the person. A question that was asked before about the same failure stays as it is.
   * @param {FailureRecord} failure
   * @param {{ suggest?: string, workers: string[], splits: boolean, series: FailureRecord[] }} about
   * @returns {Promise<RecoveryQuestion>}
   */
  async ask(failure, { suggest, workers, splits, series }) {
    const options = DECISIONS.filter(
      (one) => (one !== 'reassign' || workers.length > 0) && (one !== 'decompose' || splits),
    );
    const report = path.join(this.folder, `${failure.id}.md`);
    /** @type {RecoveryQuestion} */
    const question = {
      failureId: failure.id,
      step: failure.step,
      worker: failure.worker,
      asked: new Date(this.now()).toISOString(),
      message: failure.message,
      report,
      options,
      workers,
    };
    fs.mkdirSync(this.folder, { recursive: true });
    const text = reportOf({
      runId: this.runId,
      failure,
      series,
      question,
      suggest,
      file: this.file,
    });
    fs.writeFileSync(`${report}.tmp`, text);
    fs.renameSync(`${report}.tmp`, report);
    // An answer to an earlier question says nothing of this one.
    fs.rmSync(this.file, { force: true });
    await this.run.change('decision', () => ({ format: FORMAT, question, answer: null }));
    return question;
  }

  /**
   * @param {{ decision: string, worker?: string, note?: string, failureId?: string }} given
   * @param {{ by: string, via: RecoveryAnswer['via'] }} from
   * @returns {Promise<RecoveryAnswer>}
   */
  async answer(given, { by, via }) {
    /** @type {RecoveryAnswer | undefined} */
    let answer;
    await this.run.change('decision', (kept) => {
      const question = /** @type {RecoveryQuestion | undefined} */ (kept?.question ?? undefined);
      if (question === undefined) {
        throw new WaymarkError(
          'ERR_NO_QUESTION',
          `run ${this.runId} waits for no decision; waymark failures ${this.runId} shows how it stands`,
          { runId: this.runId },
        );
      }
      answer = {
        ...this.#checked(given, question),
        by,
        via,
        at: new Date(this.now()).toISOString(),
      };
      return { ...kept, answer };
    });
    return /** @type {RecoveryAnswer} */ (/** @type {unknown} */ (answer));
  }

  /**
   * @param {{ decision?: unknown, worker?: unknown, note?: unknown, failureId?: unknown }} given
   * @param {RecoveryQuestion} question
   */
  #checked({ decision, worker, note, failureId }, question) {
    /** @param {string} why */
    const invalid = (why) =>
      new WaymarkError('ERR_DECISION_INVALID', `run ${this.runId}: ${why}`, { runId: this.runId });
    if (failureId !== undefined && failureId !== question.failureId) {
      throw invalid(`the question is about failure ${question.failureId}, not ${failureId}`);
    }
    const { options, workers } = question;
    if (!options.some((one) => one === decision)) {
      throw invalid(
        `the decision must be one of ${options.join(', ')}, not ${JSON.stringify(decision)}`,
      );
    }
    if (decision === 'reassign' && !workers.some((one) => one === worker)) {
      throw invalid(`reassign needs a worker: one of ${workers.join(', ')}`);
    }
    if (decision !== 'reassign' && worker !== undefined) {
      throw invalid('a worker is for reassign only');
    }
    if (note !== undefined && typeof note !== 'string') throw invalid('the note must be a text');
    return /** @type {Pick<RecoveryAnswer, 'decision' | 'worker' | 'note'>} */ ({
      decision,
      ...(worker === undefined ? {} : { worker }),
      ...(note === undefined ? {} : { note }),
    });
  }

  /** @returns {Promise<RecoveryAnswer | undefined>} */
  async #fromFile() {
    let text;
    try {
      text = fs.readFileSync(this.file, 'utf8');
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return undefined;
      throw error;
    }
    let given;
    try {
      given = JSON.parse(text);
    } catch (cause) {
      // Somebody may be writing it.
      throw new WaymarkError(
        'ERR_DECISION_INVALID',
        `${this.file} is not JSON: ${/** @type {Error} */ (cause).message}`,
        { path: this.file, runId: this.runId, cause },
      );
    }
    const { by = 'a file', ...rest } = given ?? {};
    const answer = await this.answer(rest, { by: String(by), via: 'file' });
    fs.rmSync(this.file, { force: true });
    return answer;
  }

  /**
   * Waits for the answer.
   * @param {number | 'forever'} waitMs
   * @param {(ms: number) => Promise<void>} sleep
   * @param {(error: unknown) => void} complain hears of a file that can't be understood, once for each way it is
   * @returns {Promise<RecoveryAnswer | undefined>}
   */
  async wait(waitMs, sleep, complain) {
    const until = waitMs === 'forever' ? Number.POSITIVE_INFINITY : this.now() + waitMs;
    let told = '';
    for (;;) {
      try {
        const { answer } = await this.look();
        if (answer !== null) return answer;
      } catch (error) {
        const { code, message } = /** @type {InstanceType<typeof WaymarkError>} */ (error);
        if (code !== 'ERR_DECISION_INVALID') throw error;
        if (message !== told) complain(error);
        told = message;
      }
      const left = until - this.now();
      if (left <= 0) return undefined;
      await sleep(Math.min(left, POLL_MS));
    }
  }

  /** The question is settled. */
  async clear() {
    if ((await this.run.read('decision'))?.question == null) return;
    await this.run.change('decision', (kept) => ({
      ...kept,
      question: null,
      answer: null,
      before: kept,
    }));
    fs.rmSync(this.file, { force: true });
  }
}

module.exports = { DECISIONS, Decisions };
