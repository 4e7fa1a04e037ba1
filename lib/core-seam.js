// The parts of the addon that came after this code was written: asked for where they are used.

const { native } = require('./native.js');

/** @returns {any} */
function core() {
  return native();
}

module.exports = { core };
