// The machine.

const os = require('node:os');

function told() {
  return { name: os.hostname(), platform: process.platform, arch: process.arch };
}

/** @type {import('../fingerprint.js').Collector} */
const host = { name: 'host', collect: told, collectSync: told };

module.exports = { host };
