// The LangGraph saver on SQLite, if it is installed somewhere: it is no dependency of this package.
// WAYMARK_BENCH_PEERS names a folder with a node_modules that holds @langchain/core,
// @langchain/langgraph-checkpoint and @langchain/langgraph-checkpoint-sqlite.

import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * The little of its interface that is used here.
 * @typedef {object} Saver
 * @property {(config: object, checkpoint: object, metadata: object) => Promise<object>} put
 * @property {{ close: () => void, pragma: (text: string, options?: object) => unknown }} db
 */

/**
 * @param {string} file the database
 * @returns {Promise<{ put: (state: object, step: number) => Promise<object>, close: () => void }
 *   | { missing: string }>}
 */
export async function openLangGraph(file) {
  const folder = process.env.WAYMARK_BENCH_PEERS;
  if (!folder) return { missing: 'not installed (WAYMARK_BENCH_PEERS is not set)' };
  /** @type {{ fromConnString: (file: string) => Saver }} */
  let SqliteSaver;
  /** @type {{ emptyCheckpoint: () => object, uuid6: (clock: number) => string }} */
  let base;
  try {
    const from = createRequire(path.join(path.resolve(folder), 'from.js'));
    const load = (/** @type {string} */ name) => import(pathToFileURL(from.resolve(name)).href);
    ({ SqliteSaver } = await load('@langchain/langgraph-checkpoint-sqlite'));
    base = await load('@langchain/langgraph-checkpoint');
  } catch (error) {
    return { missing: `not installed (${/** @type {Error} */ (error).message.split('\n')[0]})` };
  }
  const saver = SqliteSaver.fromConnString(file);
  // As its own setup has it; set here so that a change of defaults can't make it unfair.
  saver.db.pragma('journal_mode = WAL');
  saver.db.pragma('synchronous = FULL');
  /** @type {object} */
  let config = { configurable: { thread_id: 'bench', checkpoint_ns: '' } };
  return {
    async put(state, step) {
      const checkpoint = { ...base.emptyCheckpoint(), id: base.uuid6(step), channel_values: state };
      config = await saver.put(config, checkpoint, { source: 'loop', step, parents: {} });
      return config;
    },
    close: () => saver.db.close(),
  };
}
