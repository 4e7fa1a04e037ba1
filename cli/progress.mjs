// What a long operation shows while it works: a bar on a terminal, nothing elsewhere; and Ctrl-C, which
// asks it to stop.

import { plain, size } from './output.mjs';

/**
 * @typedef {import('../index.js').Progress} Progress
 * @typedef {{ signal: AbortSignal, onProgress: ((progress: Progress) => void) | undefined }} Watch
 */

/** What is over sooner needs no bar, in milliseconds. */
const PATIENCE_MS = 400;

/**
 * Runs an operation that tells how far it is. A first Ctrl-C asks it to stop, which it does before its
 * visible moment; a second one ends the process.
 * @template T
 * @param {string} title
 * @param {{ json?: boolean }} options
 * @param {(watch: Watch) => Promise<T>} work
 * @param {NodeJS.WriteStream} [stream]
 * @returns {Promise<T>}
 */
export async function watched(title, { json }, work, stream = process.stderr) {
  const aborter = new AbortController();
  const stop = () => aborter.abort();
  process.once('SIGINT', stop);
  const bar = stream.isTTY === true && json !== true ? newBar(title, stream) : undefined;
  try {
    return await work({ signal: aborter.signal, onProgress: bar?.show });
  } finally {
    process.off('SIGINT', stop);
    bar?.end();
  }
}

/**
 * A bar that is loaded when there is something to wait for.
 * @param {string} title
 * @param {NodeJS.WriteStream} stream
 */
function newBar(title, stream) {
  const begin = Date.now();
  /** @type {import('cli-progress').SingleBar | undefined} */
  let bar;
  let loading = false;
  let ended = false;
  /** @param {Progress} progress */
  const show = (progress) => {
    if (ended || Date.now() - begin < PATIENCE_MS) return;
    const { done, total } = share(progress);
    if (bar) {
      bar.setTotal(total);
      bar.update(done, { progress });
      return;
    }
    if (loading) return;
    loading = true;
    import('cli-progress').then(({ default: { Format, SingleBar } }) => {
      if (ended) return;
      bar = new SingleBar({
        stream,
        barsize: 24,
        barCompleteChar: '#',
        barIncompleteChar: '.',
        clearOnComplete: true,
        // Ctrl-C is ours, and the cursor is left alone.
        gracefulExit: false,
        format: (options, { progress: part }, { progress }) =>
          line(title, total > 0 ? Format.BarFormat(part, options) : undefined, progress),
      });
      bar.start(total, done, { progress });
    });
  };
  const end = () => {
    ended = true;
    bar?.stop();
  };
  return { show, end };
}

/** How much is done, by bytes where they are known. @param {Progress} progress */
function share({ files, bytes, totalFiles = 0, totalBytes = 0 }) {
  return totalBytes > 0 ? { done: bytes, total: totalBytes } : { done: files, total: totalFiles };
}

/**
 * @param {string} title
 * @param {string | undefined} bar
 * @param {Progress} progress
 * @returns {string}
 */
function line(title, bar, { phase, files, bytes, totalFiles, totalBytes }) {
  const of = (/** @type {string} */ done, /** @type {string | undefined} */ total) =>
    total === undefined ? done : `${done} of ${total}`;
  const words = [
    plain(title),
    ...(bar === undefined ? [] : [`[${bar}]`]),
    phase,
    of(String(files), totalFiles?.toString()),
    of(size(bytes), totalBytes === undefined ? undefined : size(totalBytes)),
  ];
  return words.join('  ');
}
