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
 * @property {(config: object, options: { limit?: number, filter?: object }) => AsyncIterable<object>} list
 * @property {{ close: () => void, exec: (sql: string) => unknown, pragma: (text: string, options?: object) => unknown }} db
 *
 * @typedef {object} Graph
 * @property {(state: object, step: number) => Promise<object>} put
 * @property {(rows: Iterable<{ thread: string, state: object, step: number, metadata: object }>) => Promise<void>} fill
 *   puts many, in one transaction
 * @property {(filter: object, limit: number) => Promise<number>} find gives how many rows it found
 * @property {() => void} close
 */

/**
 * @param {string} file the database
 * @returns {Promise<Graph | { missing: string }>}
 */
export async function openLangGraph(file) {
  const folder = process.env.WAYMARK_BENCH_PEERS;
  if (!folder) return { missing: 'not installed (WAYMARK_BENCH_PEERS is not set)' };
  /** @type {Saver} */
  let saver;
  /** @type {{ emptyCheckpoint: () => object, uuid6: (clock: number) => string }} */
  let base;
  try {
    const from = createRequire(path.join(path.resolve(folder), 'from.js'));
    const load = (/** @type {string} */ name) => import(pathToFileURL(from.resolve(name)).href);
    const { SqliteSaver } = await load('@langchain/langgraph-checkpoint-sqlite');
    base = await load('@langchain/langgraph-checkpoint');
    saver = SqliteSaver.fromConnString(file);
  } catch (error) {
    return { missing: `not installed (${/** @type {Error} */ (error).message.split('\n')[0]})` };
  }
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
    async fill(rows) {
      // The first put makes the tables, and sets what no transaction can.
      let begun = false;
      for (const { thread, state, step, metadata } of rows) {
        const checkpoint = {
          ...base.emptyCheckpoint(),
          id: base.uuid6(step),
          channel_values: state,
        };
        const place = { configurable: { thread_id: thread, checkpoint_ns: '' } };
        await saver.put(place, checkpoint, { source: 'loop', step, parents: {}, ...metadata });
        if (!begun) saver.db.exec('BEGIN');
        begun = true;
      }
      if (begun) saver.db.exec('COMMIT');
    },
    async find(filter, limit) {
      let rows = 0;
      for await (const _ of saver.list({ configurable: {} }, { filter, limit })) rows += 1;
      return rows;
    },
    close: () => saver.db.close(),
  };
}
