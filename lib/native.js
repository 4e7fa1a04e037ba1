// The addon, loaded when it is first needed: a process that only starts with the preload and is no
// runner never pays for it.

const fs = require('node:fs');
const path = require('node:path');
// Not the global one, which tests and pages in Node replace.
const { setTimeout } = require('node:timers');
const { version } = require('../package.json');
const { WaymarkError } = require('./error.js');

/** @type {typeof import('../native.js') | undefined} */
let loaded;

/**
 * The name of the package that holds the binary for this machine.
 * @param {{ platform: string, arch: string, musl: boolean }} machine
 * @returns {string}
 */
function packageFor({ platform, arch, musl }) {
  if (platform === 'linux') return `waymark-linux-${arch}-${musl ? 'musl' : 'gnu'}`;
  if (platform === 'win32') return `waymark-win32-${arch}-msvc`;
  return `waymark-${platform}-${arch}`;
}

/** @returns {string | null} the C library that Node itself runs on; null where there is but one */
function libc() {
  if (process.platform !== 'linux') return null;
  const report = /** @type {{ header?: { glibcVersionRuntime?: string } }} */ (
    process.report?.getReport() ?? {}
  );
  const glibc = report.header?.glibcVersionRuntime;
  return glibc ? `glibc ${glibc}` : 'musl';
}

/** With these set, the loader that napi generates decides. */
const OVERRIDES = ['NAPI_RS_NATIVE_LIBRARY_PATH', 'NAPI_RS_ENFORCE_VERSION_CHECK'];

/**
 * The binary where it nearly always is: beside us if it was built here, else in its package. The loader that napi
 * generates finds it in every place, and says why not; but it is forty kilobytes, and each step's process would wait for
 * them.
 * @returns {typeof import('../native.js') | undefined}
 */
function atOnce() {
  if (OVERRIDES.some((name) => process.env[name])) return undefined;
  // A binary for glibc must not be tried where musl is, and may load: the loader finds out which it is.
  const libcs = ['x86_64', 'aarch64'].map((arch) => `/lib/ld-musl-${arch}.so.1`);
  if (process.platform === 'linux' && libcs.some((file) => fs.existsSync(file))) return undefined;
  const name = packageFor({ platform: process.platform, arch: process.arch, musl: false });
  const built = path.join(__dirname, '..', `${name.replace('-', '.')}.node`);
  try {
    return require(fs.existsSync(built) ? built : name);
  } catch {
    return undefined;
  }
}

/** @returns {typeof import('../native.js')} */
function native() {
  if (!loaded) {
    try {
      loaded = atOnce() ?? require('../native.js');
    } catch (cause) {
      const name = packageFor({
        platform: process.platform,
        arch: process.arch,
        musl: libc() === 'musl',
      });
      throw new WaymarkError(
        'ERR_BINARY_MISSING',
        `no binary of Waymark fits ${process.platform} ${process.arch}: the package ${name} is missing or does not load; ` +
          `install it (npm install ${name}@${version}), without --omit=optional, if there is one for this machine, or build it here (npm run build in Waymark's source) and set NAPI_RS_NATIVE_LIBRARY_PATH`,
        { cause, path: name },
      );
    }
  }
  return /** @type {typeof import('../native.js')} */ (loaded);
}

/**
 * What was replaced or dropped is gone from the run; the file system takes its time to free the blocks, which nobody waits
 * for. Where the process ends before, the system does it.
 */
function freeBeside() {
  native()
    .freeReplaced()
    .catch(() => {});
}

/** After so long a step has begun, in ms. */
const FREE_AFTER_MS = 50;
let isFreeing = false;

/** The same, once a step that begins now has begun: what it writes would wait for the file system. */
function freeLater() {
  if (isFreeing) return;
  isFreeing = true;
  const free = () => {
    isFreeing = false;
    freeBeside();
  };
  setTimeout(free, FREE_AFTER_MS).unref();
}

module.exports = { freeBeside, freeLater, libc, native, packageFor };
