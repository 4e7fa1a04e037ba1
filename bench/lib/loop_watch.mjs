// Notes for how long calls keep the event loop from turning.
//
// A timer of 1 ms notes how late it is while a call is under way; a loop that spins would notice
// more, but take a whole core away from the work it watches. From the lateness is taken what is not
// Waymark's blocking: the time in which the machine ran something else although this thread was
// ready (the kernel counts that, on Linux), and the caller's own JSON.stringify. Nor did anything
// block for longer than the loop was at work: a virtual machine whose processors sleep may wake them
// milliseconds late, and the loop, which waits for its timer, is idle all that time. The
// plain lateness is reported too. Before each call the collector clears away what the others left:
// otherwise it does that in the next one, whichever that is, the one that does nothing too.

import fs from 'node:fs';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import { quantile, row } from './statistics.mjs';

const BOUND_MS = 5;
const GROUP = 'event loop';
const TICK_MS = 1;
/** The collector's other threads have done by then. */
const SWEEP_MS = 5;

/** @typedef {{ late: number, stringify: number, blocked: number }} Longest in milliseconds */

/** Counts how long this thread was ready to run but had no CPU. */
class CpuWait {
  /** @type {number | undefined} */
  #file;
  #text = Buffer.alloc(128);

  constructor() {
    try {
      // The main thread's id is the process's.
      this.#file = fs.openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
    } catch {
      // Not Linux: gaps count in full.
    }
  }

  /** True if the kernel counts it. */
  get known() {
    return this.#file !== undefined;
  }

  /** @returns {number} milliseconds since the thread's start */
  read() {
    if (this.#file === undefined) return 0;
    fs.readSync(this.#file, this.#text, 0, this.#text.length, 0);
    // "<ran> <waited> <slices>"; by hand, since text of every turn would keep the collector busy.
    let at = this.#text.indexOf(0x20) + 1;
    let nanoseconds = 0;
    for (; this.#text[at] >= 0x30; at += 1) {
      nanoseconds = nanoseconds * 10 + this.#text[at] - 0x30;
    }
    return nanoseconds / 1e6;
  }

  close() {
    if (this.#file !== undefined) fs.closeSync(this.#file);
  }
}

/** Watches the event loop's turns. */
class LoopWatch {
  #wait = new CpuWait();
  #stringify = 0;
  #real = JSON.stringify;

  constructor() {
    const real = this.#real;
    // Taken in the very call that is judged: beside it, it would be another time.
    JSON.stringify = /** @type {typeof JSON.stringify} */ (
      (/** @type {Parameters<typeof JSON.stringify>} */ ...args) => {
        const from = performance.now();
        try {
          return real(...args);
        } finally {
          this.#stringify += performance.now() - from;
        }
      }
    );
  }

  get knowsWait() {
    return this.#wait.known;
  }

  /**
   * @param {() => Promise<unknown>} call
   * @returns {Promise<Longest>} the longest of each kind
   */
  async during(call) {
    /** @type {Longest} */
    const longest = { late: 0, stringify: 0, blocked: 0 };
    let [at, waited, spent] = [performance.now(), this.#wait.read(), this.#stringify];
    let { active } = performance.eventLoopUtilization();
    const turn = () => {
      const now = performance.now();
      const [waitedNow, spentNow] = [this.#wait.read(), this.#stringify];
      // Not waiting for timers and answers; known once the loop has begun to turn.
      const { active: activeNow } = performance.eventLoopUtilization();
      const [late, stringify] = [Math.max(0, now - at - TICK_MS), spentNow - spent];
      const held = Math.min(late - (waitedNow - waited), activeNow - active);
      const blocked = Math.max(0, held - stringify);
      longest.late = Math.max(longest.late, late);
      longest.stringify = Math.max(longest.stringify, stringify);
      longest.blocked = Math.max(longest.blocked, blocked);
      [at, waited, spent, active] = [now, waitedNow, spentNow, activeNow];
    };
    let ticking = setTimeout(function tick() {
      turn();
      ticking = setTimeout(tick, TICK_MS);
    }, TICK_MS);
    await call();
    // What the end of the call took belongs to it.
    turn();
    clearTimeout(ticking);
    return longest;
  }

  close() {
    JSON.stringify = this.#real;
    this.#wait.close();
  }
}

/**
 * A call to watch.
 * @typedef {object} Call
 * @property {() => Promise<void>} [before] not watched
 * @property {() => Promise<unknown>} run
 */

/**
 * Watches calls in turn.
 * @param {Record<string, Call>} calls the first does nothing: what it shows is nobody's fault
 * @param {{ rounds: number, warmUp: number }} plan
 * @returns {Promise<import('./statistics.mjs').Row[]>}
 */
export async function measureLoop(calls, { rounds, warmUp }) {
  const names = Object.keys(calls);
  const found = Object.fromEntries(names.map((name) => [name, /** @type {Longest[]} */ ([])]));
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc');
  const watch = new LoopWatch();
  try {
    for (let round = 0; round < warmUp + rounds; round += 1) {
      for (const name of names) {
        await calls[name].before?.();
        collect();
        await sleep(SWEEP_MS);
        const longest = await watch.during(calls[name].run);
        if (round >= warmUp) found[name].push(longest);
      }
    }
  } finally {
    watch.close();
  }
  const rows = [];
  const control = quantile(
    found[names[0]].map((one) => one.blocked),
    0.99,
  );
  const p99 = (/** @type {number[]} */ samples) => ({
    figure: quantile(samples, 0.99),
    figureUnit: 'ms (p99)',
  });
  for (const [name, all] of Object.entries(found)) {
    const of = (/** @type {keyof Longest} */ key) => all.map((one) => one[key]);
    const [late, stringify, blocked] = [of('late'), of('stringify'), of('blocked')];
    const less = watch.knowsWait
      ? 'less stringify and waiting for a CPU or the timer'
      : 'less stringify and waiting for the timer';
    rows.push({ ...row(GROUP, `${name}: latest tick of a call`, late), ...p99(late) });
    if (Math.max(...stringify) > 0.1) {
      rows.push(row(GROUP, `${name}: JSON.stringify of the state alone`, stringify));
    }
    rows.push({
      ...row(GROUP, `${name}: the same ${less}`, blocked),
      ...p99(blocked),
      ...(name === names[0] ? {} : { bound: BOUND_MS, control }),
    });
  }
  return rows;
}
