// The process of one attempt at a step: started with the preload, released when it is written down, watched, ended
// when its time is over.

const { spawn } = require('node:child_process');
const { withPreload } = require('../preload-option.js');
const { WorkFailed } = require('../recovery/failure.js');
const { NAME } = require('./line.js');

/**
 * What the step's process told.
 * @typedef {object} Told
 * @property {string} [checkpoint] the checkpoint that was taken
 * @property {string} [skipped] it left no trace
 * @property {string} [waiting] the run's status, of a step that is not done although its process ended well
 * @property {boolean} [own] the runner took a checkpoint itself
 * @property {{ code?: string, message: string }} [noCheckpoint] why none was taken
 * @property {{ name?: string, code?: string, message: string, stack?: string }} [threw]
 *
 * @typedef {object} Ended
 * @property {number | null} code
 * @property {NodeJS.Signals | null} signal
 * @property {'time_limit' | 'stalled' | undefined} over why it was ended
 * @property {string} output the end of its standard error
 * @property {Told} told
 * @property {boolean} attached whether the preload was at work in it
 * @property {number} ms
 *
 * @typedef {object} Wanted
 * @property {string[]} words
 * @property {NodeJS.ProcessEnv} env
 * @property {string} [cwd]
 * @property {boolean} alone false: others run beside it, so it gets no standard input
 * @property {number} [timeLimitMs]
 * @property {number} [stallMs]
 * @property {number} graceMs
 * @property {(chunk: Buffer) => void} onOutput its standard error, as it comes
 */

const TAIL_BYTES = 4_096;
/** How long the output of a process that has ended is waited for: what it started may hold it open. */
const DRAIN_MS = 100;

/**
 * The environment of a step's process.
 * @param {string[]} words that start it
 * @param {NodeJS.ProcessEnv} env
 * @param {number} [stallMs]
 * @returns {NodeJS.ProcessEnv}
 */
function stepEnvironment(words, { WAYMARK_ATTACHED: _, ...env }, stallMs) {
  const beatMs = stallMs === undefined ? 0 : Math.max(50, Math.floor(stallMs / 4));
  return {
    ...env,
    NODE_OPTIONS: withPreload(env, words),
    [NAME]: `3,${beatMs}`,
  };
}

class Child {
  #child;
  #wanted;
  #line;
  /** @type {'time_limit' | 'stalled' | undefined} */
  #over;
  /** @type {NodeJS.Timeout[]} */
  #timers = [];
  /** @type {Buffer[]} */
  #tail = [];
  #tailBytes = 0;
  /** @type {Told} */
  #told = {};
  #attached = false;
  #begun = performance.now();
  #lastSign = performance.now();

  /** @param {Wanted} wanted */
  constructor(wanted) {
    this.#wanted = wanted;
    const { words, env, cwd, alone } = wanted;
    const [program, ...rest] = words;
    try {
      this.#child = spawn(program, rest, {
        cwd,
        env,
        stdio: [alone ? 'inherit' : 'ignore', 'inherit', 'pipe', 'pipe'],
      });
    } catch (error) {
      // Node throws for a program's name that can be none.
      throw notStarted(error);
    }
    /** @type {Promise<Ended>} */
    this.ended = this.#watch();
    // Whoever waits for it hears of it; nobody may wait yet.
    this.ended.catch(() => {});
    this.#line = /** @type {import('node:net').Socket | null} */ (this.#child.stdio[3]);
    this.#listen();
  }

  get pid() {
    return this.#child.pid;
  }

  /** Lets it begin: that it runs is written down. */
  release() {
    this.#line?.write('\n');
    this.#lastSign = performance.now();
    const { timeLimitMs, stallMs } = this.#wanted;
    if (timeLimitMs !== undefined) this.#later(timeLimitMs, () => this.#end('time_limit'));
    if (stallMs !== undefined) {
      const look = () => {
        const left = stallMs - (performance.now() - this.#lastSign);
        if (left <= 0) this.#end('stalled');
        else this.#later(left, look);
      };
      this.#later(stallMs, look);
    }
  }

  /** Says that it must not begin. One that does not listen is ended. */
  hangUp() {
    this.#line?.destroy();
    const { pid, exitCode, signalCode } = this.#child;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    this.#later(this.#wanted.graceMs, () => this.kill('SIGKILL'));
  }

  /** @param {NodeJS.Signals} signal */
  kill(signal) {
    return this.#child.kill(signal);
  }

  /** @param {'time_limit' | 'stalled'} over */
  #end(over) {
    this.#over = over;
    this.kill('SIGTERM');
    this.#later(this.#wanted.graceMs, () => this.kill('SIGKILL'));
  }

  /** @param {number} ms @param {() => void} what */
  #later(ms, what) {
    this.#timers.push(setTimeout(what, Math.min(ms, 2 ** 31 - 1)));
  }

  #listen() {
    const { onOutput } = this.#wanted;
    this.#child.stderr?.on('data', (/** @type {Buffer} */ chunk) => {
      this.#lastSign = performance.now();
      onOutput(chunk);
      this.#tail.push(chunk);
      this.#tailBytes += chunk.length;
      while (this.#tailBytes - this.#tail[0].length >= TAIL_BYTES) {
        this.#tailBytes -= /** @type {Buffer} */ (this.#tail.shift()).length;
      }
    });
    let text = '';
    this.#line?.on('error', () => {});
    this.#line?.on('data', (/** @type {Buffer} */ chunk) => {
      this.#lastSign = performance.now();
      this.#attached = true;
      text += chunk;
      const lines = text.split('\n');
      text = /** @type {string} */ (lines.pop());
      for (const line of lines) this.#hear(line);
    });
  }

  /** @param {string} line */
  #hear(line) {
    try {
      const { beat: _, entered, ...told } = JSON.parse(line);
      // A shell may start more than one process of the step; each waits for a word of its own.
      if (entered) this.#line?.write('\n');
      Object.assign(this.#told, told);
    } catch {
      // Some process of the runner's writes to a file descriptor that is not its own.
    }
  }

  /** @returns {Promise<Ended>} */
  #watch() {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      let running = false;
      child.once('spawn', () => {
        running = true;
      });
      child.on('error', (error) => {
        // Later errors are signals that could not be delivered.
        if (!running) reject(notStarted(error));
      });
      child.once('exit', (code, signal) => {
        const ms = performance.now() - this.#begun;
        for (const timer of this.#timers) clearTimeout(timer);
        let isOver = false;
        const finish = () => {
          if (isOver) return;
          isOver = true;
          clearTimeout(timer);
          child.stderr?.destroy();
          this.#line?.destroy();
          const output = Buffer.concat(this.#tail).subarray(-TAIL_BYTES).toString('utf8');
          resolve({
            code,
            signal,
            over: this.#over,
            output,
            told: this.#told,
            attached: this.#attached,
            ms,
          });
        };
        // Behind what has arrived meanwhile.
        const timer = setTimeout(() => setImmediate(finish), DRAIN_MS);
        child.once('close', finish);
      });
    });
  }
}

/** @param {unknown} error */
function notStarted(error) {
  const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
  return new WorkFailed({ kind: 'not_started', error: { code, message } });
}

module.exports = { Child, stepEnvironment };
