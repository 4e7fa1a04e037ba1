// Questions to a person about failures, and the answers: by `waymark decide`, by the API, or by a file. They wait in the
// run's record `decision`, so that they outlive the process that asked.

const fs = require('node:fs');
const path = require('node:path');
const { WaymarkError } = require('../error.js');
const { reportOf } = require('./report.js');

/**
 * @typedef {import('../../index.js').FailureRecord} FailureRecord
 * @typedef {import('../../index.js').RecoveryQuestion} RecoveryQuestion
 * @typedef {import('../../index.js').RecoveryAnswer} RecoveryAnswer
 * @typedef {InstanceType<typeof import('./kept.js')['Kept']>} Kept
 *
 * A question that is not settled yet.
 * @typedef {{ question: RecoveryQuestion, answer: RecoveryAnswer | null }} Entry
 * @typedef {{ decision?: unknown, worker?: unknown, note?: unknown, failureId?: unknown }} Given
 */

const FORMAT = 1;
const RECORD = 'decision';
const DECISIONS = /** @type {const} */ (['retry', 'skip', 'reassign', 'decompose', 'abort']);
/** How often the answer is looked for, in milliseconds. */
const POLL_MS = 250;

class Decisions {
  #run;
  #folder;
  #runId;
  #now;

  /**
   * @param {Kept} run
   * @param {() => string} folder of the run's reports and of the file with the answer
   * @param {string} runId
   * @param {() => number} now
   */
  constructor(run, folder, runId, now) {
    this.#run = run;
    this.#folder = folder;
    this.#runId = runId;
    this.#now = now;
  }

  /** The file that an answer may come in. */
  #file() {
    return path.join(this.#folder(), 'decision.json');
  }

  /**
   * All that is not settled, oldest first. An answer that lies in the file is taken up.
   * @returns {Promise<Entry[]>}
   */
  async entries() {
    const open = await this.#read();
    if (!open.some((one) => one.answer === null) || !(await this.#takeFile())) return open;
    return this.#read();
  }

  /** What waits for an answer, as it was asked; a file that answers it is left alone. */
  async unanswered() {
    return (await this.#read()).find((one) => one.answer === null)?.question ?? null;
  }

  /** Whether it was asked about this failure. @param {string} failureId */
  async asked(failureId) {
    return (await this.#read()).some((one) => one.question.failureId === failureId);
  }

  /** @returns {Promise<Entry[]>} */
  async #read() {
    return (await this.#run.read(RECORD))?.open ?? [];
  }

  /**
   * Asks, with a report for the person. A question about an earlier failure of the same work is settled with it.
   * @param {FailureRecord} failure
   * @param {{ suggest?: string, workers: string[], splits: boolean, series: FailureRecord[] }} about
   * @returns {Promise<RecoveryQuestion>}
   */
  async ask(failure, { suggest, workers, splits, series }) {
    const { id, step, subtask, worker, message } = failure;
    const [folder, file] = [this.#folder(), this.#file()];
    const report = path.join(folder, `${id}.md`);
    /** @type {RecoveryQuestion} */
    const question = {
      failureId: id,
      step,
      ...(subtask === undefined ? {} : { subtask }),
      worker,
      asked: new Date(this.#now()).toISOString(),
      message,
      report,
      options: DECISIONS.filter(
        (one) => (one !== 'reassign' || workers.length > 0) && (one !== 'decompose' || splits),
      ),
      workers,
    };
    fs.mkdirSync(folder, { recursive: true });
    const about = { runId: this.#runId, failure, series, question, suggest, file };
    fs.writeFileSync(`${report}.tmp`, reportOf(about));
    fs.renameSync(`${report}.tmp`, report);
    await this.#run.change(RECORD, (kept) => {
      /** @type {Entry[]} */
      const open = kept?.open ?? [];
      const others = open.filter(
        ({ question: other }) => other.step !== step || other.subtask !== subtask,
      );
      // An answer to an earlier question says nothing of this one.
      if (others.length === 0) fs.rmSync(file, { force: true });
      return { format: FORMAT, open: [...others, { question, answer: null }] };
    });
    return question;
  }

  /**
   * @param {Given} given
   * @param {{ by: string, via: RecoveryAnswer['via'] }} from
   * @returns {Promise<RecoveryAnswer>}
   */
  async answer(given, { by, via }) {
    /** @type {RecoveryAnswer | undefined} */
    let answer;
    await this.#run.change(RECORD, (kept) => {
      /** @type {Entry[]} */
      const open = kept?.open ?? [];
      const meant = this.#meant(open, given.failureId);
      const what = this.#checked(given, meant.question);
      const made = { ...what, by, via, at: new Date(this.#now()).toISOString() };
      answer = made;
      return { ...kept, open: open.map((one) => (one === meant ? { ...one, answer: made } : one)) };
    });
    return /** @type {RecoveryAnswer} */ (/** @type {unknown} */ (answer));
  }

  /** @param {string} why */
  #invalid(why) {
    const runId = this.#runId;
    return new WaymarkError('ERR_DECISION_INVALID', `run ${runId}: ${why}`, { runId });
  }

  /**
   * The question that an answer is for.
   * @param {Entry[]} open
   * @param {unknown} failureId
   * @returns {Entry}
   */
  #meant(open, failureId) {
    if (open.length === 0) {
      throw new WaymarkError(
        'ERR_NO_QUESTION',
        `run ${this.#runId} waits for no decision; waymark failures ${this.#runId} shows how it stands`,
        { runId: this.#runId },
      );
    }
    const ids = open.map((one) => `${one.question.failureId} (step ${one.question.step})`);
    const named = open.filter((one) => one.question.failureId === failureId);
    if (failureId !== undefined && named.length === 0) {
      throw this.#invalid(`the question is about failure ${ids.join(', ')}, not ${failureId}`);
    }
    const unanswered = open.filter((one) => one.answer === null);
    const meant = failureId !== undefined ? named : unanswered.length > 0 ? unanswered : open;
    if (meant.length > 1) {
      throw this.#invalid(`several failures wait: say which one, of ${ids.join(', ')}`);
    }
    return meant[0];
  }

  /**
   * @param {Given} given
   * @param {RecoveryQuestion} question
   */
  #checked({ decision, worker, note }, { options, workers }) {
    if (!options.some((one) => one === decision)) {
      const allowed = options.join(', ');
      throw this.#invalid(
        `the decision must be one of ${allowed}, not ${JSON.stringify(decision)}`,
      );
    }
    if (decision === 'reassign' && !workers.some((one) => one === worker)) {
      throw this.#invalid(`reassign needs a worker: one of ${workers.join(', ')}`);
    }
    if (decision !== 'reassign' && worker !== undefined) {
      throw this.#invalid('a worker is for reassign only');
    }
    if (note !== undefined && typeof note !== 'string') {
      throw this.#invalid('the note must be a text');
    }
    return /** @type {Pick<RecoveryAnswer, 'decision' | 'worker' | 'note'>} */ ({
      decision,
      ...(worker === undefined ? {} : { worker }),
      ...(note === undefined ? {} : { note }),
    });
  }

  /** Takes up what lies in the file. @returns {Promise<boolean>} whether there was something */
  async #takeFile() {
    const file = this.#file();
    let text;
    try {
      text = fs.readFileSync(file, 'utf8');
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return false;
      throw error;
    }
    let given;
    try {
      given = JSON.parse(text);
    } catch (cause) {
      // Somebody may be writing it.
      throw new WaymarkError(
        'ERR_DECISION_INVALID',
        `${file} is not JSON: ${/** @type {Error} */ (cause).message}`,
        { path: file, runId: this.#runId, cause },
      );
    }
    if (typeof given !== 'object' || given === null) {
      throw this.#invalid(`${file} must hold an object`);
    }
    const { by = 'a file', ...rest } = given;
    await this.answer(rest, { by: String(by), via: 'file' });
    fs.rmSync(file, { force: true });
    return true;
  }

  /**
   * Waits for the answer to a question.
   * @param {string} failureId
   * @param {number | 'forever'} waitMs
   * @param {(ms: number) => Promise<void>} sleep
   * @param {(error: unknown) => void} complain hears of a file that can't be understood, once for each way it is
   * @returns {Promise<RecoveryAnswer | undefined>}
   */
  async wait(failureId, waitMs, sleep, complain) {
    const until = waitMs === 'forever' ? Number.POSITIVE_INFINITY : this.#now() + waitMs;
    let told = '';
    for (;;) {
      /** @type {Entry[]} */
      let open = [];
      try {
        open = await this.entries();
      } catch (error) {
        const { code, message } = /** @type {InstanceType<typeof WaymarkError>} */ (error);
        if (code !== 'ERR_DECISION_INVALID' && code !== 'ERR_NO_QUESTION') throw error;
        if (message !== told) complain(error);
        told = message;
        // Answers that came another way count all the same.
        open = await this.#read();
      }
      const answer = open.find((one) => one.question.failureId === failureId)?.answer;
      if (answer) return answer;
      const left = until - this.#now();
      if (left <= 0) return undefined;
      await sleep(Math.min(left, POLL_MS));
    }
  }

  /** A question is settled. @param {string} failureId */
  async settle(failureId) {
    const isIt = (/** @type {Entry} */ { question }) => question.failureId === failureId;
    if (!(await this.#read()).some(isIt)) return;
    await this.#run.change(RECORD, (kept) => ({
      ...kept,
      open: (kept?.open ?? []).filter((/** @type {Entry} */ one) => !isIt(one)),
    }));
  }
}

module.exports = { DECISIONS, Decisions };
