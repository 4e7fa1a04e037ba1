// Folders as runs leave them, the same bytes for the same seed on every machine.

import { createCipheriv } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

const BIG_BYTES = 10_000_000;
const INSERTED_BYTES = 4096;
const VOCABULARY = 6000;
/** The share of lines that were in the file before. */
const AGAIN = 0.1;
/** The share of the files that {@link Tree.change} rewrites. */
const CHANGED = 0.01;

/**
 * Small and fast numbers that look random (mulberry32).
 * @param {number} seed
 * @returns {() => number} 0 to below 1
 */
function numbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Text as people, programs and tools write it: common words often, rare ones seldom, names that
 * come again within a file, code, JSON, prose and logs. zstd -1 makes about a third of it.
 */
export class Writer {
  #random = numbers(0);
  /** @type {string[]} */
  #words = [];
  /** What the present file is about. @type {string[]} */
  #names = [];

  constructor() {
    const random = numbers(7);
    const heads = 'b c ch d f g h j k l m n p pr qu r s st t tr v w'.split(' ');
    const vowels = 'a e i o u ai ea ie ou'.split(' ');
    const tails = ['', '', '', 'n', 'r', 's', 't', 'l', 'nd', 'ck', 'ng'];
    const of = (/** @type {string[]} */ from) => from[Math.floor(random() * from.length)];
    const syllable = () => of(heads) + of(vowels) + of(tails);
    for (let at = 0; at < VOCABULARY; at += 1) {
      const syllables = 1 + Math.floor((at / VOCABULARY) * 2 + random() * 1.5);
      this.#words.push(Array.from({ length: syllables }, syllable).join(''));
    }
  }

  /** @param {number} below */
  #number(below) {
    return Math.floor(this.#random() * below);
  }

  #word() {
    // The first tenth of the words is more than half of all text.
    return this.#words[Math.floor(this.#random() ** 4 * VOCABULARY)];
  }

  #name() {
    return this.#names[Math.floor(this.#random() ** 2 * this.#names.length)];
  }

  #identifier() {
    const second = this.#word();
    return this.#word() + second[0].toUpperCase() + second.slice(1);
  }

  /** @param {number} count */
  #sentence(count) {
    let text = this.#word();
    for (let at = 1; at < count; at += 1) text += ` ${this.#word()}`;
    return text;
  }

  /** @type {(() => string)[]} */
  #lines = [
    () => `${this.#sentence(9 + this.#number(9))}.\n`,
    () => `  const ${this.#identifier()} = ${this.#name()}.${this.#name()}(${this.#name()});\n`,
    () => `  if (${this.#name()} !== ${this.#number(100)}) return ${this.#identifier()};\n`,
    () => `  // ${this.#sentence(6 + this.#number(5))}\n`,
    () => `    "${this.#name()}": "${this.#sentence(3)}",\n`,
    () => `    "${this.#name()}": ${this.#number(1e6)},\n`,
    () => `    "id": "${this.#number(2 ** 32).toString(16)}", "${this.#name()}": true,\n`,
    () =>
      `2026-11-21T06:${10 + this.#number(50)}:${10 + this.#number(50)}.${100 + this.#number(900)}Z ` +
      `info ${this.#name()}: ${this.#sentence(5)}\n`,
    () => `- [ ] \`${this.#name()}\` ${this.#sentence(7)}\n`,
  ];

  /**
   * @param {number} seed
   * @param {number} bytes
   * @returns {string} ASCII, so a byte per character
   */
  text(seed, bytes) {
    this.#random = numbers(seed);
    this.#names = Array.from({ length: 12 }, () => this.#identifier());
    // A file is mostly of one kind.
    const kind = this.#number(this.#lines.length);
    /** @type {string[]} */
    const written = [];
    let text = '';
    while (text.length < bytes) {
      const line = this.#random() < 0.5 ? kind : this.#number(this.#lines.length);
      // Some lines come again word for word, as imports and braces do.
      const again = this.#random() < AGAIN ? written[this.#number(written.length)] : undefined;
      const next = again ?? this.#lines[line]();
      written.push(next);
      text += next;
    }
    return text.slice(0, bytes);
  }
}

/**
 * Bytes that no compressor makes smaller.
 * @param {number} seed
 * @param {number} bytes
 */
function noise(seed, bytes) {
  const key = Buffer.alloc(16);
  key.writeUInt32LE(seed);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

/**
 * What a tree is made of.
 * @typedef {object} Plan
 * @property {number} texts how many text files
 * @property {(random: number) => number} size of a text file in bytes
 * @property {number} perFolder how many of them a folder holds
 * @property {number} big how many files of 10 MB, incompressible
 */

/** @type {Record<'mixed' | 'many', Plan>} */
export const PLANS = {
  // 10,000 texts of 1 to 60 KB, 210 MB in all, and 200 MB in large files.
  mixed: {
    texts: 10_000,
    size: (random) => Math.round(1024 * (1 + 59 * random ** 1.95)),
    perFolder: 25,
    big: 20,
  },
  // 100,000 small files.
  many: {
    texts: 100_000,
    size: (random) => Math.round(200 + 1800 * random ** 2),
    perFolder: 50,
    big: 0,
  },
};

/** A folder on disk that can be changed step by step. */
export class Tree {
  #writer = new Writer();
  /** @type {string[]} */
  #texts = [];
  /** @type {string[]} */
  #big = [];
  /** Of all files together. */
  bytes = 0;
  /** No file was modified after this, in milliseconds since 1970. */
  since = 0;

  /**
   * Writes it.
   * @param {string} folder must not exist
   * @param {Plan} plan
   * @param {number} scale times as many files
   */
  constructor(folder, plan, scale) {
    this.folder = folder;
    const random = numbers(1);
    const texts = Math.max(1, Math.round(plan.texts * scale));
    for (let at = 0; at < texts; at += 1) {
      const inFolder = Math.floor(at / plan.perFolder);
      const parts = [`area-${inFolder % 16}`, `part-${(inFolder >> 4) % 16}`, `group-${inFolder}`];
      const place = path.join(folder, ...parts);
      if (at % plan.perFolder === 0) fs.mkdirSync(place, { recursive: true });
      const extension = ['ts', 'json', 'md', 'log'][at % 4];
      this.#write(
        this.#texts,
        path.join(place, `file-${at}.${extension}`),
        this.#writer.text(at, plan.size(random())),
      );
    }
    const big = Math.ceil(plan.big * scale);
    if (big > 0) fs.mkdirSync(path.join(folder, 'media'));
    for (let at = 0; at < big; at += 1) {
      this.#write(this.#big, path.join(folder, 'media', `${at}.bin`), noise(at, BIG_BYTES));
    }
    // Later than the files by the file system's coarser clock too.
    this.since = Date.now() + 20;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 40);
  }

  /** @param {string[]} list @param {string} file @param {string | Buffer} content */
  #write(list, file, content) {
    fs.writeFileSync(file, content);
    list.push(file);
    this.bytes += content.length;
  }

  get files() {
    return this.#texts.length + this.#big.length;
  }

  /**
   * Rewrites the middle third of one in a hundred of the texts (at least one), and inserts 4 KB in
   * the middle of a large file. Other files each round.
   * @param {number} round
   */
  change(round) {
    // The file system's clock is a little behind; the change before this one was long ago.
    this.since = Date.now() - 10;
    const count = Math.max(1, Math.round(this.#texts.length * CHANGED));
    const stride = Math.max(1, Math.floor(this.#texts.length / count));
    for (let at = 0; at < count; at += 1) {
      const file = this.#texts[(at * stride + round * 7) % this.#texts.length];
      const old = fs.readFileSync(file, 'latin1');
      const [from, to] = [Math.floor(old.length / 3), Math.floor((old.length * 2) / 3)];
      const fresh = this.#writer.text(1_000_000 + round * 100_000 + at, to - from);
      fs.writeFileSync(file, old.slice(0, from) + fresh + old.slice(to), 'latin1');
    }
    if (this.#big.length === 0) return;
    const file = this.#big[round % this.#big.length];
    const old = fs.readFileSync(file);
    const middle = old.length >> 1;
    const inserted = noise(1_000_000 + round, INSERTED_BYTES);
    fs.writeFileSync(
      file,
      Buffer.concat([old.subarray(0, middle), inserted, old.subarray(middle)]),
    );
  }
}
