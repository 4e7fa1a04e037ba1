// The disk work that no durable checkpoint can avoid, in plain calls: one file published under a
// new name, one replaced, both synced, and the folders that hold their names too.

import fs from 'node:fs';
import path from 'node:path';

/**
 * @param {string} target
 * @param {Buffer} bytes
 */
function publish(target, bytes) {
  const folder = path.dirname(target);
  const staged = `${target}.tmp`;
  const file = fs.openSync(staged, 'wx');
  // Takes more than one call above 2 GiB only; nothing here is that large.
  fs.writeSync(file, bytes);
  fs.fsyncSync(file);
  fs.closeSync(file);
  fs.renameSync(staged, target);
  const names = fs.openSync(folder, 'r');
  fs.fsyncSync(names);
  fs.closeSync(names);
}

/** A run's folder on which only the unavoidable is done. */
export class BareRun {
  /** @type {string} */
  #folder;
  /** @type {string[]} */
  #manifests = [];

  /** @param {string} folder where to put it */
  constructor(folder) {
    this.#folder = folder;
    fs.mkdirSync(path.join(folder, 'checkpoints'), { recursive: true });
  }

  /**
   * @param {Buffer} manifest
   * @param {Buffer} registry
   */
  publish(manifest, registry) {
    const target = path.join(this.#folder, 'checkpoints', `${this.#manifests.length}.json`);
    publish(target, manifest);
    publish(path.join(this.#folder, 'artifact-registry.json'), registry);
    this.#manifests.push(target);
  }

  /** Keeps five, as Waymark does; not timed: the bound is on publishing alone. */
  prune() {
    const old = this.#manifests.at(-6);
    if (old) fs.unlinkSync(old);
  }
}
