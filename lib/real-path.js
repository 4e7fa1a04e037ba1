// Where a path is without links.

const fs = require('node:fs');

/** @param {string} one @returns {string} without links, as far as it is there */
function realPath(one) {
  try {
    return fs.realpathSync(one);
  } catch {
    return one;
  }
}

module.exports = { realPath };
