// An audit log as Waymark writes it, with whatever happened when: for numbers that have to be exact.

import fs from 'node:fs';
import path from 'node:path';
import { blake3 } from './blake3.mjs';

/**
 * @typedef {object} Noted
 * @property {string} event
 * @property {number} at when it was done, in milliseconds since 1970
 * @property {Record<string, unknown>} data
 * @property {string} [run]
 * @property {string} [runs]
 * @property {string} [checkpoint]
 * @property {number} [pid]
 */

/** @param {number} first */
export const segmentName = (first) => `${String(first).padStart(16, '0')}.ndjson`;

/**
 * Writes events behind what lies in the log, or a log of its own, as one more segment.
 * @param {string} folder the log's
 * @param {Noted[]} events
 * @param {{ seq: number, hash: string }} [end] where the log ends
 * @returns {{ seq: number, hash: string }} where it ends then
 */
export function writeLog(folder, events, { seq, hash } = { seq: 0, hash: '0'.repeat(32) }) {
  const first = seq + 1;
  let text = '';
  for (const { event, at, data, run, runs, checkpoint, pid = 1 } of events) {
    seq += 1;
    const time = new Date(at).toISOString();
    const members = { seq, time, event, run, runs, checkpoint, pid, host: 'h', data, prev: hash };
    const body = JSON.stringify(members).slice(0, -1);
    hash = blake3(body).slice(0, 32);
    text += `${body},"hash":"${hash}"}\n`;
  }
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, segmentName(first)), text);
  return { seq, hash };
}
