// What the commands use of the library. It is required, not imported: of a CommonJS file that is imported Node reads the
// names first, with a parser that it has to load, and the first line of a resumed step waits for that.

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** @type {typeof import('commander')} */
export const commander = require('commander');

/** @type {typeof import('../index.js')} */
export const waymark = require('../index.js');

/** @type {{ version: string }} */
export const { version } = require('../package.json');

/** Files of it, each loaded when it is asked for. */
export const lib = {
  /** @returns {typeof import('../lib/arguments.js')} */
  get arguments() {
    return require('../lib/arguments.js');
  },
  /** @returns {typeof import('../lib/compiled.js')} */
  get compiled() {
    return require('../lib/compiled.js');
  },
  /** @returns {typeof import('../lib/drop-in-shapes.js')} */
  get dropInShapes() {
    return require('../lib/drop-in-shapes.js');
  },
  /** @returns {typeof import('../lib/lease.js')} */
  get lease() {
    return require('../lib/lease.js');
  },
  /** @returns {typeof import('../lib/options.js')} */
  get options() {
    return require('../lib/options.js');
  },
  /** @returns {typeof import('../lib/port-variables.js')} */
  get portVariables() {
    return require('../lib/port-variables.js');
  },
  /** @returns {typeof import('../lib/preload-option.js')} */
  get preloadOption() {
    return require('../lib/preload-option.js');
  },
  /** @returns {typeof import('../lib/restore-report.js')} */
  get restoreReport() {
    return require('../lib/restore-report.js');
  },
  /** @returns {typeof import('../lib/resume-run.js')} */
  get resumeRun() {
    return require('../lib/resume-run.js');
  },
  /** @returns {typeof import('../lib/resume-words.js')} */
  get resumeWords() {
    return require('../lib/resume-words.js');
  },
  /** @returns {typeof import('../lib/run-state.js')} */
  get runState() {
    return require('../lib/run-state.js');
  },
  /** @returns {typeof import('../lib/supervisor/command.js')} */
  get supervisorCommand() {
    return require('../lib/supervisor/command.js');
  },
  /** @returns {typeof import('../lib/supervisor/report.js')} */
  get supervisorReport() {
    return require('../lib/supervisor/report.js');
  },
};
